"""The drawn sample library: little scenes with known content, captions and exact judgments.

Photographs of other people cannot be shipped, and nobody's judgments of them are exact. These
pictures are drawn by the program from a seed, so the repository ships a library without shipping
a picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from PIL import Image

from scenesearch.datasets.drawn_captions import caption_five
from scenesearch.datasets.drawn_pictures import paint
from scenesearch.datasets.drawn_scenes import Scene, compose

DEFAULT_SEED: Final = 7  # the library everybody measures on; never train on this seed


def draw_scene(seed: int, index: int) -> tuple[Scene, Image.Image]:
    """Content and picture number `index` of library `seed`; the same on every machine."""
    scene = compose(seed, index)
    return scene, paint(scene, seed, index)


def captions_of(scene: Scene, seed: int, index: int) -> tuple[str, ...]:
    """Five captions of a scene, differently worded; number 2 names everything in it."""
    return caption_five(scene, seed, index)


def scenes(seed: int, size: int, start: int = 0) -> Iterator[tuple[Image.Image, tuple[str, ...]]]:
    """Pictures with their captions, one by one, for training. Use seeds other than
    `DEFAULT_SEED`, whose pictures are the test library."""
    for index in range(start, start + size):
        scene, image = draw_scene(seed, index)
        yield image, captions_of(scene, seed, index)
