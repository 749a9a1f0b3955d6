"""Bytes for the browser: small pictures for the grid, a large one for the original."""

import io
import os
import stat
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit as st
from PIL import Image, ImageDraw

from scenesearch.errors import SceneSearchError
from scenesearch.pictures.opening import ImageError, open_image
from scenesearch.pictures.originals import Original
from scenesearch.pictures.thumbnails import THUMBNAIL_SIDE, thumbnail_path, write_thumbnail
from ui import resources

# Fills a large screen; sending a 50-megapixel original as it is would fill the page's memory.
VIEW_SIDE = 1600

# Of a copy without metadata, which is decoded and written anew.
COPY_SIDE = 4096

# A JPEG of 320 pixels a side takes a tenth of it.
_MOST_THUMBNAIL_BYTES = 2**20


def original_of(payload: Mapping[str, Any]) -> Original:
    """Where the picture itself lies: a file, in an archive, at an address.

    One outside what this installation has ingested from cannot be read.
    """
    return resources.originals().original(payload)


def thumbnail(
    thumbnails_dir: Path, sha256: str, original: Original, max_megapixels: float = 200
) -> bytes:
    """JPEG of the cached thumbnail; of a missing or damaged one made anew from the original, which
    mends the cache; else a placeholder."""
    kept = _kept_thumbnail(thumbnails_dir, sha256)
    if kept is not None:
        return kept
    try:
        return _made_thumbnail(thumbnails_dir, sha256, str(original), max_megapixels)
    except ImageError:
        return placeholder()


def _kept_thumbnail(thumbnails_dir: Path, sha256: str) -> bytes | None:
    """The cached file where it is a regular one of the folder and a whole JPEG of a thumbnail's
    size: whatever else lies there would end the view that shows it."""
    path = _own_path(thumbnails_dir, sha256)
    if path is None:
        return None
    try:
        # Without blocking: a FIFO would wait for its writer.
        flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(path, os.O_RDONLY | flags)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            data = file.read(_MOST_THUMBNAIL_BYTES + 1)
    except OSError:
        return None
    return data if _is_thumbnail(data) else None


def _own_path(thumbnails_dir: Path, sha256: str) -> Path | None:
    """Where it lies; None where that would be outside the folder, by a forged hash or a link."""
    try:
        path = thumbnail_path(thumbnails_dir, sha256)
        if path.parent.resolve().is_relative_to(thumbnails_dir.resolve()):
            return path
    except (OSError, ValueError, RuntimeError, SceneSearchError):
        pass
    return None


# A page shows the same ones again and again: an answer's 24 are decoded once. Keyed by content,
# of which the cache keeps what the browser gets anyway.
@lru_cache(maxsize=256)
def _is_thumbnail(data: bytes) -> bool:
    if len(data) > _MOST_THUMBNAIL_BYTES or not data.startswith(b"\xff\xd8\xff"):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a bomb, which is refused here
            with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
                if max(image.size) > 2 * THUMBNAIL_SIDE:
                    return False
                # Reads all and computes little.
                image.draft("L", (image.width // 8, image.height // 8))
                image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    return True


def view(original: Original, max_megapixels: float = 200) -> bytes:
    """JPEG of the original at the size of a screen; raises ImageError when it cannot be opened."""
    return _reduced(original, VIEW_SIDE, max_megapixels)


def copy_without_metadata(original: Original, max_megapixels: float = 200) -> bytes:
    """JPEG of the original without what its file tells besides: place, camera, owner. At most
    4096 pixels a side; raises ImageError when it cannot be opened."""
    return _reduced(original, COPY_SIDE, max_megapixels, quality=92)


@st.cache_data(max_entries=256, show_spinner=False)
def _made_thumbnail(thumbnails_dir: Path, sha256: str, path: str, max_megapixels: float) -> bytes:
    opened = open_image(
        resources.originals().at(path, sha256),
        reduce_to=THUMBNAIL_SIDE,
        max_megapixels=max_megapixels,
    )
    own = _own_path(thumbnails_dir, sha256)
    # Of a file that has changed since it is not the thumbnail that is missing.
    if own is not None and opened.sha256 == sha256:
        with suppress(OSError):  # a page that may not write there makes it again the next time
            write_thumbnail(opened.image, own)
    opened.image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BICUBIC)
    return _jpeg(opened.image)


def _reduced(original: Original, side: int, max_megapixels: float, quality: int = 85) -> bytes:
    image = open_image(original, reduce_to=side, max_megapixels=max_megapixels).image
    image.thumbnail((side, side), Image.Resampling.BICUBIC)
    return _jpeg(image, quality)


@st.cache_data(show_spinner=False)
def placeholder() -> bytes:
    """A grey picture with a crossed frame: a picture should be here, and is not."""
    width, height = THUMBNAIL_SIDE, THUMBNAIL_SIDE * 3 // 4
    image = Image.new("RGB", (width, height), (196, 200, 206))
    pen, grey = ImageDraw.Draw(image), (140, 146, 156)
    frame = (width // 2 - 36, height // 2 - 28, width // 2 + 36, height // 2 + 28)
    pen.rounded_rectangle(frame, radius=8, outline=grey, width=4)
    pen.line((frame[0], frame[3], frame[2], frame[1]), fill=grey, width=4)
    return _jpeg(image)


@st.cache_data(show_spinner=False)
def page_icon() -> Image.Image:
    """What stands in the browser's tab: hills in a frame, and a sun."""
    image = Image.new("RGBA", (64, 64))
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((2, 2, 61, 61), radius=14, fill="#2f6fde")
    pen.ellipse((38, 12, 50, 24), fill="#ffd75e")
    pen.polygon([(8, 52), (24, 26), (36, 44), (44, 34), (56, 52)], fill="white")
    return image


def _jpeg(image: Image.Image, quality: int = 85) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, comment=b"")  # Pillow copies a comment by itself
    return buffer.getvalue()
