"""Pictures as an image tower takes them: whole, as it will serve them, or as random views.

A random view is a box of the picture, resized to the tower's size, perhaps mirrored and lightened.
The whole picture is resized by the function that the serving encoder uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scenesearch.encoder.base import ImageInput
from scenesearch.encoder.preprocessing import (
    RESAMPLING,
    as_input,
    resize_whole,
    size_in_patches,
)
from scenesearch.pictures.opening import ImageError, open_image
from training.recipe import TrainingError


@dataclass(frozen=True)
class View:
    """A box of the picture, (left, top, right, bottom) in shares of its sides, perhaps mirrored."""

    box: tuple[float, float, float, float]
    mirrored: bool
    gain: float  # of the brightness


def random_view(smallest_area: float, mirror: bool, rng: np.random.Generator) -> View:
    area = rng.uniform(smallest_area, 1.0)
    aspect = np.exp(rng.uniform(-0.22, 0.22))
    width = min(1.0, float(np.sqrt(area * aspect)))
    height = min(1.0, float(np.sqrt(area / aspect)))
    left, top = float(rng.uniform(0, 1 - width)), float(rng.uniform(0, 1 - height))
    mirrored = bool(rng.random() < 0.5) and mirror
    return View((left, top, left + width, top + height), mirrored, float(rng.uniform(0.85, 1.15)))


def load_views(
    paths: Sequence[Path],
    views: Sequence[View | None],
    image_input: ImageInput,
    pool: Executor,
) -> np.ndarray:
    """float32, the input of the image tower; a view of None is the whole picture."""
    rows = pool.map(lambda path, view: load_view(path, view, image_input), paths, views)
    return np.stack(list(rows))


def load_view(path: Path, view: View | None, image_input: ImageInput) -> np.ndarray:
    height, width = image_input.size
    try:
        # Twice the size leaves a crop of a quarter of the picture with all the pixels it needs.
        image = open_image(path, reduce_to=2 * max(height, width)).image
    except ImageError as error:
        raise TrainingError(f"{path}: {error}") from None
    if view is None:
        resized = resize_whole(image, image_input)
    else:
        left, top, right, bottom = view.box
        box = (left * image.width, top * image.height, right * image.width, bottom * image.height)
        if image_input.resize == "patches":
            height, width = size_in_patches(box[3] - box[1], box[2] - box[0], image_input)
        elif image_input.resize != "squash":
            box = _box_of_shape(box, width / height)
        resized = image.resize((width, height), RESAMPLING[image_input.interpolation], box)
    pixels = np.asarray(resized, np.float32) / np.float32(255)
    if view is not None:
        pixels = np.minimum(pixels * np.float32(view.gain), 1)
        if view.mirrored:
            pixels = pixels[:, ::-1]
    mean, std = (np.array(m, np.float32) for m in (image_input.mean, image_input.std))
    return np.ascontiguousarray(as_input((pixels - mean) / std, image_input))


def _box_of_shape(
    box: tuple[float, float, float, float], aspect: float
) -> tuple[float, float, float, float]:
    """The largest box of the aspect ratio in the middle of another: nothing is squashed."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    fitted_width, fitted_height = min(width, height * aspect), min(height, width / aspect)
    left += (width - fitted_width) / 2
    top += (height - fitted_height) / 2
    return left, top, left + fitted_width, top + fitted_height
