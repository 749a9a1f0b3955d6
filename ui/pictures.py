"""A picture of the library as bytes for the browser: its thumbnail, its original, a copy of it."""

import io
import os
import stat
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit as st
from PIL import Image, ImageDraw

from scenesearch.errors import SceneSearchError
from scenesearch.pictures.opening import ImageError, open_image
from scenesearch.pictures.originals import Original
from scenesearch.pictures.thumbnails import THUMBNAIL_SIDE, thumbnail_path, write_thumbnail
from ui.resources import installation, library_files
from ui.settings import page_settings

# Fills a large screen; sending a 50-megapixel original as it is would fill the page's memory.
VIEW_SIDE = 1600

# The largest copy without metadata: such a copy is decoded and encoded again.
COPY_SIDE = 4096

# Ten times what a JPEG of 320 pixels a side takes.
_MAX_THUMBNAIL_BYTES = 2**20


@dataclass(frozen=True)
class Picture:
    """A picture of the library; `detail` says how it was found."""

    image_id: str
    payload: Mapping[str, Any]
    detail: str = ""

    @property
    def path(self) -> str:
        """Where its original lies."""
        return str(self.payload.get("path", ""))

    @property
    def title(self) -> str:
        """Its first caption, else its file name."""
        captions = self.payload.get("captions") or ()
        return next((text for text in captions if text.strip()), "") or Path(self.image_id).name

    @property
    def original(self) -> Original:
        """A file, a member of an archive, or an address. It cannot be read if it lies outside
        what this installation has ingested from."""
        return installation().originals.original(self.payload)

    def thumbnail(self) -> bytes:
        """JPEG of at most 320 pixels a side."""
        sha256 = str(self.payload.get("sha256", ""))
        return thumbnail(library_files().thumbnails, sha256, self.original)


def thumbnail(thumbnails_dir: Path, sha256: str, original: Original) -> bytes:
    """The cached JPEG. One that is missing or damaged is made again from the original and cached;
    without the original there is a placeholder."""
    cached = _read_thumbnail(thumbnails_dir, sha256)
    if cached is not None:
        return cached
    try:
        return _make_thumbnail(thumbnails_dir, sha256, str(original))
    except ImageError:
        return placeholder()


def _read_thumbnail(thumbnails_dir: Path, sha256: str) -> bytes | None:
    """The cached file, if it is a regular file of the folder and a complete JPEG of a thumbnail's
    size: anything else would end the view that shows it."""
    path = _safe_path(thumbnails_dir, sha256)
    if path is None:
        return None
    try:
        # Non-blocking: a FIFO would wait for its writer.
        flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(path, os.O_RDONLY | flags)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            data = file.read(_MAX_THUMBNAIL_BYTES + 1)
    except OSError:
        return None
    return data if _is_thumbnail(data) else None


def _safe_path(thumbnails_dir: Path, sha256: str) -> Path | None:
    """The file's path; None if a forged hash or a link leads outside the folder."""
    try:
        path = thumbnail_path(thumbnails_dir, sha256)
        if path.parent.resolve().is_relative_to(thumbnails_dir.resolve()):
            return path
    except (OSError, ValueError, RuntimeError, SceneSearchError):
        pass
    return None


# A page shows the same thumbnails again and again: the 24 of an answer are decoded once. The cache
# is keyed by content, and keeps only what the browser gets anyway.
@lru_cache(maxsize=256)
def _is_thumbnail(data: bytes) -> bool:
    if len(data) > _MAX_THUMBNAIL_BYTES or not data.startswith(b"\xff\xd8\xff"):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a decompression bomb: it is refused here
            with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
                if max(image.size) > 2 * THUMBNAIL_SIDE:
                    return False
                # Reads everything and computes little.
                image.draft("L", (image.width // 8, image.height // 8))
                image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    return True


def view(original: Original) -> bytes:
    """JPEG of the original for a whole screen; raises ImageError when it cannot be opened."""
    return _reduced(original, VIEW_SIDE)


def copy_without_metadata(original: Original) -> bytes:
    """JPEG of the original without its metadata (place, camera, owner), of at most 4096 pixels a
    side; raises ImageError when it cannot be opened."""
    return _reduced(original, COPY_SIDE, quality=92)


@st.cache_data(max_entries=256, show_spinner=False)
def _make_thumbnail(thumbnails_dir: Path, sha256: str, path: str) -> bytes:
    opened = open_image(
        installation().originals.at(path, sha256),
        reduce_to=THUMBNAIL_SIDE,
        max_megapixels=page_settings().max_megapixels,
    )
    cached = _safe_path(thumbnails_dir, sha256)
    # If the file has changed since, this is not the thumbnail that is missing.
    if cached is not None and opened.sha256 == sha256:
        with suppress(OSError):  # a page that may not write there makes it again the next time
            write_thumbnail(opened.image, cached)
    opened.image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BICUBIC)
    return _jpeg(opened.image)


def _reduced(original: Original, side: int, quality: int = 85) -> bytes:
    max_megapixels = page_settings().max_megapixels
    image = open_image(original, reduce_to=side, max_megapixels=max_megapixels).image
    image.thumbnail((side, side), Image.Resampling.BICUBIC)
    return _jpeg(image, quality)


@st.cache_data(show_spinner=False)
def placeholder() -> bytes:
    """A grey picture with a crossed frame, for a picture that is missing."""
    width, height = THUMBNAIL_SIDE, THUMBNAIL_SIDE * 3 // 4
    image = Image.new("RGB", (width, height), (196, 200, 206))
    pen, grey = ImageDraw.Draw(image), (140, 146, 156)
    frame = (width // 2 - 36, height // 2 - 28, width // 2 + 36, height // 2 + 28)
    pen.rounded_rectangle(frame, radius=8, outline=grey, width=4)
    pen.line((frame[0], frame[3], frame[2], frame[1]), fill=grey, width=4)
    return _jpeg(image)


@st.cache_data(show_spinner=False)
def page_icon() -> Image.Image:
    """The icon in the browser's tab: hills in a frame, and a sun."""
    image = Image.new("RGBA", (64, 64))
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((2, 2, 61, 61), radius=14, fill="#2f6fde")
    pen.ellipse((38, 12, 50, 24), fill="#ffd75e")
    pen.polygon([(8, 52), (24, 26), (36, 44), (44, 34), (56, 52)], fill="white")
    return image


def _jpeg(image: Image.Image, quality: int = 85) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, comment=b"")  # or Pillow copies the original's
    return buffer.getvalue()
