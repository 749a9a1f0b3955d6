"""Ranking metrics: pure functions of qrels and a run that use neither model nor store.

Every metric follows from the ranks of a query's relevant images. So `place` finds the ranks once
per query, and the metrics read them. Rankings order by score and break ties by image id, so that
every machine gets the same metrics. An image is relevant when its grade is above 0.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenesearch.runtime.cancel import cancellable

# query_id -> image_id -> grade; and query_id -> image_id -> score
Qrels = Mapping[str, Mapping[str, int]]
Run = Mapping[str, Mapping[str, float]]

CUTOFFS = (1, 5, 10)

# The metrics that are averaged over the queries.
QUERY_METRICS = (
    *(f"recall@{k}" for k in CUTOFFS),
    *(f"success@{k}" for k in CUTOFFS),
    "mrr",
    "ndcg@10",
    "map",
)


class Ranked(dict[str, float]):
    """Scores by image id, already in the order of `ranking`."""


class RankedRun(Mapping[str, Mapping[str, float]]):
    """A run in a tenth of the memory of dictionaries: 5,000 queries of 1,000 hits in 80 MB.

    All queries share the strings of the image ids; each query's scores are one array.
    """

    def __init__(self, image_ids: Iterable[str]) -> None:
        """`image_ids` are those of the gallery."""
        self._shared = {image_id: image_id for image_id in image_ids}
        self._hits: dict[str, tuple[tuple[str, ...], NDArray[np.float64]]] = {}

    def add(self, query_id: str, hits: Mapping[str, float]) -> None:
        """The scores of one query's hits, in any order; fastest with the best first."""
        ids = list(hits)
        scores = np.fromiter(hits.values(), np.float64, len(hits))
        if not (scores[:-1] > scores[1:]).all():
            ids = ranking(hits)
            scores = np.array([hits[image_id] for image_id in ids], np.float64)
        self.add_ranked(query_id, ids, scores)

    def add_ranked(self, query_id: str, ids: Sequence[str], scores: NDArray[np.float64]) -> None:
        """One query's hits, best score first, ties by id."""
        self._hits[query_id] = tuple(map(self._shared.get, ids, ids)), scores

    def __getitem__(self, query_id: str) -> Ranked:
        ids, scores = self._hits[query_id]
        return Ranked(zip(ids, scores.tolist(), strict=True))

    def __iter__(self) -> Iterator[str]:
        return iter(self._hits)

    def __len__(self) -> int:
        return len(self._hits)


@dataclass(frozen=True)
class Placement:
    """The ranks of a query's relevant images.

    `ranks` (from 1, ascending) and `grades` are those of the relevant images in the run; `ideal`
    are the grades of all relevant images, best first.
    """

    ranks: tuple[int, ...]
    grades: tuple[int, ...]
    ideal: tuple[int, ...]

    @classmethod
    def of(cls, found: Sequence[tuple[int, int]], grades: Iterable[int]) -> "Placement":
        """`found` are rank and grade of the relevant images in the run, by rank; `grades` are those
        of all relevant images."""
        return cls(
            ranks=tuple(rank for rank, _ in found),
            grades=tuple(grade for _, grade in found),
            ideal=tuple(sorted(grades, reverse=True)),
        )


def ranking(scores: Mapping[str, float]) -> list[str]:
    """Image ids, best score first, ties by id."""
    if isinstance(scores, Ranked):
        return list(scores)
    return sorted(scores, key=lambda image_id: (-scores[image_id], image_id))


def place(grades: Mapping[str, int], scores: Mapping[str, float]) -> Placement:
    """The ranks of one query's relevant images; raises ValueError when it has none."""
    relevant = {image_id: grade for image_id, grade in grades.items() if grade > 0}
    if not relevant:
        raise ValueError("a query without a relevant image cannot be scored")
    found = [
        (rank, relevant[image_id])
        for rank, image_id in enumerate(ranking(scores), start=1)
        if image_id in relevant
    ]
    return Placement.of(found, relevant.values())


def recall_at_k(placement: Placement, k: int) -> float:
    """Share of the relevant images that are among the first k."""
    return sum(rank <= k for rank in placement.ranks) / len(placement.ideal)


def success_at_k(placement: Placement, k: int) -> float:
    """1 when any relevant image is among the first k, else 0."""
    return float(first_relevant_rank(placement) <= k)


def reciprocal_rank(placement: Placement) -> float:
    """1 / rank of the first relevant image, 0 when the run holds none."""
    return 1 / first_relevant_rank(placement)


def first_relevant_rank(placement: Placement) -> float:
    """Rank of the first relevant image, infinite when the run holds none."""
    return float(placement.ranks[0]) if placement.ranks else math.inf


def ndcg_at_k(placement: Placement, k: int) -> float:
    """Discounted cumulative gain of the first k, divided by the best possible.

    As in trec_eval, the gain is the grade itself, not 2^grade - 1.
    """
    found = zip(placement.ranks, placement.grades, strict=True)
    best = enumerate(placement.ideal[:k], start=1)
    return dcg((rank, grade) for rank, grade in found if rank <= k) / dcg(best)


def dcg(gains: Iterable[tuple[int, float]]) -> float:
    """Discounted cumulative gain of pairs of rank and gain."""
    return sum(gain / math.log2(rank + 1) for rank, gain in gains)


def average_precision(placement: Placement) -> float:
    """Mean over the relevant images of the precision at their rank; 0 for those not found."""
    precisions = (found / rank for found, rank in enumerate(placement.ranks, start=1))
    return sum(precisions) / len(placement.ideal)


@dataclass(frozen=True)
class QueryMetrics:
    """Every metric of every query.

    `per_query` holds one array `(queries,)` per metric that is averaged, in the order of
    `query_ids`. `first_rank` is the rank of the first relevant image, of which the median counts.
    `groups` names each query's first relevant image: captions of one picture are not independent,
    and the bootstrap resamples them together.
    """

    query_ids: tuple[str, ...]
    groups: tuple[str, ...]
    per_query: Mapping[str, NDArray[np.float64]]
    first_rank: NDArray[np.float64]

    def rows(self, rows: NDArray[np.integer]) -> "QueryMetrics":
        """The metrics of some of the queries."""
        return QueryMetrics(
            tuple(self.query_ids[row] for row in rows),
            tuple(self.groups[row] for row in rows),
            {name: values[rows] for name, values in self.per_query.items()},
            self.first_rank[rows],
        )

    def means(self) -> dict[str, float]:
        """Each metric's mean over the queries, `median_rank` and `mean_rank`.

        `median_rank` is infinite when the run has nothing relevant for half of the queries,
        `mean_rank` when it has nothing relevant for one of them.
        """
        means = {name: float(values.mean()) for name, values in self.per_query.items()}
        return means | {
            "median_rank": float(np.median(self.first_rank)),
            "mean_rank": float(self.first_rank.mean()),
        }


def score_queries(qrels: Qrels, run: Run) -> QueryMetrics:
    """All metrics of all queries in the qrels; a query missing from the run scores 0.

    Raises ValueError when there is no query, or one without a relevant image.
    """
    if not qrels:
        raise ValueError("there is no query to score")
    placements = [
        place(grades, run.get(query_id, {})) for query_id, grades in cancellable(qrels.items())
    ]
    groups = tuple(
        next(image_id for image_id, grade in grades.items() if grade > 0)
        for grades in qrels.values()
    )
    return score_placements(tuple(qrels), groups, placements)


def score_placements(
    query_ids: tuple[str, ...], groups: tuple[str, ...], placements: Sequence[Placement]
) -> QueryMetrics:
    """All metrics of queries whose relevant images have been placed, see `place`."""
    columns = {
        **{f"recall@{k}": [recall_at_k(each, k) for each in placements] for k in CUTOFFS},
        **{f"success@{k}": [success_at_k(each, k) for each in placements] for k in CUTOFFS},
        "mrr": [reciprocal_rank(each) for each in placements],
        "ndcg@10": [ndcg_at_k(each, 10) for each in placements],
        "map": [average_precision(each) for each in placements],
    }
    return QueryMetrics(
        query_ids=query_ids,
        groups=groups,
        per_query={name: np.array(values, np.float64) for name, values in columns.items()},
        first_rank=np.array([first_relevant_rank(each) for each in placements], np.float64),
    )
