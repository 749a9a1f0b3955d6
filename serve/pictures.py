"""A picture of the library as bytes: its thumbnail, and its original in parts."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus

from scenesearch.pictures.formats import HEAD_BYTES, is_picture
from scenesearch.pictures.opening import ImageError
from scenesearch.pictures.originals import Original, OriginalError
from scenesearch.pictures.thumbnails import make_thumbnail, read_thumbnail
from scenesearch.store.base import Point
from serve.libraries import OpenLibrary
from serve.problems import Refused, not_found

# Read and sent at a time.
CHUNK_BYTES = 2**20

# What a browser shows; any other picture is for saving.
_MEDIA: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("image/jpeg", lambda head: head.startswith(b"\xff\xd8\xff")),
    ("image/png", lambda head: head.startswith(b"\x89PNG\r\n\x1a\n")),
    ("image/gif", lambda head: head.startswith((b"GIF87a", b"GIF89a"))),
    ("image/webp", lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP"),
    ("image/avif", lambda head: head[4:12] in (b"ftypavif", b"ftypavis")),
    ("image/heic", lambda head: head[4:11] in (b"ftyphei", b"ftyphev", b"ftypmif")),
    ("image/tiff", lambda head: head.startswith((b"II*\0", b"MM\0*"))),
    ("image/bmp", lambda head: head.startswith(b"BM")),
)
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def thumbnail(library: OpenLibrary, point: Point) -> bytes:
    """The JPEG, made from the original where it is missing; refused where that is not possible."""
    content = str(point.payload.get("sha256", ""))
    folder = library.files.thumbnails
    if (cached := read_thumbnail(folder, content)) is not None:
        return cached
    original = library.installation.originals.original(point.payload)
    most = library.installation.settings.max_megapixels
    try:
        return make_thumbnail(original, content, folder, max_megapixels=most)
    except ImageError as error:
        raise not_found(f"there is no thumbnail of {point.image_id[:200]}: {error}") from None


@dataclass(frozen=True)
class OpenOriginal:
    """An original that may be sent: where it is, what it is, how large it is."""

    original: Original
    media_type: str
    size_bytes: int
    etag: str

    @property
    def is_shown(self) -> bool:
        """Whether a browser shows it, instead of saving it."""
        return self.media_type.startswith("image/")


def open_original(library: OpenLibrary, point: Point) -> OpenOriginal:
    """The original of a picture; refused where it may not be opened or is no picture any more."""
    original = library.installation.originals.original(point.payload)
    try:
        state = original.state()
        head = original.read(0, min(HEAD_BYTES, state.size_bytes))
    except OriginalError as error:
        raise not_found(f"{point.image_id[:200]}: {error}") from None
    if not is_picture(head):  # somebody has put another file in its place
        raise not_found(f"{point.image_id[:200]}: its file is no picture any more")
    told = f"{original} {state.size_bytes} {state.modified} {state.version}"
    media_type = next((name for name, fits in _MEDIA if fits(head)), "application/octet-stream")
    etag = f'"{sha256(told.encode("utf-8", "replace")).hexdigest()[:32]}"'
    return OpenOriginal(original, media_type, state.size_bytes, etag)


def byte_range(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """First byte and length of the range that is asked for; None for all of it.

    Of several ranges none is given, which a server may do. Refused where it lies behind the end.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or not (match[1] or match[2]):
        return None
    if match[1]:
        start = int(match[1])
        end = min(int(match[2]), size_bytes - 1) if match[2] else size_bytes - 1
        if match[2] and int(match[2]) < start:
            return None  # no range at all
    else:
        start, end = max(0, size_bytes - int(match[2])), size_bytes - 1
        if int(match[2]) == 0:
            start = size_bytes
    if start >= size_bytes:
        raise Refused(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            f"the picture has {size_bytes} bytes",
            {"Content-Range": f"bytes */{size_bytes}"},
        )
    return start, end - start + 1
