"""Metrics of calibration: a relevance promises a share of people who would say yes. Does it hold?

All arguments are `(pairs,)`: `relevance` is the promise for each judged pair, `share` the share of
its `votes` that said yes. A pair counts as often as it has votes.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 15
FOLDS = 5


def reliability_bins(
    relevance: Floats, share: Floats, votes: Floats, bins: int = BINS
) -> list[dict[str, float]]:
    """The pairs, sorted by relevance, in bins of equally many votes."""
    order = np.argsort(relevance, kind="stable")
    middle = np.cumsum(votes[order]) - votes[order] / 2
    place = np.minimum((bins * middle / votes.sum()).astype(int), bins - 1)
    found = []
    for number in np.unique(place):
        rows = order[place == number]
        weights = votes[rows]
        found.append(
            {
                "relevance": round(float(np.average(relevance[rows], weights=weights)), 4),
                "share": round(float(np.average(share[rows], weights=weights)), 4),
                "votes": round(float(weights.sum()), 4),
            }
        )
    return found


def expected_calibration_error(relevance: Floats, share: Floats, votes: Floats) -> float:
    """Mean distance between promised and voted share over bins of equally many votes."""
    table = reliability_bins(relevance, share, votes)
    off = sum(row["votes"] * abs(row["relevance"] - row["share"]) for row in table)
    return off / sum(row["votes"] for row in table)


def brier_score(relevance: Floats, share: Floats, votes: Floats) -> float:
    """Mean squared distance between the relevance and each single vote."""
    squared = share * (1 - relevance) ** 2 + (1 - share) * relevance**2
    return float(np.average(squared, weights=votes))


def auroc(relevant: NDArray[np.bool_], relevance: Floats) -> float | None:
    """How often, of a relevant and an irrelevant pair, the relevant one scores higher; ties count
    half.

    None when all pairs are relevant or none is. Source: Hanley and McNeil (1982), by ranks.
    """
    positives = int(relevant.sum())
    negatives = len(relevant) - positives
    if not positives or not negatives:
        return None
    _, level, counts = np.unique(relevance, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts - 1) / 2  # ties share the mean of their ranks
    rank_sum = float(mean_ranks[level][relevant].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def cross_fitted(
    relevance: Floats, share: Floats, votes: Floats, pictures: Sequence[str], owners: Sequence[str]
) -> Floats:
    """The relevance after Platt scaling, fitted on pairs that share no picture with the scaled
    pair.

    `pictures` are the judged pictures, `owners` the pictures that the texts were written for. Both
    are split into five folds, which gives 25 cells. For each cell, slope and intercept on the
    relevance's logit are fitted on the pairs outside both of its folds. When those pairs have only
    votes of yes or only of no, the cell keeps its relevance.
    """
    logits = np.log(relevance) - np.log1p(-relevance)
    one = np.array([fold_of(name) for name in pictures])
    other = np.array([fold_of(name) for name in owners])
    fitted = relevance.copy()
    for first in range(FOLDS):
        for second in range(FOLDS):
            judged = (one == first) & (other == second)
            seen = (one != first) & (other != second)
            yes, no = share[seen] @ votes[seen], (1 - share[seen]) @ votes[seen]
            if not judged.any() or yes <= 0 or no <= 0:
                continue
            slope, intercept = platt(logits[seen], share[seen], votes[seen])
            fitted[judged] = 1 / (1 + np.exp(-(slope * logits[judged] + intercept)))
    return fitted


def platt(logits: Floats, share: Floats, votes: Floats) -> tuple[float, float]:
    """Slope and intercept of the logistic regression of the votes on the logits.

    Newton's method, with a penalty so small that it changes no digit shown: without it, votes that
    a line separates would send the slope to infinity. Source: J. Platt (1999), Probabilistic
    Outputs for Support Vector Machines.
    """
    features = np.stack([logits, np.ones_like(logits)], axis=1)  # (pairs, 2)
    weights = np.array([1.0, 0.0])
    penalty = 1e-6
    for _ in range(50):
        promised = 1 / (1 + np.exp(-np.clip(features @ weights, -30, 30)))
        gradient = features.T @ (votes * (promised - share)) + penalty * weights
        curvature = votes * promised * (1 - promised)
        hessian = features.T @ (features * curvature[:, None]) + penalty * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        # A full step may overshoot where most votes are certain.
        weights -= step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    return float(weights[0]), float(weights[1])


def fold_of(name: str, folds: int = FOLDS) -> int:
    """The fold of a picture, by its name alone, so that every run makes the same split."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % folds
