"""Metrics of slices: for which kinds of queries is search good, and for which not?

Queries are sliced by their length and by English words in them. Such slices overlap: 'two red dogs'
has a count, a colour and an animal. They can also be sliced by any payload field of the picture
that they ask for.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenesearch.evaluation.bootstrap import bootstrap_ci95
from scenesearch.evaluation.formatting import metrics_json
from scenesearch.evaluation.metrics import QueryMetrics
from scenesearch.store.fields import PayloadField

FEWEST = 10  # queries in a slice: metrics of fewer say little
MOST_VALUES = 12  # of one field: those with the most queries

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
    """`metrics` and `ci95` of the queries in a slice; they ask for `images` different pictures."""

    name: str
    queries: int
    images: int
    metrics: Mapping[str, float]
    ci95: Mapping[str, tuple[float, float]]

    def to_json(self) -> dict[str, Any]:
        return {
            "queries": self.queries,
            "images_asked_for": self.images,
            **metrics_json(self.metrics, self.ci95),
        }


def slices(metrics: QueryMetrics, texts: Mapping[str, str]) -> list[Slice]:
    """Slices by length, then by words; those of fewer than ten queries are left out."""
    words = [re.findall(r"[a-z]+", texts[query_id].lower()) for query_id in metrics.query_ids]
    chosen = [
        (name, [least <= len(own) <= most for own in words]) for name, least, most in _LENGTHS
    ]
    chosen += [
        (name, [not known.isdisjoint(own) for own in words]) for name, known in _TRAITS.items()
    ]
    return [
        slice_of(name, metrics, np.flatnonzero(flags))
        for name, flags in chosen
        if sum(flags) >= FEWEST
    ]


def field_slices(
    metrics: QueryMetrics, payloads: Mapping[str, Mapping[str, Any]], field: PayloadField
) -> list[Slice]:
    """Slices by a field of the pictures asked for; `payloads` are by image id.

    Keywords and booleans are sliced by value, dates by year, numbers into quarters of the queries,
    texts and places by whether there is one. Slices of fewer than ten queries are left out.
    """
    own = [payloads.get(group, {}).get(field.name) for group in metrics.groups]
    is_number = field.type in ("integer", "float")
    values = _quarters(own) if is_number else [_values(one, field) for one in own]
    counted = Counter(value for row in values for value in row)
    frequent = [value for value, count in counted.most_common(MOST_VALUES) if count >= FEWEST]
    if field.type == "datetime":
        frequent.sort()
    if is_number:
        frequent.sort(key=lambda value: float(value.split()[0]))
    return [
        slice_of(f"{field.name} {value}", metrics, np.flatnonzero([value in row for row in values]))
        for value in frequent
    ]


def slice_of(name: str, metrics: QueryMetrics, rows: NDArray[np.integer]) -> Slice:
    """The metrics of the queries in these rows."""
    part = metrics.rows(rows)
    return Slice(name, len(rows), len(set(part.groups)), part.means(), bootstrap_ci95(part))


def _values(value: Any, field: PayloadField) -> list[str]:
    """The slices that a payload value falls into, by name."""
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
