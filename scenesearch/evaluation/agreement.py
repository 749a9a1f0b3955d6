"""Agreement with people: do scores rise with their grades, and does relevance match their votes?

Kendall's taus are computed as in the CLIPScore reference (Hessel et al. 2021). Flickr8k-Expert,
tau-c: pairs whose text is one of the picture's own captions are left out, and each of the three
grades is a point of its own. Flickr8k-CF, tau-b: every pair counts, with its share of yes. The
relevance is compared with the votes; an expert's grade of 3 or 4 is a vote of yes, as in training.
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
from scenesearch.evaluation.kendall import kendall_tau
from scenesearch.evaluation.metrics import dcg
from scenesearch.runtime.cancel import cancellable
from scenesearch.search.searcher import Searcher
from scenesearch.store.base import VectorStore

RESAMPLES = 200  # each computes everything over all pairs again

Judgment = ExpertJudgment | CrowdJudgment


@dataclass(frozen=True)
class Agreement:
    """Figures by name, with 95 % intervals over pictures; a figure without judgments is missing.

    - `expert_tau_c`, `crowd_tau_b`: from -1 to 1.
    - `expert_ndcg@10`: over the judged pictures of each of `ndcg_queries`. The gain is the experts'
      mean grade minus 1; the interval is over queries.
    - `mae`, `rmse`: of the relevance against the crowd's share of yes; each pair counts once.
    - `auroc` (a pair is relevant when most people said yes), `auroc_crowd` (the crowd's pairs,
      relevant when at least half said yes), `ece`, `brier`: of the relevance after Platt scaling
      that was fitted on other pictures and other queries.
    - the same with the prefix `shipped_`: of the relevance as the encoder declares it. They flatter
      an encoder that was calibrated on these votes.

    `reliability` and `shipped_reliability` are bins of equally many votes. `left_out` counts
    judgments without their picture or text.
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
    """Score every judged pair with the vectors of the library; `texts` are by query id.

    Raises EvaluationError when no judgment has both its picture and its text.
    """
    searcher = Searcher(encoder, store, library)
    vectors = {
        point.image_id: point.vector
        for point in store.scroll(library, payload=(), with_vectors=True)
        if point.vector is not None
    }
    ending_with = ids_by_ending(vectors)

    def vector_of(row: Judgment) -> NDArray[np.float32] | None:
        ids = [row.image] if row.image in vectors else ending_with.get(row.image, [])
        return vectors[ids[0]] if len(ids) == 1 and row.query_id in texts else None

    judgments: list[Judgment] = [*crowd, *expert]
    pairs = [(row, vector) for row in judgments if (vector := vector_of(row)) is not None]
    if not pairs:
        raise EvaluationError(
            f"none of the {len(judgments)} judgments has its picture in the library and "
            "its text in a captions file"
        )
    query_ids = sorted({row.query_id for row, _ in pairs})
    query: dict[str, NDArray[np.float32]] = {}
    for start in range(0, len(query_ids), TEXT_BATCH_SIZE):
        batch = query_ids[start : start + TEXT_BATCH_SIZE]
        embedded = searcher.texts.embed_all([texts[query_id] for query_id in batch])
        query |= zip(batch, embedded, strict=True)

    judged = _judged(pairs, texts, query)
    calibration = {query_id: searcher.calibration.of(texts[query_id]) for query_id in query_ids}
    of_pictures = {row.image: vector for row, vector in pairs}
    surplus = dict(
        zip(
            of_pictures,
            searcher.calibration.surplus(np.stack(list(of_pictures.values()))).tolist(),
            strict=True,
        )
    )
    counted = judged.scores - np.array([surplus[name] for name in judged.pictures], np.float32)
    relevance = np.array(
        [
            float(calibration[query_id].relevance(counted[n : n + 1], query[query_id])[0])
            for n, query_id in enumerate(judged.query_ids)
        ]
    )
    owners = [image_of(query_id) for query_id in judged.query_ids]
    refitted = cross_fitted(relevance, judged.share, judged.votes, judged.pictures, owners)
    ndcg = _condensed_ndcg(judged)
    figures = _figures(judged, relevance, refitted, np.arange(len(relevance)))
    ci95 = _intervals(judged, relevance, refitted)
    if len(ndcg):
        drawn = np.random.default_rng(0).integers(len(ndcg), size=(RESAMPLES, len(ndcg)))
        figures["expert_ndcg@10"] = float(ndcg.mean())
        ci95["expert_ndcg@10"] = _interval(ndcg[drawn].mean(axis=1))
    return Agreement(
        encoder=encoder.info.name,
        gallery=len(vectors),
        expert_pairs=int(judged.foreign.sum()),
        crowd_pairs=int(judged.crowd.sum()),
        ndcg_queries=len(ndcg),
        votes=int(judged.votes.sum()),
        figures=figures,
        ci95=ci95,
        reliability=reliability_bins(refitted, judged.share, judged.votes),
        shipped_reliability=reliability_bins(relevance, judged.share, judged.votes),
        left_out=len(judgments) - len(pairs),
    )


@dataclass(frozen=True)
class _Judged:
    """The judged pairs as arrays. `grades` `(pairs, 3)` are 0 for the crowd's pairs; `foreign`
    marks the experts' pairs whose text is not one of the picture's own captions."""

    pictures: list[str]
    query_ids: list[str]
    scores: NDArray[np.float32]
    share: NDArray[np.float64]
    votes: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    foreign: NDArray[np.bool_]
    grades: NDArray[np.float64]


def _judged(
    pairs: Sequence[tuple[Judgment, NDArray[np.float32]]],
    texts: Mapping[str, str],
    query: Mapping[str, NDArray[np.float32]],
) -> _Judged:
    captions: dict[str, set[str]] = {}
    for query_id, text in texts.items():
        captions.setdefault(image_of(query_id), set()).add(text)
    yes, votes, crowd, foreign, grades = [], [], [], [], []
    for row, _ in pairs:
        is_crowd = isinstance(row, CrowdJudgment)
        crowd.append(is_crowd)
        foreign.append(not is_crowd and texts[row.query_id] not in captions.get(row.image, ()))
        if isinstance(row, CrowdJudgment):
            yes.append(row.yes)
            votes.append(row.yes + row.no)
            grades.append((0, 0, 0))
        else:
            yes.append(sum(grade >= MATCHING_GRADE for grade in row.grades))
            votes.append(len(row.grades))
            grades.append(row.grades)
    return _Judged(
        pictures=[row.image for row, _ in pairs],
        query_ids=[row.query_id for row, _ in pairs],
        scores=np.array([query[row.query_id] @ vector for row, vector in pairs]),
        share=np.array(yes, float) / np.array(votes, float),
        votes=np.array(votes, float),
        crowd=np.array(crowd),
        foreign=np.array(foreign),
        grades=np.array(grades, float),
    )


def _figures(
    judged: _Judged,
    relevance: NDArray[np.float64],
    refitted: NDArray[np.float64],
    rows: NDArray[np.int64],
) -> dict[str, float]:
    """All figures over some of the pairs, given by their rows, which may repeat."""
    share, votes = judged.share[rows], judged.votes[rows]
    crowd = rows[judged.crowd[rows]]
    expert = rows[judged.foreign[rows]]
    found: dict[str, float | None] = {
        "expert_tau_c": _tau(np.repeat(judged.scores[expert], 3), judged.grades[expert].ravel())[1],
        "crowd_tau_b": _tau(judged.scores[crowd], judged.share[crowd])[0],
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
    """95 % interval of each figure over resampled pictures, each with all its pairs."""
    _, picture = np.unique(np.array(judged.pictures, dtype=object), return_inverse=True)
    order = np.argsort(picture, kind="stable")
    own = np.split(order, np.cumsum(np.bincount(picture))[:-1])
    generator = np.random.default_rng(0)
    drawn: dict[str, list[float]] = {}
    for _ in cancellable(range(RESAMPLES)):
        rows = np.concatenate([own[n] for n in generator.integers(len(own), size=len(own))])
        for name, value in _figures(judged, relevance, refitted, rows).items():
            drawn.setdefault(name, []).append(value)
    return {name: _interval(values) for name, values in drawn.items()}


def _interval(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _condensed_ndcg(judged: _Judged) -> NDArray[np.float64]:
    """nDCG@10 of each query over its judged pictures alone, `(queries,)`.

    Left out are queries with a single judged picture, or none above grade 1: they have no order to
    get wrong. The gain is the mean grade minus 1. Source: T. Sakai (2007), Alternatives to Bpref.
    """
    by_query: dict[str, list[tuple[float, str, float]]] = {}
    for row in np.flatnonzero(~judged.crowd):
        entry = (-float(judged.scores[row]), judged.pictures[row], judged.grades[row].mean() - 1)
        by_query.setdefault(judged.query_ids[row], []).append(entry)
    values = []
    for entries in by_query.values():
        gains = [gain for _, _, gain in sorted(entries)]
        if len(gains) > 1 and any(gains):
            best = sorted(gains, reverse=True)
            values.append(dcg(enumerate(gains[:10], start=1)) / dcg(enumerate(best[:10], start=1)))
    return np.array(values, float)


def _tau(scores: NDArray[Any], grades: NDArray[Any]) -> tuple[float | None, float | None]:
    """Kendall's tau-b and tau-c; None where they are not defined."""
    if not len(scores):
        return None, None
    tau_b, tau_c = kendall_tau(scores, grades)
    return (None, None) if math.isnan(tau_b) else (tau_b, tau_c)
