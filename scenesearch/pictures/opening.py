"""Opens pictures from strangers: checked, upright, in RGB, with the metadata of the file."""

import hashlib
import io
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pillow_heif
from PIL import ExifTags, Image, UnidentifiedImageError

from scenesearch.errors import MEMORY, SceneSearchError, first_line, obstacle
from scenesearch.pictures import raw
from scenesearch.pictures.colour import to_srgb
from scenesearch.pictures.decoding_cost import decoding_bytes, prepare_reduced, weighed_megapixels
from scenesearch.pictures.formats import FORMATS
from scenesearch.pictures.grey import register_grey_modes, use_native_order
from scenesearch.pictures.metadata import DAMAGE, read_metadata, read_raw_metadata
from scenesearch.pictures.originals import LocalFile, Original, OriginalError, RemoteFile
from scenesearch.pictures.statements import PictureMetadata
from scenesearch.pictures.structure import StructureError, check_structure
from scenesearch.runtime import memory

Orientation = Literal["landscape", "portrait", "square"]


class ImageError(SceneSearchError):
    """The picture cannot be used; the message is the reason, without the path.

    `transient` means that a later try may succeed.
    """

    def __init__(self, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.transient = transient


@dataclass(frozen=True)
class OpenedImage:
    """A decoded picture: upright, RGB, perhaps reduced; `width` and `height` are the full size."""

    image: Image.Image
    width: int
    height: int
    sha256: str
    size_bytes: int
    metadata: PictureMetadata

    @property
    def orientation(self) -> Orientation:
        """From the displayed shape; 'square' when the sides differ by at most two per cent."""
        if abs(self.width - self.height) <= 0.02 * max(self.width, self.height):
            return "square"
        return "landscape" if self.width > self.height else "portrait"


def open_image(
    original: Path | Original,
    *,
    reduce_to: int | None = None,
    max_megapixels: float = 200,
    seen: Callable[[str], OpenedImage | None] = lambda sha256: None,
) -> OpenedImage:
    """Read, check and decode a picture; raises ImageError with the reason.

    A content of which `seen` has a result by its SHA-256 is read and not decoded.

    With `reduce_to`, a large picture may be made smaller while it is decoded, to four times the
    speed for a JPEG of 12 megapixels. Both sides keep at least that many pixels, except in pictures
    more than 20 times as long as they are high. The memory for decoding is reserved in the budget
    of `scenesearch.runtime.memory`.
    """
    file = LocalFile(original) if isinstance(original, Path) else original
    try:
        # The size of an address that was not listed is only known once it is read.
        asks = isinstance(file, RemoteFile) and file.listed is None
        size_bytes = 0 if asks else file.state().size_bytes
        with memory.budget().reading(size_bytes), _memory_error_as_image_error():
            data = file.read()
            known = seen(hashlib.sha256(data).hexdigest())
            return known or decode_image(data, reduce_to=reduce_to, max_megapixels=max_megapixels)
    except OriginalError as error:
        raise ImageError(str(error), transient=error.transient) from None


def decode_image(
    data: bytes, *, reduce_to: int | None = None, max_megapixels: float = 200
) -> OpenedImage:
    """The same for the bytes of a file, such as an upload."""
    try:
        with warnings.catch_warnings(action="ignore"), _memory_error_as_image_error():
            # Pillow's warnings about odd files do not belong on the user's terminal.
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
def _memory_error_as_image_error() -> Iterator[None]:
    """A lack of memory says nothing about the picture: it becomes a reject that is tried again."""
    try:
        yield
    except Exception as error:  # decoders report it with many kinds of exceptions
        if obstacle(error) == MEMORY:
            raise out_of_memory() from None
        raise


def out_of_memory() -> ImageError:
    """The error for a picture when there was not enough memory."""
    return ImageError("there was not enough memory for it", transient=True)


# What decoders raise on damaged files; anything else is a bug and not caught.
_DAMAGE = (*DAMAGE, EOFError, RuntimeError, zlib.error, Image.DecompressionBombError)

_Decoded = tuple[Image.Image, tuple[int, int], PictureMetadata]


def _decoded(data: bytes, reduce_to: int | None, max_megapixels: float) -> _Decoded:
    """Upright RGB, perhaps reduced; the full size as displayed; the metadata."""
    _prepare_pillow()
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        megapixels = image.width * image.height / 1e6
        if megapixels > max_megapixels:
            raise ImageError(
                f"{megapixels:.0f} megapixels, the limit is {max_megapixels:g} "
                "(SCENESEARCH_MAX_MEGAPIXELS)"
            )
        size = image.size
        use_native_order(image)
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
                image.load()  # its metadata may come after the pixels
            metadata = read_metadata(image)
            turn = _turn(image)
            upright = to_srgb(image, reduce)
            if upright is not image:
                image.close()  # frees its memory before the reservation ends
            if turn is not None:
                upright = upright.transpose(turn)
        return upright, (size[::-1] if turn in _ON_THE_SIDE else size), metadata


def _developed(data: bytes, reduce_to: int | None, max_megapixels: float) -> _Decoded:
    """The same for a camera RAW file."""
    camera_raw = raw.develop(data, at_least=reduce_to or 0, max_megapixels=max_megapixels)
    size = (camera_raw.width, camera_raw.height)
    metadata = read_raw_metadata(data)
    if camera_raw.image is not None:
        reduce = prepare_reduced(camera_raw.image, data, reduce_to)
        return to_srgb(camera_raw.image, reduce), size, metadata
    check_structure(camera_raw.preview)
    image, _, of_preview = _decoded(camera_raw.preview, reduce_to, max_megapixels)
    if camera_raw.turn is not None and not _has_orientation(camera_raw.preview):
        # Some cameras turn the preview themselves. Its shape shows that, but not for a half turn.
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


def _has_orientation(jpeg: bytes) -> bool:
    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
        return ExifTags.Base.Orientation in image.getexif()


def _turn(image: Image.Image) -> Image.Transpose | None:
    """The transposition that makes the picture upright, from EXIF; None if EXIF is damaged."""
    if image.format == "TIFF":  # Pillow turns it while it is decoded
        return None
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DAMAGE:
        return None


def _prepare_pillow() -> None:
    """Let Pillow open HEIC/HEIF and all grey TIFF, without its own limit on size; cheap to
    repeat."""
    register_grey_modes()
    if "HEIF" not in Image.OPEN:
        pillow_heif.register_heif_opener()
    # Pillow's own limit is fixed, whatever our setting says.
    Image.MAX_IMAGE_PIXELS = None
