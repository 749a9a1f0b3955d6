"""Bytes for the browser: small pictures for the grid, a large one for the original."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st
from PIL import Image, ImageDraw

from scenesearch.images import THUMBNAIL_SIDE, ImageError, open_image, thumbnail_path
from scenesearch.originals import Original
from ui import resources

# Fills a large screen; sending a 50-megapixel original as it is would fill the page's memory.
VIEW_SIDE = 1600


def original_of(payload: Mapping[str, Any]) -> Original:
    """Where the picture itself lies: a file, in an archive, at an address.

    One outside what this installation has ingested from cannot be read.
    """
    return resources.originals().original(payload)


def thumbnail(
    thumbnails_dir: Path, sha256: str, original: Original, max_megapixels: float = 200
) -> bytes:
    """JPEG of the cached thumbnail, else made from the original, else a placeholder."""
    try:
        return thumbnail_path(thumbnails_dir, sha256).read_bytes()
    except (OSError, ImageError):
        pass
    try:
        return _made_thumbnail(str(original), sha256, max_megapixels)
    except ImageError:
        return placeholder()


def view(original: Original, max_megapixels: float = 200) -> bytes:
    """JPEG of the original at the size of a screen; raises ImageError when it cannot be opened."""
    return _reduced(original, VIEW_SIDE, max_megapixels)


@st.cache_data(max_entries=256, show_spinner=False)
def _made_thumbnail(path: str, sha256: str, max_megapixels: float) -> bytes:
    return _reduced(resources.originals().at(path, sha256), THUMBNAIL_SIDE, max_megapixels)


def _reduced(original: Original, side: int, max_megapixels: float) -> bytes:
    image = open_image(original, reduce_to=side, max_megapixels=max_megapixels).image
    image.thumbnail((side, side), Image.Resampling.BICUBIC)
    return _jpeg(image)


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


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
