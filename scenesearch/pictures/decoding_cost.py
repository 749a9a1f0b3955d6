"""The cost of decoding an opened picture, in memory and time, estimated from its header.

Decoders that can decode a smaller picture directly are made to do so, which costs less. The bytes
per pixel were measured with pictures of 36 and 196 megapixels.
"""

import math
import struct
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image

from scenesearch.pictures.colour import LARGE_PIXELS

# Bytes a pixel of Pillow's own copy of the picture; three channels take four bytes.
_MODE_BYTES: Final = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
# Bytes a pixel of decoders that hold the picture besides Pillow's copy (canvases, planes).
_FORMAT_BYTES: Final = {"WEBP": 16, "AVIF": 14, "HEIF": 10, "GIF": 2, "PPM": 8, "BMP": 4}
# JPEG 2000: bytes for each number of a tile (32 bits and one byte), and for each of its blocks.
_NUMBER_BYTES, _BLOCK_BYTES = 5, 400
# The tiles in which a large picture is converted, with their copies.
_TILE_BYTES: Final = 20_000_000


def prepare_reduced(image: Image.Image, data: bytes, reduce_to: int | None) -> int:
    """Make the decoder produce a smaller picture if its format can; returns how many times smaller
    its sides can be made after that while both keep `reduce_to` pixels.

    Only pictures that are still large are made smaller, by any factor: a panorama a thousand times
    as long as it is high does not keep that height.
    """
    if reduce_to is None:
        return 1
    size = image.size
    if image.format in ("JPEG", "MPO"):
        image.draft("RGB", (reduce_to, reduce_to))
        size = image.size
    elif image.format == "JPEG2000":
        power = min(_codestream(data).levels, _factor(size, reduce_to).bit_length() - 1)
        size = (-(-size[0] >> power), -(-size[1] >> power))
        # Pillow's `image.reduce` rounds where the format rounds up, so every second width failed.
        tile = image.tile[0]  # type: ignore[attr-defined]
        codec, _, *rest = tile.args
        tile = tile._replace(extents=(0, 0, *size), args=(codec, power, *rest))
        image.tile, image._size = [tile], size  # type: ignore[attr-defined]
    if math.prod(size) <= LARGE_PIXELS:
        return 1
    # Averaging stops at twice the wanted size, so that the last step is a proper resampling.
    return max(_factor(size, 2 * reduce_to), math.ceil(math.sqrt(math.prod(size) / LARGE_PIXELS)))


def _factor(size: tuple[int, int], reduce_to: int) -> int:
    return max(1, min(size) // reduce_to)


def decoding_bytes(
    image: Image.Image, data: bytes, *, full_size: tuple[int, int], reduce: int
) -> int:
    """The most bytes in memory, besides the file, while the picture becomes RGB and `reduce` times
    smaller on each side; `full_size` is the size in its header."""
    pixels = math.prod(image.size)
    own = _MODE_BYTES.get(image.mode, 4)
    match image.format:
        case "JPEG" | "MPO":
            cost = pixels * own + _coefficients(image, data, math.prod(full_size))
        case "JPEG2000":
            power = int(image.tile[0].args[1])  # type: ignore[attr-defined]
            cost = pixels * own + _codestream(data).decoding_bytes(full_size, power)
        case "TIFF":
            cost = pixels * own + _strips(image, len(data))
        case other:
            cost = pixels * max(own, _FORMAT_BYTES.get(other or "", 0))
    if pixels <= LARGE_PIXELS:
        return cost + pixels * 16  # colours, transparency, turning
    kept = pixels // reduce**2
    return cost + _TILE_BYTES + 4 * kept + (4 * kept if reduce == 1 else 0)


def _coefficients(image: Any, data: bytes, full: int) -> int:
    """Bytes of coefficients: a JPEG in several scans is held in memory at its full size."""
    components: list[tuple[int, int, int, int]] = image.layer
    # Pillow stopped after the header of the first scan.
    length = 6 + 2 * len(components)
    scan = image.fp.tell() - length - 2
    in_one_scan = data[scan : scan + 4] == struct.pack(">HH", 0xFFDA, length)
    if in_one_scan and not image.info.get("progressive"):
        return 0
    across, down = (max(component[axis] for component in components) for axis in (1, 2))
    shares = sum(h * v / max(1, across * down) for _, h, v, _ in components)
    return math.ceil(2 * full * shares)


def _strips(image: Any, file_bytes: int) -> int:
    """Bytes for a TIFF that libtiff decodes: a copy of the file, and one strip or tile as stored
    and perhaps as RGBA."""
    if all(tile.codec_name == "raw" for tile in image.tile):
        return 0
    tags = image.tag_v2
    columns, height = image.size
    try:
        columns = max(columns, int(tags.get(322, 0)))
        rows = int(tags.get(323, tags.get(278, height)))
        bits = int(max(tags.get(258, (1,)))) * int(tags.get(277, 1))
    except (TypeError, ValueError):
        rows, bits = height, 64
    # A tile may be larger than the picture, and costs that much; a strip has no more rows than it.
    rows = rows if 323 in tags else min(rows, height)
    strip: int = columns * max(rows, 1) * (bits // 8 + 5)
    return file_bytes + strip


@dataclass(frozen=True)
class _Codestream:
    """How a JPEG 2000 codestream is coded, from its main header."""

    tile: int  # pixels
    components: int
    blocks: float  # per pixel, over all levels
    levels: int

    def decoding_bytes(self, full_size: tuple[int, int], power: int) -> int:
        """Bytes for the largest tile, decoded `power` levels below its full size."""
        numbers = min(self.tile, math.prod(full_size)) * self.components
        return (numbers >> 2 * power) * _NUMBER_BYTES + int(numbers * self.blocks) * _BLOCK_BYTES


def _codestream(data: bytes) -> _Codestream:
    """The codestream; one that cannot be parsed is assumed to be a single tile in usual blocks."""
    try:
        return _parsed_codestream(data, _codestream_at(data))
    except (struct.error, IndexError, ValueError):
        return _Codestream(tile=2**62, components=4, blocks=1 / 64**2, levels=0)


def _codestream_at(data: bytes) -> int:
    """Where the codestream begins: at 0, or in a box of a JP2 file."""
    at = 0
    while not data.startswith(b"\xff\x4f\xff\x51", at):
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        if kind == b"jp2c":
            return at + head
        if length < head:
            raise ValueError("no codestream")
        at += length
    return at


def _parsed_codestream(data: bytes, at: int) -> _Codestream:
    # After the marker: SIZ, with the area, the tiles and the number of components.
    across, down, left, top, tile_width, tile_height = struct.unpack_from(">6I", data, at + 8)
    (components,) = struct.unpack_from(">H", data, at + 40)
    tile = min(tile_width, across) * min(tile_height, down)
    blocks, levels = 1 / 64**2, 0
    at += 2
    while data[at + 1] not in (0x90, 0xD9):  # the first tile, the end
        (length,) = struct.unpack_from(">H", data, at + 2)
        if data[at + 1] == 0x52:  # COD: how all components are coded
            coded, _, _, _, levels, width, height = struct.unpack_from(">BBHBBBB", data, at + 4)
            block = 1 << (width & 15) + (height & 15) + 4
            # Blocks end at the borders of precincts, which may be smaller.
            sizes = data[at + 14 : at + 2 + length] if coded & 1 else b"\xff" * (levels + 1)
            precincts = (1 << (size & 15) + (size >> 4) for size in reversed(sizes))
            blocks = sum(4.0**-level / min(block, own) for level, own in enumerate(precincts))
        elif data[at + 1] == 0x53:  # COC: one component differs; assume it cannot be reduced
            levels = 0
        at += 2 + max(length, 2)
    if left or top:  # the sizes of lower levels would differ
        levels = 0
    return _Codestream(tile, components, blocks, levels)


# --- time -----------------------------------------------------------------------------------

# Time of a decoder for each megapixel and for each megabyte of the file, in units of 10 ms: the
# time that a megapixel may take (see docs/security.md), so that 200 megapixels take two seconds.
_WEIGHTS: Final = {
    "AVIF": (1.2, 4.7),
    "HEIF": (1.8, 8.0),
    "JPEG2000": (2.6, 15.0),
    "PNG": (0.25, 0.75),  # for each byte of a pixel
    "WEBP": (1.4, 4.3),
    "progressive JPEG": (0.3, 3.0),
    "TIFF in Deflate": (0.8, 0.15),
    "TIFF in LZMA": (1.0, 6.0),
    "TIFF in WebP": (1.4, 4.3),
}
# The same for a JPEG 2000 that is decoded smaller: per pixel and byte skipped, and per pixel kept.
_REDUCED: Final = (0.3, 0.5, 45.0)
# Pixel formats that must be converted value by value.
_MODE_WEIGHTS: Final = {"F": 4.0, "I": 4.0, "LAB": 3.0}
_PNG_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_TIFF_CODECS: Final = {
    "tiff_adobe_deflate": "TIFF in Deflate",
    "tiff_deflate": "TIFF in Deflate",
    "lzma": "TIFF in LZMA",
    "webp": "TIFF in WebP",
}


def weighed_megapixels(image: Image.Image, data: bytes, megapixels: float) -> tuple[float, str]:
    """The megapixels of JPEG that take as long to decode, and the name of the format.

    Some decoders take ten times as long as others. For the fast ones it is the plain megapixels.
    """
    kind = image.format or ""
    if kind in ("JPEG", "MPO") and image.info.get("progressive"):
        kind = "progressive JPEG"
    elif kind == "TIFF":
        kind = _TIFF_CODECS.get(str(image.info.get("compression")), kind)
    by_pixel, by_byte = _WEIGHTS.get(kind, (1.0, 0.0))
    by_pixel *= _MODE_WEIGHTS.get(image.mode, 1.0)
    if kind == "PNG" and len(data) > 25:
        by_pixel *= _PNG_CHANNELS.get(data[25], 4) * data[24] / 8
    weight = megapixels * by_pixel + len(data) / 1e6 * by_byte
    tiles: list[Any] = getattr(image, "tile", [])
    if kind == "JPEG2000" and tiles and (left_out := int(tiles[0].args[1])):  # levels left out
        pixel, byte, kept = _REDUCED
        least = megapixels * (pixel + kept / 4**left_out) + len(data) / 1e6 * byte
        weight = min(weight, least)
    return max(megapixels, weight), kind
