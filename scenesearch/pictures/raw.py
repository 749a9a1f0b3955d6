"""Camera RAW files, read with LibRaw (the extra `raw`).

The preview that the camera embedded is used if it is large enough: decoding it takes a hundredth of
the time of developing the sensor's data.
"""

import io
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image

from scenesearch.errors import SceneSearchError
from scenesearch.pictures.formats import is_raw
from scenesearch.runtime import memory

_TIFF_MARKS: Final = (b"II*\0", b"MM\0*")
# Tags of the first TIFF directory: kind of picture, sub-directories, version of DNG.
_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION = 254, 330, 50706
# Bytes for developing each pixel of a sensor with one number per pixel, or with all colours.
_MOSAIC_BYTES, _COLOUR_BYTES = 7, 16
# LibRaw's flip: how to turn the sensor's picture upright.
_TURNS: Final = {
    3: Image.Transpose.ROTATE_180,
    5: Image.Transpose.ROTATE_90,
    6: Image.Transpose.ROTATE_270,
}


class RawError(SceneSearchError):
    """The RAW file cannot be used; the message is the reason, without the path."""


@dataclass(frozen=True)
class Developed:
    """Either `preview`, a JPEG, or `image`, RGB and upright; `width` and `height` as displayed.

    `turn` makes a preview upright that has no orientation of its own.
    """

    width: int
    height: int
    preview: bytes = b""
    image: Image.Image | None = None
    turn: Image.Transpose | None = None


def is_camera_raw(data: bytes) -> bool:
    """Whether this is a RAW file, by content: most are TIFF files that begin with a small copy."""
    if is_raw(data[:32]):
        return True
    if not data.startswith(_TIFF_MARKS):
        return False
    try:
        with Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
            tags: Any = image.tag_v2  # type: ignore[attr-defined]
            return _DNG_VERSION in tags or (
                int(tags.get(_SUBFILE_TYPE, 0)) & 1 == 1 and _SUB_IFDS in tags
            )
    except Exception:  # the decoder will say what is wrong with it
        return False


def develop(data: bytes, *, at_least: int, max_megapixels: float) -> Developed:
    """The embedded preview if its shorter side has `at_least` pixels or half of the picture's, else
    the sensor's data developed at half size; raises RawError."""
    try:
        import rawpy
    except ImportError:
        raise RawError(
            "a camera RAW file, which needs the extra 'raw': pip install -e '.[raw]', "
            "then scenesearch library rejects --retry"
        ) from None
    try:
        with rawpy.imread(io.BytesIO(data)) as opened:
            sizes = opened.sizes
            width, height = int(sizes.width), int(sizes.height)
            if width * height > max_megapixels * 1e6:
                raise RawError(
                    f"{width * height / 1e6:.0f} megapixels, the limit is {max_megapixels:g} "
                    "(SCENESEARCH_MAX_MEGAPIXELS)"
                )
            turn = _TURNS.get(int(sizes.flip))
            shown = (height, width) if int(sizes.flip) in (5, 6) else (width, height)
            preview = _preview(opened)
            if preview and _is_large(preview, min(at_least or 1024, width // 2, height // 2)):
                return Developed(*shown, preview=preview, turn=turn)
            of_pixel = _MOSAIC_BYTES if opened.raw_type == rawpy.RawType.Flat else _COLOUR_BYTES
            with memory.budget().reserved(width * height * of_pixel):
                pixels = opened.postprocess(use_camera_wb=True, half_size=True, output_bps=8)
                return Developed(*shown, image=Image.fromarray(pixels, "RGB"))
    except rawpy.LibRawUnsufficientMemoryError as error:
        raise MemoryError(_message(error)) from None
    except rawpy.LibRawError as error:
        raise RawError(f"damaged: {_message(error)}") from None


def _preview(opened: Any) -> bytes:
    import rawpy

    try:
        preview = opened.extract_thumb()
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
        return b""
    return bytes(preview.data) if preview.format == rawpy.ThumbFormat.JPEG else b""


def _is_large(preview: bytes, at_least: int) -> bool:
    try:
        with Image.open(io.BytesIO(preview), formats=["JPEG"]) as image:
            return min(image.size) >= at_least
    except (OSError, SyntaxError, ValueError):
        return False


def _message(error: Exception) -> str:
    reason = error.args[0] if error.args else ""
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
