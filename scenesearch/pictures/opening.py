"""Opens pictures from strangers: checked, upright, RGB, with what the file says of itself."""

import hashlib
import io
import re
import struct
import uuid
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pillow_heif
from PIL import ExifTags, Image, UnidentifiedImageError

from scenesearch.errors import MEMORY, SceneSearchError, first_line, obstacle
from scenesearch.pictures import raw
from scenesearch.pictures.colour import to_srgb
from scenesearch.pictures.decoding import decoding_bytes, prepare_reduced
from scenesearch.pictures.formats import FORMATS
from scenesearch.pictures.metadata import PictureMetadata, read_metadata, read_raw_metadata
from scenesearch.pictures.originals import LocalFile, Original, OriginalError, RemoteFile
from scenesearch.pictures.structure import StructureError, check_structure, weighed_megapixels
from scenesearch.runtime import memory
from scenesearch.runtime.private_files import open_private, private_folder

THUMBNAIL_SIDE = 320
_CONTENT = re.compile(r"[0-9a-f]{64}")

Orientation = Literal["landscape", "portrait", "square"]


class ImageError(SceneSearchError):
    """The picture cannot be used; the message is the reason, without the path.

    `transient` says that trying again later may help.
    """

    def __init__(self, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.transient = transient


@dataclass(frozen=True)
class OpenedImage:
    """A decoded picture: upright RGB, perhaps reduced, with its full size as displayed."""

    image: Image.Image
    width: int
    height: int
    sha256: str
    size_bytes: int
    metadata: PictureMetadata

    @property
    def orientation(self) -> Orientation:
        """By the displayed shape; 'square' within two per cent."""
        if abs(self.width - self.height) <= 0.02 * max(self.width, self.height):
            return "square"
        return "landscape" if self.width > self.height else "portrait"


def open_image(
    original: Path | Original, *, reduce_to: int | None = None, max_megapixels: float = 200
) -> OpenedImage:
    """Read, check and decode a picture; raises ImageError with the reason.

    With `reduce_to`, a large picture may be made smaller while it is decoded, with both sides still
    at least that many pixels (one more than 20 times as long as it is high may lose some of them):
    four times faster for a JPEG of 12 megapixels. What decoding takes is reserved in the budget of
    `scenesearch.runtime.memory`.
    """
    file = LocalFile(original) if isinstance(original, Path) else original
    try:
        # An address that was not listed says how large its picture is when that is read.
        asks = isinstance(file, RemoteFile) and file.listed is None
        size_bytes = 0 if asks else file.state().size_bytes
        with memory.budget().reading(size_bytes), _out_of_memory_is_told():
            return decode_image(file.read(), reduce_to=reduce_to, max_megapixels=max_megapixels)
    except OriginalError as error:
        raise ImageError(str(error), transient=error.transient) from None


def decode_image(
    data: bytes, *, reduce_to: int | None = None, max_megapixels: float = 200
) -> OpenedImage:
    """The same of a file's bytes, as a visitor sends them."""
    try:
        with _without_warnings(), _out_of_memory_is_told():
            check_structure(data)
            if raw.is_camera_raw(data):
                decoded = _developed(data, reduce_to, max_megapixels)
            else:
                decoded = _decoded(data, reduce_to, max_megapixels)
    except (raw.RawError, StructureError, memory.TooLargeError) as error:
        raise ImageError(str(error)) from None
    except UnidentifiedImageError:
        raise ImageError("not a picture, or of an unknown format") from None
    except _DAMAGE as error:
        raise ImageError(f"damaged: {first_line(error)}") from None
    image, (width, height), metadata = decoded
    return OpenedImage(
        image=image,
        width=width,
        height=height,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        metadata=metadata,
    )


@contextmanager
def _out_of_memory_is_told() -> Iterator[None]:
    """Memory that this moment lacks says nothing of the picture: a reject that is tried again."""
    try:
        yield
    except Exception as error:  # decoders say it in exceptions of many kinds
        if obstacle(error) == MEMORY:
            raise out_of_memory() from None
        raise


def out_of_memory() -> ImageError:
    """What an application says of a picture for which there was not enough."""
    return ImageError("there was not enough memory for it", transient=True)


# What decoders raise on damaged files; anything else is a bug and surfaces.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    TypeError,
    KeyError,
    OverflowError,
    RuntimeError,
    ZeroDivisionError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

_Decoded = tuple[Image.Image, tuple[int, int], PictureMetadata]


def _decoded(data: bytes, reduce_to: int | None, max_megapixels: float) -> _Decoded:
    """Upright RGB, perhaps reduced; the full size as displayed; what the file says."""
    _prepare_pillow()
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        megapixels = image.width * image.height / 1e6
        if megapixels > max_megapixels:
            raise ImageError(
                f"{megapixels:.0f} megapixels, the limit is {max_megapixels:g} "
                "(SCENESEARCH_MAX_MEGAPIXELS)"
            )
        size = image.size
        reduce = prepare_reduced(image, data, reduce_to)
        weighed, kind = weighed_megapixels(image, data, megapixels)
        if weighed > max_megapixels:
            raise ImageError(
                f"{megapixels:.0f} megapixels in {len(data) / 1e6:.0f} MB of {kind}, which "
                f"takes as long to decode as {weighed:.0f} megapixels of JPEG, the limit is "
                f"{max_megapixels:g} (SCENESEARCH_MAX_MEGAPIXELS)"
            )
        needed = decoding_bytes(image, data, full_size=size, reduce=reduce)
        with memory.budget().reserved(needed):
            if image.format == "PNG":
                image.load()  # what it says of itself may follow its pixels
            metadata = read_metadata(image)
            turn = _turn(image)
            upright = to_srgb(image, reduce)
            if upright is not image:
                image.close()  # its memory is free before the room is
            if turn is not None:
                upright = upright.transpose(turn)
        return upright, (size[::-1] if turn in _ON_THE_SIDE else size), metadata


def _developed(data: bytes, reduce_to: int | None, max_megapixels: float) -> _Decoded:
    """The same of a camera's RAW file."""
    camera_raw = raw.develop(data, at_least=reduce_to or 0, max_megapixels=max_megapixels)
    size = (camera_raw.width, camera_raw.height)
    metadata = read_raw_metadata(data)
    if camera_raw.image is not None:
        reduce = prepare_reduced(camera_raw.image, data, reduce_to)
        return to_srgb(camera_raw.image, reduce), size, metadata
    check_structure(camera_raw.preview)
    image, _, of_preview = _decoded(camera_raw.preview, reduce_to, max_megapixels)
    if camera_raw.turn is not None and not _says_how_to_turn(camera_raw.preview):
        # Some cameras turn the preview themselves; upside down, its shape cannot tell.
        half_turn = camera_raw.turn == Image.Transpose.ROTATE_180
        if half_turn or (image.width > image.height) != (size[0] > size[1]):
            image = image.transpose(camera_raw.turn)
    return image, size, metadata if metadata.taken else of_preview


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_THE_SIDE = {_TURNS[tag] for tag in (5, 6, 7, 8)}


def _says_how_to_turn(jpeg: bytes) -> bool:
    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
        return ExifTags.Base.Orientation in image.getexif()


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes the picture upright, as its EXIF says; damaged EXIF says nothing."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DAMAGE:
        return None


def thumbnail_path(thumbnails_dir: Path, sha256: str) -> Path:
    """Where the thumbnail of a picture with this content lies, whether or not it is there.

    Raises ImageError for what is no content hash: it may come from a stranger, and files are read,
    written and deleted under the name that this gives.
    """
    if not _CONTENT.fullmatch(sha256):
        raise ImageError("it has no content hash, and so no thumbnail")
    return thumbnails_dir / sha256[:2] / f"{sha256}.jpg"


def write_thumbnail(image: Image.Image, path: Path) -> None:
    """Save a JPEG of at most 320 pixels a side, atomically; an upright RGB picture in."""
    thumbnail = image.copy() if max(image.size) <= THUMBNAIL_SIDE else image
    if thumbnail is image:
        scale = THUMBNAIL_SIDE / max(image.size)
        thumbnail = image.resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))),
            Image.Resampling.BILINEAR,  # reducing, it looks the same and takes two thirds
        )
    private_folder(path.parent)
    with atomic_writer(path, private=True) as file:
        thumbnail.save(file, "JPEG", quality=82)


@contextmanager
def atomic_writer(path: Path, *, private: bool = False) -> Iterator[io.BufferedWriter]:
    """A binary file that appears under its name only when the block ends without an exception.

    A `private` one is for its owner alone, another has the rights that the umask gives.
    """
    # Not tempfile: all of its files are for their owner alone.
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb", opener=open_private if private else None) as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Pillow warns of what is odd about a file, which is nothing to the user's terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _prepare_pillow() -> None:
    """HEIC/HEIF through Pillow, and no limit on size but ours; cheap to repeat."""
    if "HEIF" not in Image.OPEN:
        pillow_heif.register_heif_opener()
    # Its own bomb check raises at a fixed size, whatever the setting says.
    Image.MAX_IMAGE_PIXELS = None
