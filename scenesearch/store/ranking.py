"""How both homes answer a search, each with one query of its engine.

Hits come by score, ties by image id, so that a longer answer begins with the shorter one.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from scenesearch.store.ask import (
    RESCORED,
    Ask,
    Cosine,
    Diverse,
    Examples,
    Fusion,
    Hybrid,
    Penalty,
    Rescored,
    Written,
)
from scenesearch.store.base import CollectionSpec, ScoredPoint, StoreError
from scenesearch.store.fields import PayloadField
from scenesearch.store.payload import check_dimension, embedding_of, named_payloads
from scenesearch.store.sparse import SparseVector, query_words, query_words_in_picture

# How many of the nearest each side gives to a fusion, and diversity chooses among. It is the same
# for every limit: a pool that grew with the limit would change the order of the first hits.
POOL = 200

# In reciprocal rank fusion a rank weighs 1 / (RRF_K + rank): Cormack, Clarke and Büttcher (2009),
# with their 60.
RRF_K = 60

# Copies of one picture have exactly equal scores, and engines return ties in any order. A few more
# hits than asked for decide almost every tie at the cut; the limit keeps a library of ten thousand
# blank pages from being fetched whole.
_SPARE = 8
_MOST_SPARE = 4096


@dataclass(frozen=True)
class Fused:
    """By cosine and by words, the POOL best of either fused: what `Hybrid` asks of an engine."""

    words: SparseVector
    fusion: Fusion


@dataclass(frozen=True)
class ByWords:
    """By words alone: what `Written` asks of an engine."""

    words: SparseVector


# What an engine ranks by; rescoring is done here.
EngineRankBy = Cosine | Fused | ByWords | Diverse | Examples

# A home's query: the first so many in the engine's order, with their vectors; or without, those by
# cosine alone, which reach the least cosine that is asked for.
EngineQuery = Callable[[EngineRankBy, int, bool], Sequence[Any]]


class _Ranked(NamedTuple):
    """A hit in an engine's order, by whatever score, and the vector that gives its cosine."""

    image_id: str
    score: float
    payload: Mapping[str, Any]
    vector: NDArray[np.float32]


_Hit = TypeVar("_Hit", ScoredPoint, _Ranked)


def answer(ask: Ask, spec: CollectionSpec, query: EngineQuery) -> list[ScoredPoint]:
    """The hits of a search in a collection; raises StoreError for what it cannot answer."""

    def nearest(limit: int) -> list[ScoredPoint]:
        found = query(Cosine(), limit, False)
        payloads = named_payloads((one.payload for one in found), spec)
        return [
            ScoredPoint(own[0], one.score, own[1])
            for one, own in zip(found, payloads, strict=True)
            if own is not None
        ]

    def ranked(rank_by: EngineRankBy, limit: int) -> list[_Ranked]:
        found = query(rank_by, limit, True)
        payloads = named_payloads((one.payload for one in found), spec)
        return [
            _Ranked(own[0], one.score, own[1], embedding_of(one.vector))
            for one, own in zip(found, payloads, strict=True)
            if own is not None
        ]

    _check(ask, spec)
    if ask.limit == 0:
        return []
    match ask.rank_by:
        case Cosine():
            return _first(nearest, ask.limit)
        case Examples() as examples:
            return _with_cosines(_first(lambda n: ranked(examples, n), ask.limit), ask.vector)
        case Hybrid(text=text, fusion=fusion):
            words = query_words(text)
            if words is None:
                return _first(nearest, ask.limit)
            fused = Fused(words, fusion)
            best = _with_cosines(_first(lambda n: ranked(fused, n), ask.limit), ask.vector)
        case Written(text=text):
            in_picture = query_words_in_picture(text) if spec.words else None
            if in_picture is None:
                return []
            by_words = ByWords(in_picture)
            return _with_cosines(_first(lambda n: ranked(by_words, n), ask.limit), ask.vector)
        case Rescored(penalty=penalty):
            best = _rescored(_first(lambda n: ranked(Cosine(), n), RESCORED), ask.vector, penalty)
        case Diverse() as diverse:
            best = _with_cosines(ranked(diverse, min(ask.limit, POOL)), ask.vector)
    if len(best) >= ask.limit:
        return best[: ask.limit]
    known = {hit.image_id for hit in best}
    rest = [hit for hit in _first(nearest, ask.limit) if hit.image_id not in known]
    return [*best, *rest][: ask.limit]


def _check(ask: Ask, spec: CollectionSpec) -> None:
    check_dimension(ask.vector, spec, "the query")
    match ask.rank_by:
        case Hybrid() if not spec.words:
            raise StoreError(
                f"library {spec.library} was made before words were indexed; ingest its pictures "
                "into a new one to search both ways"
            )
        case Diverse(diversity=diversity) if not 0 <= diversity <= 1:
            raise StoreError(f"diversity is between 0 and 1, not {diversity}")
        case Examples(right=right, wrong=wrong):
            for example in (*right, *wrong):
                check_dimension(example, spec, "an example")


def _first(fetch: Callable[[int], list[_Hit]], limit: int) -> list[_Hit]:
    """The first hits, where `fetch(n)` gives n of them in any order of ties."""
    spare = _SPARE
    while True:
        found = _in_order(fetch(limit + spare))
        is_decided = len(found) < limit + spare or found[limit - 1].score > found[-1].score
        if is_decided or spare >= _MOST_SPARE:
            return found[:limit]
        spare *= 8


def _in_order(hits: list[_Hit]) -> list[_Hit]:
    """By score, ties by image id; engines give them by score, and few have ties."""
    scores = [hit.score for hit in hits]
    if all(map(operator.gt, scores, scores[1:])):
        return hits
    return sorted(hits, key=lambda hit: (-hit.score, hit.image_id))


def _with_cosines(ranked: Sequence[_Ranked], query: NDArray[np.float32]) -> list[ScoredPoint]:
    """The hits in their order, with their cosines with the query as scores."""
    if not ranked:
        return []
    cosines = np.stack([hit.vector for hit in ranked]) @ query  # (hits,)
    return [
        ScoredPoint(hit.image_id, cosine, hit.payload)
        for hit, cosine in zip(ranked, cosines.tolist(), strict=True)
    ]


def _rescored(
    ranked: Sequence[_Ranked], query: NDArray[np.float32], penalty: Penalty
) -> list[ScoredPoint]:
    """The hits by cosine less their penalty, ties by image id; the score is the cosine."""
    if not ranked:
        return []
    hits = _with_cosines(ranked, query)
    worth = np.array([hit.score for hit in hits]) - penalty(
        np.stack([hit.vector for hit in ranked])
    )
    order = sorted(range(len(hits)), key=lambda n: (-worth[n], hits[n].image_id))
    return [hits[n]._replace(worth=float(worth[n])) for n in order]


def by_count(
    hits: list[tuple[str | int | bool, int]], field: PayloadField
) -> list[tuple[str | int | bool, int]]:
    """Values with their counts, most frequent first, then in their own order.

    The embedded engine also lists values that only deleted points had, with a count of 0.
    """
    values = [
        (bool(value) if field.type == "boolean" else value, count) for value, count in hits if count
    ]
    return sorted(values, key=lambda hit: (-hit[1], hit[0]))
