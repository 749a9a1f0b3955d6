"""Thumbnails: small JPEGs, named by the SHA-256 of the picture they show."""

import io
import os
import re
import stat
import warnings
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from PIL import Image

from scenesearch.errors import SceneSearchError
from scenesearch.pictures.opening import ImageError, open_image
from scenesearch.pictures.originals import Original
from scenesearch.runtime.files import atomic_writer, private_folder

THUMBNAIL_SIDE = 320
_SHA256 = re.compile(r"[0-9a-f]{64}")

# Ten times what a JPEG of 320 pixels a side takes.
_MAX_BYTES = 2**20


def thumbnail_path(thumbnails_dir: Path, sha256: str) -> Path:
    """The path of the thumbnail of a picture with this content, whether or not it exists.

    Raises ImageError unless `sha256` is a content hash. It may come from a stranger, and files are
    read, written and deleted at this path.
    """
    if not _SHA256.fullmatch(sha256):
        raise ImageError("it has no content hash, and so no thumbnail")
    return thumbnails_dir / sha256[:2] / f"{sha256}.jpg"


def write_thumbnail(image: Image.Image, path: Path) -> None:
    """Save an upright RGB picture as a JPEG of at most 320 pixels a side, atomically."""
    if max(image.size) > THUMBNAIL_SIDE:
        scale = THUMBNAIL_SIDE / max(image.size)
        image = image.resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))),
            Image.Resampling.BILINEAR,  # when reducing, it looks the same and takes two thirds
        )
    private_folder(path.parent)
    with atomic_writer(path, private=True) as file:
        image.save(file, "JPEG", quality=82)


def make_thumbnail(
    original: Original, sha256: str, thumbnails_dir: Path, *, max_megapixels: float
) -> bytes:
    """The JPEG of a thumbnail that is missing or damaged, made from the original and cached;
    raises ImageError."""
    opened = open_image(original, reduce_to=THUMBNAIL_SIDE, max_megapixels=max_megapixels)
    cached = safe_thumbnail_path(thumbnails_dir, sha256)
    # If the file has changed since, this is not the thumbnail that is missing.
    if cached is not None and opened.sha256 == sha256:
        with suppress(OSError):  # who may not write there makes it again the next time
            write_thumbnail(opened.image, cached)
    opened.image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    opened.image.save(buffer, "JPEG", quality=85, comment=b"")  # or Pillow copies the original's
    return buffer.getvalue()


def read_thumbnail(thumbnails_dir: Path, sha256: str) -> bytes | None:
    """The cached file, if it is a regular file of the folder and a complete JPEG of a thumbnail's
    size: anything else would end the view that shows it."""
    path = safe_thumbnail_path(thumbnails_dir, sha256)
    if path is None:
        return None
    try:
        # Non-blocking: a FIFO would wait for its writer.
        flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(path, os.O_RDONLY | flags)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            data = file.read(_MAX_BYTES + 1)
    except OSError:
        return None
    return data if _is_thumbnail(data) else None


def safe_thumbnail_path(thumbnails_dir: Path, sha256: str) -> Path | None:
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
    if len(data) > _MAX_BYTES or not data.startswith(b"\xff\xd8\xff"):
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
