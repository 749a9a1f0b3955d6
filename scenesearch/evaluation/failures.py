"""The queries that went worst, and the misses that may be right: a look-alike came first."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenesearch.evaluation.metrics import ranking
from scenesearch.evaluation.outcome import Evaluation
from scenesearch.store.base import Point, VectorStore

WORST = 24
SHOWN = 5  # pictures that came instead
_SAMPLE = 500  # pictures whose pairs say what is usual
_DEVIATIONS = 4.0
_CHUNK = 256


@dataclass(frozen=True)
class Place:
    """A picture in an answer; `rank` is None for one that was asked for and not found.

    `alike` marks one that is not asked for but much like one that is; `sha256` is its content.
    """

    image_id: str
    path: str
    rank: int | None
    score: float | None
    alike: bool = False
    sha256: str = ""


@dataclass(frozen=True)
class Failure:
    """A query, the pictures it asks for, and those that came first instead."""

    query_id: str
    text: str
    wanted: tuple[Place, ...]
    instead: tuple[Place, ...]


@dataclass(frozen=True)
class Failures:
    """The worst queries, one for each picture asked for, worst first.

    Of `misses`, queries whose first hit is not asked for, `alike` have something first that is much
    like what they ask for: a cosine of at least `threshold` between the two pictures, which lies
    four standard deviations above the mean of the gallery's pairs.
    """

    worst: tuple[Failure, ...]
    misses: int
    alike: int
    threshold: float

    def to_json(self) -> dict[str, Any]:
        return {
            "misses": self.misses,
            "misses_with_a_look_alike_first": self.alike,
            "look_alike_cosine": self.threshold,
            "worst": [
                {
                    "query_id": one.query_id,
                    "text": one.text,
                    "wanted": [_place_json(place) for place in one.wanted],
                    "instead": [_place_json(place) for place in one.instead],
                }
                for one in self.worst
            ],
        }


def find_failures(evaluation: Evaluation, store: VectorStore) -> Failures:
    """Looks at every query whose first hit is not one that it asks for."""
    scores, run = evaluation.scores, evaluation.run
    rank_of = dict(zip(scores.query_ids, scores.first_rank.tolist(), strict=True))
    group_of = dict(zip(scores.query_ids, scores.groups, strict=True))
    missed = sorted(
        (query_id for query_id, rank in rank_of.items() if rank > 1),
        key=lambda query_id: (-rank_of[query_id], query_id),
    )
    worst: dict[str, str] = {}  # of one picture's queries the worst
    for query_id in missed:
        worst.setdefault(group_of[query_id], query_id)
        if len(worst) == WORST:
            break
    asked = {query_id: _asked(evaluation, query_id) for query_id in missed}
    firsts = {query_id: ranking(run[query_id])[:SHOWN] for query_id in missed}
    needed = {image_id for ids in asked.values() for image_id in ids}
    needed |= {ids[0] for ids in firsts.values() if ids}
    needed |= {image_id for query_id in worst.values() for image_id in firsts[query_id]}
    points = _retrieve(store, evaluation.library, sorted(needed))
    threshold = _usual(evaluation, store)

    def alike(image_id: str, query_id: str) -> bool:
        return image_id not in asked[query_id] and any(
            _cosine(points.get(image_id), points.get(other)) >= threshold
            for other in asked[query_id]
        )

    def place(image_id: str, query_id: str, like: bool = False) -> Place:
        point, hits = points.get(image_id), run[query_id]
        path = str(point.payload.get("path", "")) if point else ""
        rank = ranking(hits).index(image_id) + 1 if image_id in hits else None
        content = str(point.payload.get("sha256", "")) if point else ""
        return Place(image_id, path, rank, hits.get(image_id), like, content)

    return Failures(
        worst=tuple(
            Failure(
                query_id,
                evaluation.texts[query_id],
                tuple(place(image_id, query_id) for image_id in asked[query_id]),
                tuple(
                    place(image_id, query_id, alike(image_id, query_id))
                    for image_id in firsts[query_id]
                    if image_id not in asked[query_id]
                ),
            )
            for query_id in worst.values()
        ),
        misses=len(missed),
        alike=sum(alike(firsts[query_id][0], query_id) for query_id in missed if firsts[query_id]),
        threshold=threshold,
    )


def _asked(evaluation: Evaluation, query_id: str) -> list[str]:
    return [image_id for image_id, grade in evaluation.qrels[query_id].items() if grade > 0]


def _retrieve(store: VectorStore, library: str, image_ids: list[str]) -> dict[str, Point]:
    found: dict[str, Point] = {}
    for start in range(0, len(image_ids), _CHUNK):
        chunk = image_ids[start : start + _CHUNK]
        found |= store.retrieve(library, chunk, with_vectors=True)
    return found


def _usual(evaluation: Evaluation, store: VectorStore) -> float:
    """The cosine from which two pictures of this gallery are unusually alike, at most .98."""
    # What a few queries found is the whole of a small gallery and a fair part of a large one.
    rows = np.unique(np.linspace(0, len(evaluation.run) - 1, min(len(evaluation.run), 20)))
    some = {hit for row in rows for hit in evaluation.run[evaluation.scores.query_ids[int(row)]]}
    everything = sorted(some)
    chosen = np.unique(np.linspace(0, len(everything) - 1, min(len(everything), _SAMPLE)))
    ids = [everything[int(row)] for row in chosen]
    points = _retrieve(store, evaluation.library, ids).values()
    vectors = np.stack([point.vector for point in points if point.vector is not None])
    cosines = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    if not len(cosines):
        return 0.98
    return min(0.98, float(cosines.mean() + _DEVIATIONS * cosines.std()))


def _cosine(one: Point | None, other: Point | None) -> float:
    if one is None or other is None or one.vector is None or other.vector is None:
        return -math.inf
    vector: NDArray[np.float32] = one.vector
    return float(vector @ other.vector)


def _place_json(place: Place) -> dict[str, Any]:
    return {
        "image_id": place.image_id,
        "rank": place.rank,
        "score": place.score,
        "look_alike": place.alike,
    }
