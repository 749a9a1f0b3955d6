"""For which queries search is good, and for which not: figures of queries that share a trait.

The traits are read off the words, English ones, and overlap: 'two red dogs' counts, names a colour
and an animal. Any payload field cuts too: by what it holds of the picture that a query asks for.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scenesearch.evaluation.bootstrap import bootstrap_ci95
from scenesearch.evaluation.figures import figures_json
from scenesearch.evaluation.metrics import Scores
from scenesearch.store.fields import PayloadField

FEWEST = 10  # queries: a figure of fewer would be read as more than it is
MOST_VALUES = 12  # of one field, those with the most queries

_WORDS = {
    "counts": "one two three four five six seven eight nine ten several many couple pair group "
    "both another single crowd",
    "colours": "red blue green yellow white black brown orange pink purple grey gray tan beige "
    "blond blonde golden silver dark light colorful colourful",
    "people": "man men woman women boy boys girl girls child children kid kids baby toddler person "
    "people player players rider skier surfer swimmer biker cyclist climber lady guy couple crowd",
    "animals": "dog dogs puppy puppies cat cats kitten horse horses bird birds cow cows sheep duck "
    "ducks fish elephant bear monkey animal animals greyhound poodle retriever terrier bulldog",
    "indoors": "room kitchen bed bedroom couch sofa table indoor indoors inside floor carpet "
    "restaurant bathroom office gym stage",
    "outdoors": "beach snow snowy grass grassy field street road mountain mountains water ocean "
    "sea lake river park sky forest woods sand hill rock rocks cliff outside outdoor outdoors wave",
    "negation": "no not without nobody nothing none never empty",
}
_TRAITS = {name: frozenset(words.split()) for name, words in _WORDS.items()}
_LENGTHS = (("up to 7 words", 0, 7), ("8 to 14 words", 8, 14), ("15 words and more", 15, 10_000))


@dataclass(frozen=True)
class Slice:
    """`metrics` and `ci95` of the queries that share a trait, about `images` pictures."""

    name: str
    queries: int
    images: int
    metrics: Mapping[str, float]
    ci95: Mapping[str, tuple[float, float]]

    def to_json(self) -> dict[str, Any]:
        return {
            "queries": self.queries,
            "images_asked_for": self.images,
            **figures_json(self.metrics, self.ci95),
        }


def slices(scores: Scores, texts: Mapping[str, str], *, seed: int = 0) -> list[Slice]:
    """Slices by length, then by words; those of fewer than ten queries are left out."""
    words = [re.findall(r"[a-z]+", texts[query_id].lower()) for query_id in scores.query_ids]
    chosen = [
        (name, [least <= len(own) <= most for own in words]) for name, least, most in _LENGTHS
    ]
    chosen += [
        (name, [not known.isdisjoint(own) for own in words]) for name, known in _TRAITS.items()
    ]
    return [slice_of(name, scores, flags, seed) for name, flags in chosen if sum(flags) >= FEWEST]


def field_slices(
    scores: Scores,
    payloads: Mapping[str, Mapping[str, Any]],
    field: PayloadField,
    *,
    seed: int = 0,
) -> list[Slice]:
    """Slices by a field of the pictures asked for, whose payloads are by image id.

    Keywords and booleans by value, dates by year, numbers by quarters of the queries, words and
    places by whether there are any. Values of fewer than ten queries are left out.
    """
    own = [payloads.get(group, {}).get(field.name) for group in scores.groups]
    values = [_values(one, field) for one in own]
    if field.type in ("integer", "float"):
        values = _quarters(own)
    counted = Counter(value for row in values for value in row)
    frequent = [value for value, count in counted.most_common(MOST_VALUES) if count >= FEWEST]
    if field.type == "datetime":
        frequent.sort()
    if field.type in ("integer", "float"):
        frequent.sort(key=lambda value: float(value.split()[0]))
    return [
        slice_of(f"{field.name} {value}", scores, [value in row for row in values], seed)
        for value in frequent
    ]


def slice_of(name: str, scores: Scores, flags: Sequence[bool], seed: int = 0) -> Slice:
    """Figures of the flagged queries."""
    rows = np.flatnonzero(flags)
    part = Scores(
        tuple(scores.query_ids[row] for row in rows),
        tuple(scores.groups[row] for row in rows),
        {metric: values[rows] for metric, values in scores.per_query.items()},
        scores.first_rank[rows],
    )
    return Slice(
        name, len(rows), len(set(part.groups)), part.means(), bootstrap_ci95(part, seed=seed)
    )


def _values(value: Any, field: PayloadField) -> list[str]:
    """What a picture's payload says, as words that a slice is named by."""
    if value is None or value == []:
        return [f"(no {field.name})"]
    if field.type in ("text", "geo"):
        return [f"(has {field.name})"]
    if field.type == "datetime":
        return [str(value)[:4]]
    return [str(one) for one in (value if isinstance(value, list) else [value])]


def _quarters(values: Sequence[Any]) -> list[list[str]]:
    numbers = np.array([np.nan if value is None else float(value) for value in values])
    known = numbers[np.isfinite(numbers)]
    if not len(known):
        return [[] for _ in values]
    cuts = np.unique(np.quantile(known, [0, 0.25, 0.5, 0.75, 1], method="nearest"))
    if len(cuts) == 1:
        return [[f"{cuts[0]:g}"] if np.isfinite(number) else [] for number in numbers]
    place = np.clip(np.searchsorted(cuts, numbers, side="right") - 1, 0, len(cuts) - 2)
    return [
        [f"{cuts[at]:g} to {cuts[at + 1]:g}"] if np.isfinite(number) else []
        for number, at in zip(numbers, place, strict=True)
    ]
