"""Brings grey pictures of more than 8 bits to 8: what is black in them, and what is white.

White is the level that the file declares, else the largest value of the fewest bits, of 8, 10, 12,
14 and 16, that hold nearly all values: cameras and scanners put 12 bits into 16 without saying so.
Values beyond 16 bits, negative ones and real ones above 255 have no such level; there, black and
white are the 0.1st and the 99.9th percentile, which single hot pixels do not move.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

_PERCENTILES: Final = (0.1, 99.9)
_SAMPLE_PIXELS: Final = 1_000_000
_BITS: Final = (8, 10, 12, 14, 16)
_SIGNED_BITS: Final = (8, 10, 12, 14, 15, 16)
# Tags of TIFF: bits of a value, black or white at 0, greatest value, kind of number, the same as a
# number of that kind, white level of DNG.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _MAX_SAMPLE, _SAMPLE_FORMAT = 258, 262, 281, 339
_WHITE_LEVELS: Final = (50717, 341, _MAX_SAMPLE)
_WHITE_IS_ZERO: Final = 0
_UNSIGNED, _SIGNED, _REAL = 1, 2, 3

# Grey pictures that Pillow's decoder can read, but whose description it does not know. Half floats
# are read as 16 bits, and understood as floats below.
_FURTHER_MODES: Final = {
    (prefix, photometric, (number,), 1, (bits,), ()): (mode, raw)
    for photometric in (0, 1)
    for prefix, modes in (
        (b"II", {(1, 32): ("I", "I;32N"), (3, 64): ("F", "F;64F"), (3, 16): ("I;16", "I;16")}),
        (b"MM", {(1, 32): ("I", "I;32BS"), (3, 64): ("F", "F;64BF"), (3, 16): ("I;16B", "I;16B")}),
        (b"II", {(1, 16): ("I;16", "I;16"), (2, 16): ("I", "I;16S"), (3, 32): ("F", "F;32F")}),
        (b"MM", {(1, 16): ("I;16B", "I;16B"), (2, 16): ("I", "I;16BS"), (3, 32): ("F", "F;32BF")}),
        (b"II", {(2, 32): ("I", "I;32S"), (1, 12): ("I;16", "I;12")}),
        (b"MM", {(2, 32): ("I", "I;32BS"), (1, 12): ("I;16", "I;12")}),
    )
    for (number, bits), (mode, raw) in modes.items()
}
# libtiff gives values in the order of the machine, which Pillow only considers for some modes.
_NATIVE: Final = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF", "F;64BF": "F;64NF"}


def is_deep_grey(image: Image.Image) -> bool:
    """Whether the picture is grey with more than 8 bits a value."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def register_grey_modes() -> None:
    """Let Pillow open TIFF files with these numbers; cheap to repeat."""
    for key, mode in _FURTHER_MODES.items():
        TiffImagePlugin.OPEN_INFO.setdefault(key, mode)


def use_native_order(image: Image.Image) -> None:
    """Correct how an opened, not yet decoded TIFF of large numbers will be unpacked."""
    tiles: list[Any] = getattr(image, "tile", [])
    if image.format == "TIFF" and len(tiles) == 1 and tiles[0].codec_name == "libtiff":
        raw, *rest = tiles[0].args
        image.tile = [  # type: ignore[attr-defined]
            tiles[0]._replace(args=(_NATIVE.get(raw, raw), *rest))
        ]


@dataclass(frozen=True)
class Levels:
    """Which values of a grey picture are black and white, and which numbers its values are."""

    black: float
    white: float
    numbers: str = ""  # numpy's name of the type, where Pillow's mode is another

    def to_8_bits(self, image: Image.Image) -> Image.Image:
        """The picture, or a part of it, in mode L."""
        if image.mode.startswith("I;16") and not self.numbers:
            # A table is ten times as fast, and these are the large ones.
            table = self._greys(np.arange(2**16, dtype=np.float32))
            return Image.fromarray(table[np.asarray(image)], "L")
        return Image.fromarray(self._greys(_numbers(image, self.numbers)), "L")

    def _greys(self, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        scaled = (values - np.float32(self.black)) * np.float32(255 / self._span)
        np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled)
        scaled[np.isnan(scaled)] = 0
        return scaled.astype(np.uint8)

    @property
    def _span(self) -> float:
        return (self.white - self.black) or 1.0


def levels_of(image: Image.Image) -> Levels | None:
    """The levels of a decoded picture; None unless it is grey with more than 8 bits a value."""
    if not is_deep_grey(image):
        return None
    tags: Any = getattr(image, "tag_v2", {})
    numbers = _numbers_of(image, tags)
    values = np.concatenate([_numbers(part, numbers).ravel() for part in _sampled(image)])
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, _PERCENTILES) if values.size else (0.0, 1.0)
    is_real = image.mode == "F" or numbers == "float16"
    black, white = _levels(image, tags, float(low), float(high), is_real=is_real)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        black, white = white, black
    return Levels(black, white, numbers)


def _levels(
    image: Image.Image, tags: Any, low: float, high: float, *, is_real: bool
) -> tuple[float, float]:
    if (declared := _declared_white(image, tags)) and low >= 0:
        return 0.0, declared
    if is_real and low >= 0 and high <= 1:
        return 0.0, 1.0
    if is_real:
        return (0.0, 255.0) if low >= 0 and high <= 255 else (low, high)
    bits_used = _SIGNED_BITS if _kind_of_number(tags) == _SIGNED else _BITS
    fitting = (2**bits - 1 for bits in bits_used if high < 2**bits)
    white = next(fitting, None)
    return (low, high) if white is None or low < 0 else (0.0, float(white))


def _declared_white(image: Image.Image, tags: Any) -> float | None:
    """The white level that the file declares, or its decoder has scaled to."""
    if image.format in ("PPM", "JPEG2000"):
        return 65535.0
    for tag in _WHITE_LEVELS:
        value = tags.get(tag)
        value = value[0] if isinstance(value, tuple) and value else value
        if isinstance(value, int | float) and math.isfinite(value) and value > 0:
            return float(value)
    return 4095.0 if tags.get(_BITS_PER_SAMPLE) == (12,) else None


def _kind_of_number(tags: Any) -> Any:
    kind = tags.get(_SAMPLE_FORMAT, _UNSIGNED)
    return kind[0] if isinstance(kind, tuple) and kind else kind


def _numbers_of(image: Image.Image, tags: Any) -> str:
    kind = _kind_of_number(tags)
    if image.mode.startswith("I;16") and kind == _REAL:
        return "float16"
    bits = tags.get(_BITS_PER_SAMPLE)
    return "uint32" if image.mode == "I" and kind == _UNSIGNED and bits == (32,) else ""


def _numbers(image: Image.Image, numbers: str) -> NDArray[np.float32]:
    values = np.asarray(image)
    if numbers:
        order = values.dtype.newbyteorder("=")
        values = values.astype(order, copy=False).view(numbers)
    return values.astype(np.float32)


def _sampled(image: Image.Image, side: int = 1024) -> Iterator[Image.Image]:
    """Parts of the picture that stand for all of it; every pixel of a small one."""
    every = math.ceil(math.sqrt(image.width * image.height / _SAMPLE_PIXELS))
    for top in range(0, image.height, side):
        for left in range(0, image.width, side):
            right, bottom = min(left + side, image.width), min(top + side, image.height)
            part = image.crop((left, top, right, bottom))
            if every > 1:
                size = (max(1, part.width // every), max(1, part.height // every))
                part = part.resize(size, Image.Resampling.NEAREST)
            yield part
