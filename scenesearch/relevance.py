"""From cosine similarity to P(relevant), by the calibration an encoder folder declares.

A query that is a little like every picture ("two people") has high cosines everywhere, and they say
less. What tells such a query apart is its mean cosine over pictures, which is its product with the
mean of their embeddings: one vector that the encoder folder carries. So a hit's relevance depends
on picture and query alone, not on the library's size or on how many hits were asked for.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

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

    def line(self, query: NDArray[np.float32]) -> tuple[float, float]:
        """The intercept and slope of log odds against the cosine, for the query."""
        mean = 0.0 if self.mean_picture is None else float(self.mean_picture @ query)
        return self.intercept + self.query_mean * mean, self.cosine

    def average(self, query: NDArray[np.float32]) -> float:
        """The cosine of an average picture with the query; without one declared, that of a
        picture of 5 % relevance."""
        if self.mean_picture is not None:
            return float(self.mean_picture @ query)
        return (math.log(0.05 / 0.95) - self.intercept) / self.cosine

    def relevance(
        self, scores: NDArray[np.float32], query: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Probabilities 0-1 for one query's cosines (any shape); `query` is its embedding."""
        intercept, slope = self.line(query)
        return probability(intercept + slope * scores.astype(np.float64))


def probability(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sigmoid; never exactly 0 or 1, for no hit is ever certain."""
    return 1 / (1 + np.exp(-np.clip(log_odds, -30, 30)))


Band = Literal["strong", "partial", "weak"]

# Where a hit's relevance begins to be called so: people who judge would rather say yes than no;
# one in five would say yes.
STRONG, PARTIAL = 0.5, 0.2


def band(relevance: float) -> Band:
    """The word for a relevance."""
    return "strong" if relevance >= STRONG else "partial" if relevance >= PARTIAL else "weak"


# For encoder folders without a calibration: CLIP-like cosines of matching pairs lie around
# 0.25-0.35 and of others below 0.2, so 0.2 becomes an even chance. A guess that
# training.calibrate replaces.
UNCALIBRATED = Calibration(intercept=-6.0, cosine=30.0)

# The same for pictures as queries: cosines of CLIP-like encoders between photographs of different
# things lie around 0.5, between those of one thing above 0.8.
UNCALIBRATED_PICTURES = Calibration(intercept=-12.0, cosine=15.0)


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


def read_picture_calibration(declared: Mapping[str, Any]) -> Calibration:
    """What a cosine between two pictures means: whether people would say that a description of
    the one fits the other. The documented guess where `picture_queries` is not declared.

    Raises CalibrationError for numbers this version cannot use.
    """
    pictures = declared.get("picture_queries")
    if pictures is None:
        return UNCALIBRATED_PICTURES
    if not isinstance(pictures, Mapping) or not all(
        _finite(pictures.get(key)) for key in ("intercept", "cosine")
    ):
        raise CalibrationError(
            "calibration of 'picture_queries' needs finite 'intercept' and 'cosine'"
        )
    if pictures["cosine"] <= 0:
        raise CalibrationError("calibration of 'picture_queries' needs 'cosine' above 0")
    return Calibration(float(pictures["intercept"]), float(pictures["cosine"]))


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
