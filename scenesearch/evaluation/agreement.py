"""Do scores rise with what people said? Kendall's taus, and how far relevance is from the votes.

As the CLIPScore reference counts them (Hessel et al. 2021): Flickr8k-Expert leaves out pairs whose
text is among the picture's own captions, and each of the three grades is a point of its own, tau-c;
Flickr8k-CF takes every pair with its share of yes, tau-b. Votes say how far the relevance can be
trusted: an expert's grade of 3 or 4 is a yes, as it is in training.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenesearch.datasets.task import MATCHING_GRADE, CrowdJudgment, ExpertJudgment, image_of
from scenesearch.encoder.base import Encoder
from scenesearch.evaluation.calibration import (
    auroc,
    brier_score,
    cross_fitted,
    expected_calibration_error,
    reliability_bins,
)
from scenesearch.evaluation.evaluate import TEXT_BATCH_SIZE, EvaluationError, ids_by_ending
from scenesearch.evaluation.human_agreement import kendall_tau
from scenesearch.runtime.cancel import watched
from scenesearch.search.searcher import Searcher
from scenesearch.store.base import VectorStore

RESAMPLES = 200  # each works through all pairs again


@dataclass(frozen=True)
class Agreement:
    """Figures by name, with 95 % intervals over pictures; those without judgments are missing.

    `expert_tau_c` and `crowd_tau_b` run from -1 to 1. `expert_ndcg@10` is that of the experts' mean
    grades (less 1) among the judged pictures of each of `ndcg_queries`, its interval over queries.
    `mae` and `rmse` are of the relevance against the crowd's share of yes, a pair counting once.
    `auroc` (a pair is relevant when most said yes), `auroc_crowd` (one of the crowd's when at least
    half did), `ece` and `brier` judge the relevance after Platt's two numbers were fitted on other
    pictures and other queries; the same with `shipped_` before them judge it as the encoder
    declares it, which flatters an encoder that was calibrated on these very votes.

    `reliability` and `shipped_reliability` are bins of equally many votes. `left_out` judgments
    lack their picture, or their text.
    """

    encoder: str
    gallery: int
    expert_pairs: int
    crowd_pairs: int
    ndcg_queries: int
    votes: int
    figures: Mapping[str, float]
    ci95: Mapping[str, tuple[float, float]]
    reliability: list[dict[str, float]]
    shipped_reliability: list[dict[str, float]]
    left_out: int

    def to_json(self) -> dict[str, Any]:
        calibration = ("auroc", "auroc_crowd", "ece", "brier")
        shipped = {name: self.figures.get(f"shipped_{name}") for name in calibration}
        return {
            "encoder": self.encoder,
            "gallery": self.gallery,
            "pairs": {"expert": self.expert_pairs, "crowd": self.crowd_pairs},
            "ndcg_queries": self.ndcg_queries,
            "votes": self.votes,
            **{
                name: self.figures.get(name)
                for name in ("expert_tau_c", "crowd_tau_b", "expert_ndcg@10", "mae", "rmse")
            },
            "calibration": {
                **{name: self.figures.get(name) for name in calibration},
                "cross_fitted_by": "picture and query",
                "reliability": self.reliability,
            },
            "calibration_shipped": shipped | {"reliability": self.shipped_reliability},
            "ci95": {name: list(interval) for name, interval in self.ci95.items()},
            "left_out": self.left_out,
        }


def measure_agreement(
    *,
    store: VectorStore,
    library: str,
    encoder: Encoder,
    texts: Mapping[str, str],
    expert: Sequence[ExpertJudgment] = (),
    crowd: Sequence[CrowdJudgment] = (),
) -> Agreement:
    """Scores every judged pair by the vectors of the library; `texts` are by query id.

    Raises EvaluationError when no judgment has both its picture and its text.
    """
    searcher = Searcher(encoder, store, library)
    vectors = {
        point.image_id: point.vector
        for point in store.scroll(library, payload=(), with_vectors=True)
        if point.vector is not None
    }
    ending_with = ids_by_ending(vectors)

    def found(row: ExpertJudgment | CrowdJudgment) -> NDArray[np.float32] | None:
        ids = [row.image] if row.image in vectors else ending_with.get(row.image, [])
        return vectors[ids[0]] if len(ids) == 1 and row.query_id in texts else None

    known_expert = [(row, vector) for row in expert if (vector := found(row)) is not None]
    known_crowd = [(row, vector) for row in crowd if (vector := found(row)) is not None]
    if not known_expert and not known_crowd:
        raise EvaluationError(
            f"none of the {len(expert) + len(crowd)} judgments has its picture in the library and "
            "its text in a captions file"
        )
    asked = sorted(
        {row.query_id for row, _ in known_expert} | {row.query_id for row, _ in known_crowd}
    )
    query: dict[str, NDArray[np.float32]] = {}
    for start in range(0, len(asked), TEXT_BATCH_SIZE):
        batch = asked[start : start + TEXT_BATCH_SIZE]
        embedded = searcher.texts.of_all([texts[query_id] for query_id in batch])
        query |= zip(batch, embedded, strict=True)

    own: dict[str, set[str]] = {}
    for query_id, text in texts.items():
        own.setdefault(image_of(query_id), set()).add(text)
    foreign = [
        (row, vector)
        for row, vector in known_expert
        if texts[row.query_id] not in own.get(row.image, ())
    ]
    judged = _judged(known_expert, known_crowd, foreign, query)
    calibration = {query_id: searcher.calibration.of(texts[query_id]) for query_id in asked}
    relevance = np.array(
        [
            float(calibration[query_id].relevance(judged.scores[n : n + 1], query[query_id])[0])
            for n, query_id in enumerate(judged.query_ids)
        ]
    )
    owners = [image_of(query_id) for query_id in judged.query_ids]
    refitted = cross_fitted(relevance, judged.share, judged.votes, judged.pictures, owners)
    ndcg = _condensed_ndcg(judged)
    figures = _figures(judged, relevance, refitted, np.arange(len(relevance)))
    ci95 = _intervals(judged, relevance, refitted)
    if len(ndcg):
        figures["expert_ndcg@10"] = float(ndcg.mean())
        ci95["expert_ndcg@10"] = _interval([float(v) for v in _resampled_means(ndcg)])
    return Agreement(
        encoder=encoder.info.name,
        gallery=len(vectors),
        expert_pairs=len(foreign),
        crowd_pairs=len(known_crowd),
        ndcg_queries=len(ndcg),
        votes=int(judged.votes.sum()),
        figures=figures,
        ci95=ci95,
        reliability=reliability_bins(refitted, judged.share, judged.votes),
        shipped_reliability=reliability_bins(relevance, judged.share, judged.votes),
        left_out=len(expert) + len(crowd) - len(known_expert) - len(known_crowd),
    )


@dataclass(frozen=True)
class _Judged:
    """Judged pairs, the crowd's first; `grades` `(pairs, 3)` are 0 for the crowd's, `foreign` marks
    experts' pairs whose text is not the picture's own."""

    pictures: list[str]
    query_ids: list[str]
    scores: NDArray[np.float32]
    share: NDArray[np.float64]
    votes: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    foreign: NDArray[np.bool_]
    grades: NDArray[np.float64]


_Expert = Sequence[tuple[ExpertJudgment, NDArray[np.float32]]]
_Crowd = Sequence[tuple[CrowdJudgment, NDArray[np.float32]]]


def _judged(
    expert: _Expert, crowd: _Crowd, foreign: _Expert, query: Mapping[str, NDArray[np.float32]]
) -> _Judged:
    rows: list[ExpertJudgment | CrowdJudgment] = [row for row, _ in crowd]
    rows += [row for row, _ in expert]
    vectors = [*(vector for _, vector in crowd), *(vector for _, vector in expert)]
    experts = [row for row, _ in expert]
    matching = [sum(grade >= MATCHING_GRADE for grade in row.grades) for row in experts]
    yes = [*(row.yes for row, _ in crowd), *matching]
    votes = [*(row.yes + row.no for row, _ in crowd), *(len(row.grades) for row in experts)]
    kept = {(row.image, row.query_id) for row, _ in foreign}
    return _Judged(
        pictures=[row.image for row in rows],
        query_ids=[row.query_id for row in rows],
        scores=np.array(
            [query[row.query_id] @ vector for row, vector in zip(rows, vectors, strict=True)]
        ),
        share=np.array(yes, float) / np.array(votes, float),
        votes=np.array(votes, float),
        crowd=np.arange(len(rows)) < len(crowd),
        foreign=np.array(
            [False] * len(crowd) + [(row.image, row.query_id) in kept for row in experts]
        ),
        grades=np.array([[0.0] * 3] * len(crowd) + [list(row.grades) for row in experts], float),
    )


def _figures(
    judged: _Judged,
    relevance: NDArray[np.float64],
    refitted: NDArray[np.float64],
    rows: NDArray[np.int64],
) -> dict[str, float]:
    """All figures of some of the pairs, given by their rows, which may repeat."""
    share, votes = judged.share[rows], judged.votes[rows]
    crowd = rows[judged.crowd[rows]]
    expert = rows[judged.foreign[rows]]
    found: dict[str, float | None] = {
        "expert_tau_c": _tau(
            np.repeat(judged.scores[expert], 3), judged.grades[expert].ravel(), "c"
        ),
        "crowd_tau_b": _tau(judged.scores[crowd], judged.share[crowd], "b"),
    }
    if len(crowd):
        off = relevance[crowd] - judged.share[crowd]
        found["mae"] = float(np.abs(off).mean())
        found["rmse"] = float(np.sqrt(np.square(off).mean()))
    for prefix, promised in (("", refitted), ("shipped_", relevance)):
        found[f"{prefix}auroc"] = auroc(share > 0.5, promised[rows])
        found[f"{prefix}auroc_crowd"] = auroc(judged.share[crowd] >= 0.5, promised[crowd])
        found[f"{prefix}ece"] = expected_calibration_error(promised[rows], share, votes)
        found[f"{prefix}brier"] = brier_score(promised[rows], share, votes)
    return {name: value for name, value in found.items() if value is not None}


def _intervals(
    judged: _Judged, relevance: NDArray[np.float64], refitted: NDArray[np.float64]
) -> dict[str, tuple[float, float]]:
    """95 % of each figure over resampled pictures, each with all its pairs."""
    _, picture = np.unique(np.array(judged.pictures, dtype=object), return_inverse=True)
    order = np.argsort(picture, kind="stable")
    own = np.split(order, np.cumsum(np.bincount(picture))[:-1])
    generator = np.random.default_rng(0)
    drawn: dict[str, list[float]] = {}
    for _ in watched(range(RESAMPLES)):
        rows = np.concatenate([own[n] for n in generator.integers(len(own), size=len(own))])
        for name, value in _figures(judged, relevance, refitted, rows).items():
            drawn.setdefault(name, []).append(value)
    return {name: _interval(values) for name, values in drawn.items()}


def _interval(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _resampled_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    generator = np.random.default_rng(0)
    means: NDArray[np.float64] = values[
        generator.integers(len(values), size=(RESAMPLES, len(values)))
    ].mean(axis=1)
    return means


def _condensed_ndcg(judged: _Judged) -> NDArray[np.float64]:
    """nDCG@10 of each query with unjudged pictures taken out, `(queries,)`.

    Queries with a single judged picture, or none above grade 1, have no order to get wrong. The
    gain is the mean grade less 1. Source: T. Sakai (2007), Alternatives to Bpref.
    """
    by_query: dict[str, list[tuple[float, str, float]]] = {}
    for row in np.flatnonzero(~judged.crowd):
        entry = (-float(judged.scores[row]), judged.pictures[row], judged.grades[row].mean() - 1)
        by_query.setdefault(judged.query_ids[row], []).append(entry)
    values = []
    for entries in by_query.values():
        gains = [gain for _, _, gain in sorted(entries)]
        if len(gains) > 1 and any(gains):
            values.append(_dcg(gains) / _dcg(sorted(gains, reverse=True)))
    return np.array(values, float)


def _dcg(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains[:10], start=1))


def _tau(scores: NDArray[Any], grades: NDArray[Any], kind: str) -> float | None:
    if not len(scores):
        return None
    tau = float(getattr(kendall_tau(scores, grades), kind))
    return None if math.isnan(tau) else tau
