"""The colours that stand for a picture until its thumbnail is there."""

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from pathlib import Path

from PIL import Image

from scenesearch.pictures.thumbnails import read_thumbnail

# Of the picture, in rows and columns.
GRID = 4
_SIDE = 40  # of the picture that is decoded for it

# Reading a thumbnail and decoding it takes half a millisecond, most of it without Python's lock.
_THREADS = 2


def colours(thumbnails_dir: Path, hashes: Sequence[str]) -> list[str]:
    """For each picture with this content hash 4 x 4 colours, row by row, three bytes each, as
    base64; '' where there is no thumbnail."""
    return list(_pool().map(lambda sha256: _colours(thumbnails_dir, sha256), hashes))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="colours")


# 64 characters for each: 10 MB with their keys.
@lru_cache(maxsize=50_000)
def _colours(thumbnails_dir: Path, sha256: str) -> str:
    data = read_thumbnail(thumbnails_dir, sha256)
    return "" if data is None else of_jpeg(data)


def of_jpeg(data: bytes) -> str:
    """The colours of a thumbnail that `read_thumbnail` has let pass."""
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        image.draft("RGB", (_SIDE, _SIDE))
        small = image.convert("RGB").resize((GRID, GRID), Image.Resampling.BOX)
    return base64.b64encode(small.tobytes()).decode()
