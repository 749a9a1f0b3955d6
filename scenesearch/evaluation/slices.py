"""For which queries search is good, and for which not: figures of queries that share a trait.

The traits are read off the words, English ones, and overlap: 'two red dogs' counts, names a colour
and an animal.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scenesearch.evaluation.bootstrap import bootstrap_ci95
from scenesearch.evaluation.metrics import Scores

FEWEST = 10  # queries: a figure of fewer would be read as more than it is

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


def slices(scores: Scores, texts: Mapping[str, str], *, seed: int = 0) -> list[Slice]:
    """Slices by length, then by words; those of fewer than ten queries are left out."""
    words = [re.findall(r"[a-z]+", texts[query_id].lower()) for query_id in scores.query_ids]
    chosen = [
        (name, [least <= len(own) <= most for own in words]) for name, least, most in _LENGTHS
    ]
    chosen += [
        (name, [not known.isdisjoint(own) for own in words]) for name, known in _TRAITS.items()
    ]
    return [_slice(name, scores, flags, seed) for name, flags in chosen if sum(flags) >= FEWEST]


def _slice(name: str, scores: Scores, flags: Sequence[bool], seed: int) -> Slice:
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
