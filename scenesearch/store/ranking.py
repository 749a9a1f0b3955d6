"""One order for both homes: by score, ties by image id, the same on every page of a ranking."""

from collections.abc import Callable

from scenesearch.store.base import ScoredPoint
from scenesearch.store.fields import PayloadField

# Copies of one picture have exactly equal scores, and engines return ties in no given order. A
# few more than asked for settle almost every tie at the cut; the limit keeps a library of ten
# thousand blank pages from being fetched whole.
_SPARE = 8
_MOST_SPARE = 4096


def page(fetch: Callable[[int], list[ScoredPoint]], *, k: int, offset: int) -> list[ScoredPoint]:
    """The k points after `offset`, where `fetch(n)` gives the n nearest in any order of ties."""
    if k < 0 or offset < 0:
        raise ValueError(f"k and offset cannot be negative: {k}, {offset}")
    if k == 0:
        return []
    end = offset + k
    spare = _SPARE
    while True:
        found = sorted(fetch(end + spare), key=lambda hit: (-hit.score, hit.image_id))
        settled = len(found) < end + spare or found[end - 1].score > found[-1].score
        if settled or spare >= _MOST_SPARE:
            return found[offset:end]
        spare *= 8


def by_count(
    hits: list[tuple[str | int | bool, int]], field: PayloadField
) -> list[tuple[str | int | bool, int]]:
    """Values with their counts, most frequent first, then in their own order."""
    values = [(bool(value) if field.type == "boolean" else value, count) for value, count in hits]
    return sorted(values, key=lambda hit: (-hit[1], hit[0]))
