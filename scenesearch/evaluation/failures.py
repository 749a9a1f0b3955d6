"""The worst queries, and how many misses may not be misses because a look-alike came first."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from scenesearch.evaluation.metrics import ranking
from scenesearch.evaluation.result import Evaluation
from scenesearch.evaluation.sampling import spread_evenly
from scenesearch.store.base import Point, VectorStore

WORST = 24
SHOWN = 5  # pictures that came instead
_SAMPLE = 500  # pictures whose pairs give the usual cosine
_DEVIATIONS = 4.0


@dataclass(frozen=True)
class ShownPicture:
    """A picture in an answer; `rank` is None for one that was asked for and not found.

    `alike` marks a picture that is not relevant but looks much like one that is.
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
    wanted: tuple[ShownPicture, ...]
    instead: tuple[ShownPicture, ...]


@dataclass(frozen=True)
class Failures:
    """The worst queries, one for each picture asked for, worst first.

    `misses` counts the queries whose first hit is not relevant. For `alike` of them the first hit
    looks like a relevant picture: the cosine of the two pictures is at least `threshold`, four
    standard deviations above the mean over pairs of the gallery.
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
                    "wanted": [_shown_json(shown) for shown in one.wanted],
                    "instead": [_shown_json(shown) for shown in one.instead],
                }
                for one in self.worst
            ],
        }


def find_failures(evaluation: Evaluation, store: VectorStore) -> Failures:
    """Looks at every query whose first hit is not relevant."""
    metrics, run = evaluation.query_metrics, evaluation.run
    rank_of = dict(zip(metrics.query_ids, metrics.first_rank.tolist(), strict=True))
    group_of = dict(zip(metrics.query_ids, metrics.groups, strict=True))
    missed = sorted(
        (query_id for query_id, rank in rank_of.items() if rank > 1),
        key=lambda query_id: (-rank_of[query_id], query_id),
    )
    worst: dict[str, str] = {}  # the worst query of each picture
    for query_id in missed:
        worst.setdefault(group_of[query_id], query_id)
        if len(worst) == WORST:
            break
    relevant = {
        query_id: [image for image, grade in evaluation.qrels[query_id].items() if grade > 0]
        for query_id in missed
    }
    firsts = {query_id: ranking(run[query_id])[:SHOWN] for query_id in missed}
    needed = {image_id for ids in relevant.values() for image_id in ids}
    needed |= {ids[0] for ids in firsts.values() if ids}
    needed |= {image_id for query_id in worst.values() for image_id in firsts[query_id]}
    points = store.retrieve(evaluation.library, sorted(needed), with_vectors=True)
    threshold = _threshold(evaluation, store)

    def alike(image_id: str, query_id: str) -> bool:
        wanted = relevant[query_id]
        return image_id not in wanted and any(
            _cosine(points.get(image_id), points.get(other)) >= threshold for other in wanted
        )

    def shown(image_id: str, query_id: str, like: bool = False) -> ShownPicture:
        payload = points[image_id].payload if image_id in points else {}
        hits = run[query_id]
        rank = ranking(hits).index(image_id) + 1 if image_id in hits else None
        path, sha256 = str(payload.get("path", "")), str(payload.get("sha256", ""))
        return ShownPicture(image_id, path, rank, hits.get(image_id), like, sha256)

    return Failures(
        worst=tuple(
            Failure(
                query_id,
                evaluation.texts[query_id],
                tuple(shown(image_id, query_id) for image_id in relevant[query_id]),
                tuple(
                    shown(image_id, query_id, alike(image_id, query_id))
                    for image_id in firsts[query_id]
                    if image_id not in relevant[query_id]
                ),
            )
            for query_id in worst.values()
        ),
        misses=len(missed),
        alike=sum(alike(firsts[query_id][0], query_id) for query_id in missed if firsts[query_id]),
        threshold=threshold,
    )


def _threshold(evaluation: Evaluation, store: VectorStore) -> float:
    """The cosine from which two pictures of this gallery are unusually alike, at most .98."""
    # The hits of a few queries are all of a small gallery, and a fair sample of a large one.
    query_ids = evaluation.query_metrics.query_ids
    hits = {hit for n in spread_evenly(len(query_ids), 20) for hit in evaluation.run[query_ids[n]]}
    pictures = sorted(hits)
    sample = [pictures[n] for n in spread_evenly(len(pictures), _SAMPLE)]
    points = store.retrieve(evaluation.library, sample, with_vectors=True).values()
    vectors = np.stack([point.vector for point in points if point.vector is not None])
    cosines = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    if not len(cosines):
        return 0.98
    return min(0.98, float(cosines.mean() + _DEVIATIONS * cosines.std()))


def _cosine(one: Point | None, other: Point | None) -> float:
    if one is None or other is None or one.vector is None or other.vector is None:
        return -1.0
    return float(one.vector @ other.vector)


def _shown_json(shown: ShownPicture) -> dict[str, Any]:
    return {
        "image_id": shown.image_id,
        "rank": shown.rank,
        "score": shown.score,
        "look_alike": shown.alike,
    }
