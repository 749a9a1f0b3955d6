"""What was selected on a map: the browser says which part or which outline, as it drew it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenesearch.search.library_map import inside

# The component draws 200; whoever speaks to the page without it may not make it count for long.
_MOST_CORNERS = 400


def outline_of(chosen: Any) -> list[tuple[float, float]] | None:
    """The corners of the outline; None for anything else, whoever sent it."""
    corners = chosen.get("outline") if isinstance(chosen, Mapping) else None
    if not isinstance(corners, Sequence) or not 3 <= len(corners) <= _MOST_CORNERS:
        return None
    try:
        found = [(float(x), float(y)) for x, y in corners]
    except (TypeError, ValueError):
        return None
    return found if all(math.isfinite(x) and math.isfinite(y) for x, y in found) else None


def box_of(text: Any) -> tuple[float, float, float, float] | None:
    """South, west, north and east from '48.1,2.2,48.9,2.6'; None for anything else, as an address
    may hold."""
    try:
        south, west, north, east = (float(one) for one in str(text or "").split(","))
    except ValueError:
        return None
    # Comparisons with NaN are false.
    if not (-90 <= south <= north <= 90 and -180 <= west <= 180 and -180 <= east <= 180):
        return None
    return south, west, north, east


def part_of(chosen: Any, count: int) -> int | None:
    """The number of a part of a map with so many; None for anything else."""
    return number_of(chosen.get("part"), count) if isinstance(chosen, Mapping) else None


def selected(chosen: Any, places: NDArray[np.float32]) -> NDArray[np.intp] | None:
    """The positions of the places `(n, 2)` inside the outline, None without one."""
    outline = outline_of(chosen)
    return None if outline is None else inside(places, outline)


def number_of(value: Any, count: int) -> int | None:
    """The number of a picture of so many; None for anything else."""
    whole = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if whole and value in range(count) else None
