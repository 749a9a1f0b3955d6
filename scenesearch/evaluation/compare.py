"""Is B better than A? Two runs of the same queries on the same gallery, compared query by query.

    compare(read_saved(Path("results/a")), read_saved(Path("results/b")))

Captions of one picture succeed and fail together, so whole pictures are what the test flips and
the bootstrap draws.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scenesearch.errors import SceneSearchError
from scenesearch.evaluation.bootstrap import bootstrap_ci95
from scenesearch.evaluation.metrics import QUERY_METRICS, Scores
from scenesearch.evaluation.outcome import PER_QUERY
from scenesearch.evaluation.runs import read_qrels

if TYPE_CHECKING:
    import pandas

PERMUTATIONS = 9_999  # the least p that they can show is .0001
SIGNIFICANT = 0.05
_BLOCK = 500  # permutations worked on at once


class ComparisonError(SceneSearchError):
    """The runs cannot be compared; the message is one sentence for the user."""


@dataclass(frozen=True)
class SavedRun:
    """What an evaluation left in its folder."""

    folder: Path
    encoder: str
    gallery: int
    gallery_fingerprint: str
    scores: Scores
    qrels: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Difference:
    """B less A in one metric: its mean, 95 % interval, and p of the paired randomisation test."""

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

    def verdict(self, metric: str = "recall@10") -> str:
        """One sentence on one metric; the others are there to be read, not to be picked from."""
        (found,) = (one for one in self.differences if one.metric == metric)
        images = len(set(self.a.scores.groups))
        where = (
            f"on these {len(self.a.scores.query_ids)} queries about {images} pictures "
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
            "queries": len(self.a.scores.query_ids),
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


def read_saved(folder: Path) -> SavedRun:
    """The evaluation that `scenesearch evaluate --out FOLDER` left; raises ComparisonError."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        encoder, gallery = str(summary["encoder"]), int(summary["gallery"])
        fingerprint = str(summary["gallery_fingerprint"])
    except FileNotFoundError:
        raise ComparisonError(f"{folder} holds no evaluation: it has no summary.json") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ComparisonError(f"{folder / 'summary.json'} is no summary: {error}") from None
    qrels = read_qrels(folder / "qrels.trec")
    if not qrels:
        raise ComparisonError(f"{folder / 'qrels.trec'} judges no query")
    table = _read_table(folder / PER_QUERY)
    if set(table["query_id"]) != qrels.keys() or len(table) != len(qrels):
        raise ComparisonError(
            f"{folder / PER_QUERY} and {folder / 'qrels.trec'} are about different queries: "
            "the files are of two evaluations"
        )
    if (made_by := str(table["encoder"].iloc[0])) != encoder:
        raise ComparisonError(
            f"{folder / PER_QUERY} is about encoder {made_by}, {folder / 'summary.json'} about "
            f"{encoder}: the files are of two evaluations"
        )
    scores = Scores(
        tuple(table["query_id"]),
        tuple(table["group"]),
        {name: table[name].to_numpy(np.float64) for name in QUERY_METRICS},
        np.array(table["first_rank"].astype("Float64").fillna(np.inf), np.float64),
    )
    return SavedRun(folder, encoder, gallery, fingerprint, scores, qrels)


def _read_table(file: Path) -> "pandas.DataFrame":
    """The per-query figures: a hundredth of the run's size, and all that a comparison needs."""
    import pandas

    columns = ["query_id", "encoder", "group", "first_rank", *QUERY_METRICS]
    try:
        return pandas.read_parquet(file, columns=columns)
    except FileNotFoundError:
        raise ComparisonError(f"{file.parent} holds no evaluation: it has no {file.name}") from None
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise ComparisonError(f"{file} is no table of an evaluation: {reason}") from None


def compare(
    a: SavedRun, b: SavedRun, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> Comparison:
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
    order = {query_id: row for row, query_id in enumerate(b.scores.query_ids)}
    rows = np.array([order[query_id] for query_id in a.scores.query_ids])
    deltas = Scores(
        a.scores.query_ids,
        a.scores.groups,
        {name: b.scores.per_query[name][rows] - a.scores.per_query[name] for name in _metrics(a)},
        np.zeros(len(rows)),
    )
    intervals = bootstrap_ci95(deltas, seed=seed)
    p_values = randomisation_p(deltas, permutations=permutations, seed=seed)
    differences = tuple(
        Difference(
            name,
            float(a.scores.per_query[name].mean()),
            float(b.scores.per_query[name].mean()),
            float(deltas.per_query[name].mean()),
            intervals[name],
            p_values[name],
        )
        for name in deltas.per_query
    )
    first_a, first_b = a.scores.first_rank, b.scores.first_rank[rows]
    wins, losses = int((first_b < first_a).sum()), int((first_b > first_a).sum())
    return Comparison(a, b, differences, wins, losses, len(rows) - wins - losses)


def randomisation_p(
    deltas: Scores, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> dict[str, float]:
    """Two-sided p of each metric's mean difference, were A and B interchangeable.

    The differences of all queries of a picture change sign together. Source: Smucker, Allan and
    Carterette (2007), A Comparison of Statistical Significance Tests for Information Retrieval.
    """
    _, group = np.unique(np.array(deltas.groups, dtype=object), return_inverse=True)
    values = np.stack(list(deltas.per_query.values()), axis=1)  # (queries, metrics)
    sums = np.zeros((int(group.max()) + 1, values.shape[1]))
    np.add.at(sums, group, values)  # (pictures, metrics)
    observed = np.abs(sums.sum(axis=0))
    generator = np.random.default_rng(seed)
    as_far: NDArray[np.int64] = np.zeros(values.shape[1], np.int64)
    for start in range(0, permutations, _BLOCK):
        count = min(_BLOCK, permutations - start)
        signs = generator.integers(0, 2, size=(count, len(sums))) * 2 - 1
        # Sums that are equal on paper differ in the last bit.
        as_far += (np.abs(signs @ sums) >= observed - 1e-9).sum(axis=0)
    p = (1 + as_far) / (1 + permutations)
    return {name: float(p[row]) for row, name in enumerate(deltas.per_query)}


def _metrics(run: SavedRun) -> list[str]:
    return list(run.scores.per_query)


def _p(p: float) -> str:
    return "< .001" if p < 0.001 else f"= {p:.3f}"
