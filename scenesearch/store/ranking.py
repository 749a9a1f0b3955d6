"""One order for both homes: by score, ties by image id, the same on every page of a ranking."""

import operator
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from scenesearch.store.base import Penalty, ScoredPoint
from scenesearch.store.fields import PayloadField

# Copies of one picture have exactly equal scores, and engines return ties in no given order. A
# few more than asked for settle almost every tie at the cut; the limit keeps a library of ten
# thousand blank pages from being fetched whole.
_SPARE = 8
_MOST_SPARE = 4096

# A hit as an engine ranks it, by whatever score, and the vector its cosine is taken of.
Ranked = tuple[ScoredPoint, NDArray[np.float32]]


def page(fetch: Callable[[int], list[ScoredPoint]], *, k: int, offset: int) -> list[ScoredPoint]:
    """The k points after `offset`, where `fetch(n)` gives the n nearest in any order of ties."""
    check_page(k, offset)
    if k == 0:
        return []
    end = offset + k
    spare = _SPARE
    while True:
        found = _in_order(fetch(end + spare))
        settled = len(found) < end + spare or found[end - 1].score > found[-1].score
        if settled or spare >= _MOST_SPARE:
            return found[offset:end]
        spare *= 8


def _in_order(hits: list[ScoredPoint]) -> list[ScoredPoint]:
    """By score, ties by image id; engines give them by score, and few have ties."""
    scores = [hit.score for hit in hits]
    if all(map(operator.gt, scores, scores[1:])):
        return hits
    return sorted(hits, key=lambda hit: (-hit.score, hit.image_id))


def check_page(k: int, offset: int) -> None:
    """Raise ValueError for a page that cannot be."""
    if k < 0 or offset < 0:
        raise ValueError(f"k and offset cannot be negative: {k}, {offset}")


def reranked(
    fetch: Callable[[int], list[Ranked]], query: NDArray[np.float32], *, k: int, offset: int = 0
) -> list[ScoredPoint]:
    """A page in the engine's own order, ties by image id, each hit with its cosine as score."""
    return with_cosines(_ranked_page(fetch, k=k, offset=offset), query)


def rescored(
    fetch: Callable[[int], list[Ranked]], query: NDArray[np.float32], penalty: Penalty, *, k: int
) -> list[ScoredPoint]:
    """The k nearest by cosine less their penalty, ties by image id; the score is the cosine."""
    ranked = _ranked_page(fetch, k=k, offset=0)
    if not ranked:
        return []
    hits = with_cosines(ranked, query)
    worth = np.array([hit.score for hit in hits]) - penalty(np.stack([v for _, v in ranked]))
    order = sorted(range(len(hits)), key=lambda n: (-worth[n], hits[n].image_id))
    return [hits[n] for n in order]


def _ranked_page(fetch: Callable[[int], list[Ranked]], *, k: int, offset: int) -> list[Ranked]:
    vectors: dict[str, NDArray[np.float32]] = {}

    def fetched(limit: int) -> list[ScoredPoint]:
        found = fetch(limit)
        vectors.update((hit.image_id, vector) for hit, vector in found)
        return [hit for hit, _ in found]

    return [(hit, vectors[hit.image_id]) for hit in page(fetched, k=k, offset=offset)]


def with_cosines(ranked: Sequence[Ranked], query: NDArray[np.float32]) -> list[ScoredPoint]:
    """The hits in their order, each with its cosine with the query in the place of its score."""
    if not ranked:
        return []
    cosines = np.stack([vector for _, vector in ranked]) @ query  # (hits,)
    return [
        ScoredPoint(hit.image_id, cosine, hit.payload)
        for (hit, _), cosine in zip(ranked, cosines.tolist(), strict=True)
    ]


def then_nearest(
    first: list[ScoredPoint], nearest: Callable[[int], list[ScoredPoint]], *, k: int, offset: int
) -> list[ScoredPoint]:
    """A page of `first` followed by those of the nearest that are not in it.

    `nearest(n)` gives the n nearest; it is only asked when the page reaches beyond `first`.
    """
    end = offset + k
    if len(first) >= end:
        return first[offset:end]
    known = {hit.image_id for hit in first}
    rest = [hit for hit in nearest(end) if hit.image_id not in known]
    return [*first, *rest][offset:end]


def by_count(
    hits: list[tuple[str | int | bool, int]], field: PayloadField
) -> list[tuple[str | int | bool, int]]:
    """Values with their counts, most frequent first, then in their own order."""
    values = [(bool(value) if field.type == "boolean" else value, count) for value, count in hits]
    return sorted(values, key=lambda hit: (-hit[1], hit[0]))
