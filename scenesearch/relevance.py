"""From cosine similarity to P(relevant), by the calibration an encoder folder declares."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenesearch.errors import SceneSearchError


class CalibrationError(SceneSearchError):
    """The encoder's calibration cannot be read."""


@dataclass(frozen=True)
class Calibration:
    """Platt scaling: P(relevant) = sigmoid(slope * cosine + intercept).

    Source: J. Platt (1999), Probabilistic Outputs for Support Vector Machines. Fitted on human
    judgments when the encoder is exported (`training.calibrate`).
    """

    slope: float
    intercept: float

    def relevance(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities 0-1 for cosine similarities of any shape."""
        logits = np.clip(self.slope * scores.astype(np.float64) + self.intercept, -50, 50)
        return 1 / (1 + np.exp(-logits))


# For encoder folders without a calibration: CLIP-like cosines of matching pairs lie around
# 0.25-0.35 and of others below 0.2, so 0.2 becomes an even chance. A guess that
# training.calibrate replaces.
UNCALIBRATED = Calibration(slope=30.0, intercept=-6.0)


def read_calibration(declared: Mapping[str, Any]) -> Calibration:
    """The calibration of an encoder.json; the documented guess when it declares none.

    Raises CalibrationError for a method or numbers this version cannot use.
    """
    if not declared:
        return UNCALIBRATED
    if declared.get("method") != "platt":
        raise CalibrationError(
            f"calibration method {declared.get('method')!r} is unknown, expected 'platt'"
        )
    slope, intercept = declared.get("slope"), declared.get("intercept")
    if not all(
        isinstance(value, int | float) and math.isfinite(value) for value in (slope, intercept)
    ):
        raise CalibrationError("calibration needs finite numbers 'slope' and 'intercept'")
    return Calibration(float(slope), float(intercept))  # type: ignore[arg-type]
