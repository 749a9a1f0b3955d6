"""Chooses some of many queries or pictures for a measurement that would take too long for all."""

import numpy as np
from numpy.typing import NDArray


def spread_evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` rows out of `count`, evenly spread, the first and the last among them."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)
