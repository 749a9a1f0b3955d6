"""Is B better than A? Compares two runs of the same queries on the same gallery.

    compare(read_saved(Path("results/a")), read_saved(Path("results/b")))

Captions of one picture succeed and fail together. So the test flips whole pictures, and the
bootstrap draws whole pictures.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenesearch.evaluation.bootstrap import bootstrap_ci95, group_sums
from scenesearch.evaluation.metrics import QueryMetrics
from scenesearch.evaluation.output_folder import ComparisonError, SavedRun

PERMUTATIONS = 9_999  # the smallest p that they can show is .0001
SIGNIFICANT = 0.05
_BLOCK = 500  # permutations computed at once


@dataclass(frozen=True)
class Difference:
    """B minus A in one metric: mean, 95 % interval, and p of the paired randomisation test."""

    metric: str
    a: float
    b: float
    mean: float
    ci95: tuple[float, float]
    p: float


@dataclass(frozen=True)
class Comparison:
    a: SavedRun
    b: SavedRun
    differences: tuple[Difference, ...]
    wins: int  # queries whose first relevant picture stands higher in B
    losses: int
    ties: int

    def of(self, metric: str) -> Difference:
        """The difference in this metric."""
        (found,) = (one for one in self.differences if one.metric == metric)
        return found

    def verdict(self, metric: str = "recall@10") -> str:
        """One sentence about one metric. Do not choose the metric after seeing the others."""
        found = self.of(metric)
        images = len(set(self.a.query_metrics.groups))
        where = (
            f"on these {len(self.a.query_metrics.query_ids)} queries about {images} pictures "
            f"(gallery of {self.a.gallery})"
        )
        low, high = (100 * end for end in found.ci95)
        figures = (
            f"{100 * found.mean:+.1f} points of {metric}, 95 % interval {low:+.1f} to {high:+.1f}"
        )
        if not self.wins and not self.losses and not any(d.mean for d in self.differences):
            return f"no difference: A and B place every relevant picture alike {where}"
        if found.p >= SIGNIFICANT:
            return f"no difference can be told {where}: {figures}, p {_p(found.p)}"
        word = "better" if found.mean > 0 else "worse"
        return f"B is {word} than A {where}: {figures}, p {_p(found.p)}"

    def to_json(self) -> dict[str, Any]:
        return {
            "a": {"folder": str(self.a.folder), "encoder": self.a.encoder},
            "b": {"folder": str(self.b.folder), "encoder": self.b.encoder},
            "gallery": self.a.gallery,
            "queries": len(self.a.query_metrics.query_ids),
            "differences": {
                one.metric: {
                    "a": one.a,
                    "b": one.b,
                    "difference": one.mean,
                    "ci95": list(one.ci95),
                    "p": one.p,
                }
                for one in self.differences
            },
            "wins": self.wins,
            "losses": self.losses,
            "ties": self.ties,
            "verdict": self.verdict(),
        }


def compare(a: SavedRun, b: SavedRun) -> Comparison:
    """Paired over pictures; raises ComparisonError unless gallery, queries and judgments agree."""
    if a.gallery_fingerprint != b.gallery_fingerprint:
        raise ComparisonError(
            f"{a.folder} and {b.folder} searched different galleries ({a.gallery} and {b.gallery} "
            "pictures): their figures cannot be compared"
        )
    if a.qrels != b.qrels:
        only = sorted(a.qrels.keys() ^ b.qrels.keys())
        what = f"query {only[0]} is in one of them" if only else "they judge a query differently"
        raise ComparisonError(f"{a.folder} and {b.folder} asked different queries: {what}")
    order = {query_id: row for row, query_id in enumerate(b.query_metrics.query_ids)}
    of_a = a.query_metrics
    of_b = b.query_metrics.rows(np.array([order[query_id] for query_id in of_a.query_ids]))
    deltas = QueryMetrics(
        of_a.query_ids,
        of_a.groups,
        {name: of_b.per_query[name] - of_a.per_query[name] for name in of_a.per_query},
        np.zeros(len(of_a.query_ids)),
    )
    intervals = bootstrap_ci95(deltas)
    p_values = randomisation_p(deltas)
    differences = tuple(
        Difference(
            name,
            float(of_a.per_query[name].mean()),
            float(b.query_metrics.per_query[name].mean()),
            float(deltas.per_query[name].mean()),
            intervals[name],
            p_values[name],
        )
        for name in deltas.per_query
    )
    wins = int((of_b.first_rank < of_a.first_rank).sum())
    losses = int((of_b.first_rank > of_a.first_rank).sum())
    return Comparison(a, b, differences, wins, losses, len(of_a.query_ids) - wins - losses)


def randomisation_p(deltas: QueryMetrics) -> dict[str, float]:
    """Two-sided p of each metric's mean difference, under the hypothesis that A and B are equal.

    The differences of all queries of a picture change sign together. Source: Smucker, Allan and
    Carterette (2007), A Comparison of Statistical Significance Tests for Information Retrieval.
    """
    values = np.stack(list(deltas.per_query.values()), axis=1)  # (queries, metrics)
    _, sums, _ = group_sums(values, deltas.groups)  # (pictures, metrics)
    observed = np.abs(sums.sum(axis=0))
    generator = np.random.default_rng(0)
    as_far: NDArray[np.int64] = np.zeros(values.shape[1], np.int64)
    for start in range(0, PERMUTATIONS, _BLOCK):
        count = min(_BLOCK, PERMUTATIONS - start)
        signs = generator.integers(0, 2, size=(count, len(sums))) * 2 - 1
        # Sums that are equal on paper differ in the last bit.
        as_far += (np.abs(signs @ sums) >= observed - 1e-9).sum(axis=0)
    p = (1 + as_far) / (1 + PERMUTATIONS)
    return {name: float(p[row]) for row, name in enumerate(deltas.per_query)}


def _p(p: float) -> str:
    return "< .001" if p < 0.001 else f"= {p:.3f}"
