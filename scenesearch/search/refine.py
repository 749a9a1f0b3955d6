"""What a library's own marks say about relevance: `scenesearch models calibrate --library`.

Users mark hits of searches, so the marked pairs say little about how relevant pictures are in
general, but they do say how relevance and judgment go together where searches look. Log odds L
become shift + gain * L (J. Platt 1999), with a prior that few marks hardly move.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenesearch.errors import SceneSearchError
from scenesearch.search.request import QueryError
from scenesearch.search.searcher import Searcher
from scenesearch.store.base import VectorStore

FEWEST = 10  # marks, some of them right and some wrong

# Standard deviations of the prior of the shift, around 0, and of the gain, around 1.
_PRIOR = np.array([1.0, 0.25])

# However the marks contradict the ranking, nearer stays more relevant.
_LEAST_GAIN = 0.1


class RefineError(SceneSearchError):
    """The marks do not say what is relevant; the message is one sentence for the user."""


def refine(
    searcher: Searcher, store: VectorStore, marks: Iterable[tuple[str, str, bool]]
) -> dict[str, Any]:
    """`refined` of a calibration: its shift, gain and number of marks, from those of one library.

    A mark is the scene that a text describes, the picture, and whether it is right.
    """
    marks = list(marks)
    pictures = sorted({image_id for _, image_id, _ in marks})
    points = store.retrieve(searcher.library, pictures, with_vectors=True)
    vectors = {name: point.vector for name, point in points.items() if point.vector is not None}
    log_odds, right = [], []
    for scene, image_id, is_right in marks:
        if image_id in vectors:
            try:
                log_odds.append(_log_odds(searcher, scene, vectors[image_id]))
            except QueryError:  # the encoder does not know these words
                continue
            right.append(is_right)
    if len(right) < FEWEST or all(right) or not any(right):
        raise RefineError(
            f"library {searcher.library} has {sum(right)} marks 'right' and "
            f"{len(right) - sum(right)} 'wrong' for a scene in words; refining needs {FEWEST}, "
            "some of either kind"
        )
    shift, gain = fit(np.array(log_odds), np.array(right))
    return {"shift": round(shift, 4), "gain": round(gain, 4), "marks": len(right)}


def _log_odds(searcher: Searcher, scene: str, picture: NDArray[np.float32]) -> float:
    """As they are before any refining."""
    calibration = searcher.calibration
    query = searcher.query_vector(searcher.parse(scene))
    surplus = float(calibration.surplus(picture[None])[0])
    found = float(query.log_odds(picture @ query.vector)) - query.surplus_slope * surplus
    shift, gain = calibration.refined
    return (found - shift) / gain


def fit(log_odds: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[float, float]:
    """Shift and gain, the most likely ones by the marks and the prior (damped Newton's method)."""
    features = np.stack([np.ones(len(log_odds)), log_odds], axis=1)
    usual = np.array([0.0, 1.0])

    def cost(weights: NDArray[np.float64]) -> float:
        odds = features @ weights
        surprise = np.logaddexp(0.0, np.where(right, -odds, odds)).sum()
        return float(surprise + ((weights - usual) ** 2 / _PRIOR**2).sum() / 2)

    weights = usual
    for _ in range(100):
        promised = 1 / (1 + np.exp(-np.clip(features @ weights, -30, 30)))
        gradient = features.T @ (promised - right) + (weights - usual) / _PRIOR**2
        curvature = (features * (promised * (1 - promised))[:, None]).T @ features
        step = np.linalg.solve(curvature + np.diag(1 / _PRIOR**2), gradient)
        while cost(weights - step) > cost(weights) and np.abs(step).max() > 1e-9:
            step = step / 2
        weights = weights - step
        if np.abs(step).max() < 1e-6:
            break
    return float(weights[0]), max(float(weights[1]), _LEAST_GAIN)
