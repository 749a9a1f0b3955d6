"""From cosine similarity to P(relevant), by the calibration an encoder folder declares.

A query that is a little like every picture ("two people") has high cosines everywhere, and they say
less. What tells such a query apart is its mean cosine over pictures, which is its product with the
mean of their embeddings: one vector that the encoder folder carries. So a hit's relevance depends
on picture and query alone, not on the library's size or on how many hits were asked for.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenesearch.encoder.base import EncoderError

METHOD = "logistic"


class CalibrationError(EncoderError):
    """The encoder's calibration cannot be read."""


@dataclass(frozen=True)
class Calibration:
    """P(relevant) = sigmoid(intercept + cosine * c + query_mean * m) for a cosine c of a query
    whose mean cosine over the reference pictures is m = query . mean_picture.

    A logistic regression on two features: J. Platt (1999), Probabilistic Outputs for Support
    Vector Machines, with the query's context beside the score. Without `mean_picture` it is
    Platt's own. Fitted on human judgments by `training.calibrate`.
    """

    intercept: float
    cosine: float
    query_mean: float = 0.0
    mean_picture: NDArray[np.float64] | None = None  # (dimension,), not of unit length

    def relevance(
        self, scores: NDArray[np.float32], query: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Probabilities 0-1 for one query's cosines (any shape); `query` is its embedding."""
        mean = 0.0 if self.mean_picture is None else float(self.mean_picture @ query)
        logits = self.intercept + self.cosine * scores.astype(np.float64) + self.query_mean * mean
        # Beyond 30 the sigmoid would round to exactly 0 or 1: no hit is ever certain.
        return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))


# For encoder folders without a calibration: CLIP-like cosines of matching pairs lie around
# 0.25-0.35 and of others below 0.2, so 0.2 becomes an even chance. A guess that
# training.calibrate replaces.
UNCALIBRATED = Calibration(intercept=-6.0, cosine=30.0)


def read_calibration(declared: Mapping[str, Any], dimension: int) -> Calibration:
    """The calibration of an encoder.json; the documented guess when it declares none.

    Raises CalibrationError for a method or numbers this version cannot use.
    """
    if not declared:
        return UNCALIBRATED
    if declared.get("method") != METHOD:
        raise CalibrationError(
            f"calibration method {declared.get('method')!r} is unknown, expected {METHOD!r}: "
            "calibrate the encoder again"
        )
    for key in ("intercept", "cosine", *(("query_mean",) if "mean_picture" in declared else ())):
        if not _finite(declared.get(key)):
            raise CalibrationError(f"calibration needs a finite number {key!r}")
    if declared["cosine"] <= 0:
        raise CalibrationError("calibration needs 'cosine' above 0: nearer must be more relevant")
    intercept, cosine = float(declared["intercept"]), float(declared["cosine"])
    if "mean_picture" not in declared:
        return Calibration(intercept, cosine)
    mean_picture = declared["mean_picture"]
    if (
        not isinstance(mean_picture, list)
        or len(mean_picture) != dimension
        or not all(map(_finite, mean_picture))
    ):
        raise CalibrationError(f"calibration needs {dimension} finite numbers 'mean_picture'")
    mean = np.array(mean_picture, np.float64)
    return Calibration(intercept, cosine, float(declared["query_mean"]), mean)


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
