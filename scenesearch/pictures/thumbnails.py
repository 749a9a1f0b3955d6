"""Thumbnails: small JPEGs, named by the SHA-256 of the picture they show."""

import re
from pathlib import Path

from PIL import Image

from scenesearch.pictures.opening import ImageError
from scenesearch.runtime.files import atomic_writer, private_folder

THUMBNAIL_SIDE = 320
_SHA256 = re.compile(r"[0-9a-f]{64}")


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
