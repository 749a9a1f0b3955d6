"""P(relevant | cosine) from human votes: Platt's sigmoid, fitted by the votes themselves."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score


@dataclass(frozen=True)
class Votes:
    """Judged pairs, one row each; `yes` and `no` count the people who said so."""

    image_ids: tuple[str, ...]
    cosines: np.ndarray
    yes: np.ndarray
    no: np.ndarray

    def only(self, rows: np.ndarray) -> Votes:
        image_ids = tuple(self.image_ids[n] for n in np.flatnonzero(rows))
        return Votes(image_ids, self.cosines[rows], self.yes[rows], self.no[rows])


def fit_platt(votes: Votes) -> tuple[float, float]:
    """(slope, intercept) of P = sigmoid(slope * cosine + intercept), each vote counting once."""
    if not votes.yes.any() or not votes.no.any():
        raise ValueError("calibration needs votes of both kinds, yes and no")
    cosines = np.concatenate([votes.cosines, votes.cosines])[:, None]
    said_yes = np.concatenate([np.ones(len(votes.yes)), np.zeros(len(votes.no))])
    counts = np.concatenate([votes.yes, votes.no])
    # Practically unpenalised: a penalty would flatten the slope of a narrow range of cosines.
    regression = LogisticRegression(C=1e6, max_iter=1000)
    regression.fit(cosines, said_yes, sample_weight=counts)
    return float(regression.coef_[0, 0]), float(regression.intercept_[0])


def cross_fitted_auroc(votes: Votes, folds: int) -> float:
    """AUROC of 'most said yes', each picture's pairs judged by a fit that never saw the picture."""
    fold = np.array([_fold(image_id, folds) for image_id in votes.image_ids])
    relevance = np.zeros(len(fold))
    for number in range(folds):
        inside = fold == number
        if not inside.any():
            continue
        slope, intercept = fit_platt(votes.only(~inside))
        relevance[inside] = 1 / (1 + np.exp(-(slope * votes.cosines[inside] + intercept)))
    return float(roc_auc_score(votes.yes > votes.no, relevance))


def _fold(image_id: str, folds: int) -> int:
    return int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:4], "big") % folds
