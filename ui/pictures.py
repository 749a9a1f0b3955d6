"""A picture of the library as bytes for the browser: its thumbnail, its original, a copy of it."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit as st
from PIL import Image, ImageDraw

from scenesearch.home.titles import title_of
from scenesearch.pictures.opening import ImageError, open_image
from scenesearch.pictures.originals import Original
from scenesearch.pictures.thumbnails import (
    THUMBNAIL_SIDE,
    make_thumbnail,
    read_thumbnail,
)
from ui.api_library import ApiLibrary, ApiOriginal
from ui.resources import api_library, installation, library_files
from ui.settings import page_settings

# Fills a large screen; sending a 50-megapixel original as it is would fill the page's memory.
VIEW_SIDE = 1600

# The largest copy without metadata: such a copy is decoded and encoded again.
COPY_SIDE = 4096


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
        """Its first caption, else its file name, or its date where that is a hash."""
        return title_of(self.image_id, self.payload)

    @property
    def original(self) -> Original:
        """A file, a member of an archive, or an address. It cannot be read if it lies outside
        what this installation has ingested from."""
        if (library := api_library()) is not None:
            return ApiOriginal(library, self.image_id, self.path)
        return installation().originals.original(self.payload)

    def thumbnail(self) -> bytes:
        """JPEG of at most 320 pixels a side."""
        sha256 = str(self.payload.get("sha256", ""))
        if (library := api_library()) is not None:
            return _api_thumbnail(library.name, self.image_id, sha256, library) or placeholder()
        return thumbnail(library_files().thumbnails, sha256, self.original)

    def kept_thumbnail(self) -> bytes | None:
        """The same where no original need be opened for it."""
        if api_library() is not None:
            return self.thumbnail()
        return read_thumbnail(library_files().thumbnails, str(self.payload.get("sha256", "")))


def thumbnail(thumbnails_dir: Path, sha256: str, original: Original) -> bytes:
    """The cached JPEG. One that is missing or damaged is made again from the original and cached;
    without the original there is a placeholder."""
    cached = read_thumbnail(thumbnails_dir, sha256)
    if cached is not None:
        return cached
    try:
        return _make_thumbnail(thumbnails_dir, sha256, str(original))
    except ImageError:
        return placeholder()


# Of 8 kB each. A browser keeps its own for a year: this is for those who come after it.
@lru_cache(maxsize=1024)
def webp(jpeg: bytes, height: int) -> bytes:
    """The thumbnail as WebP of at most that height: half the bytes, after 2 ms."""
    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
        small = image.convert("RGB")
    small.thumbnail((small.width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=78, method=2)
    return buffer.getvalue()


def view(original: Original) -> bytes:
    """JPEG of the original for a whole screen; raises ImageError when it cannot be opened."""
    return _reduced(original, VIEW_SIDE)


def full(original: Original) -> bytes:
    """JPEG of the original's own pixels, of at most 4096 a side, for a browser to zoom into;
    raises ImageError when it cannot be opened."""
    return _reduced(original, COPY_SIDE)


def copy_without_metadata(original: Original) -> bytes:
    """JPEG of the original without its metadata (place, camera, owner), of at most 4096 pixels a
    side; raises ImageError when it cannot be opened."""
    return _reduced(original, COPY_SIDE, quality=92)


# The server lets others keep it for an hour too.
@st.cache_data(ttl=3600, max_entries=1000, show_spinner=False)
def _api_thumbnail(name: str, image_id: str, sha256: str, _library: ApiLibrary) -> bytes | None:
    return _library.thumbnail(image_id)


@st.cache_data(max_entries=256, show_spinner=False)
def _make_thumbnail(thumbnails_dir: Path, sha256: str, path: str) -> bytes:
    return make_thumbnail(
        installation().originals.at(path, sha256),
        sha256,
        thumbnails_dir,
        max_megapixels=page_settings().max_megapixels,
    )


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
