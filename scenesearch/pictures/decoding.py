"""What decoding an opened picture will cost in memory, told from its header, and how to make it
cheaper: each decoder's own way to decode a smaller picture.

The figures of bytes a pixel were measured with pictures of 36 and 196 megapixels.
"""

import math
import struct
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image

from scenesearch.pictures.colour import LARGE_PIXELS

# Of Pillow's own copy of the picture; it stores three channels in four bytes.
_OF_MODE: Final = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
# Decoders that hold the picture beside Pillow's copy: two canvases and bytes of it, planes.
_OF_FORMAT: Final = {"WEBP": 16, "AVIF": 14, "HEIF": 10, "GIF": 2, "PPM": 8, "BMP": 4}
# In JPEG 2000: 32 bits and a byte for each number of a tile, what describes a block of it.
_OF_NUMBER, _OF_BLOCK = 5, 400
# The pieces in which a large picture is converted, with their copies.
_PIECES: Final = 20_000_000


def prepare_reduced(image: Image.Image, data: bytes, reduce_to: int | None) -> int:
    """Have the picture decoded smaller where its format can; how many times smaller its sides can
    then be made while both have `reduce_to` pixels.

    Only what is still large after that is made smaller, by any number: a panorama of a thousand
    times its height does not keep all of that height.
    """
    if reduce_to is None:
        return 1
    size = image.size
    if image.format in ("JPEG", "MPO"):
        image.draft("RGB", (reduce_to, reduce_to))
        size = image.size
    elif image.format == "JPEG2000":
        power = min(_codestream(data).levels, _spare(size, reduce_to).bit_length() - 1)
        size = (-(-size[0] >> power), -(-size[1] >> power))
        # Pillow's own `image.reduce` rounds, where the format rounds up: every second width failed.
        tile = image.tile[0]  # type: ignore[attr-defined]
        codec, _, *rest = tile.args
        tile = tile._replace(extents=(0, 0, *size), args=(codec, power, *rest))
        image.tile, image._size = [tile], size  # type: ignore[attr-defined]
    if math.prod(size) <= LARGE_PIXELS:
        return 1
    # Averaged to twice the wanted size, so that the last step to it is a proper resampling.
    return max(_spare(size, 2 * reduce_to), math.ceil(math.sqrt(math.prod(size) / LARGE_PIXELS)))


def _spare(size: tuple[int, int], reduce_to: int) -> int:
    return max(1, min(size) // reduce_to)


def decoding_bytes(
    image: Image.Image, data: bytes, *, full_size: tuple[int, int], reduce: int
) -> int:
    """At most so many bytes are in memory beside the file while the picture becomes RGB, `reduce`
    times smaller on each side; `full_size` is what its header said."""
    pixels = math.prod(image.size)
    own = _OF_MODE.get(image.mode, 4)
    match image.format:
        case "JPEG" | "MPO":
            cost = pixels * own + _coefficients(image, data, math.prod(full_size))
        case "JPEG2000":
            power = int(image.tile[0].args[1])  # type: ignore[attr-defined]
            cost = pixels * own + _codestream(data).decoding_bytes(full_size, power)
        case "TIFF":
            cost = pixels * own + _strips(image, len(data))
        case other:
            cost = pixels * max(own, _OF_FORMAT.get(other or "", 0))
    if pixels <= LARGE_PIXELS:
        return cost + pixels * 16  # colours, transparency, turning
    kept = pixels // reduce**2
    return cost + _PIECES + 4 * kept + (4 * kept if reduce == 1 else 0)


def _coefficients(image: Any, data: bytes, full: int) -> int:
    """Of a JPEG whose pixels are spread over several scans: all of it is held in between, at its
    full size."""
    components: list[tuple[int, int, int, int]] = image.layer
    # Pillow stopped behind the head of the first scan.
    length = 6 + 2 * len(components)
    scan = image.fp.tell() - length - 2
    in_one_scan = data[scan : scan + 4] == struct.pack(">HH", 0xFFDA, length)
    if in_one_scan and not image.info.get("progressive"):
        return 0
    across, down = (max(component[axis] for component in components) for axis in (1, 2))
    shares = sum(h * v / max(1, across * down) for _, h, v, _ in components)
    return math.ceil(2 * full * shares)


def _strips(image: Any, file_bytes: int) -> int:
    """Of a TIFF that libtiff decodes: a copy of the file, and one strip or tile as it is stored,
    perhaps also as RGBA."""
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
    # A tile may be larger than the picture: that costs too, but for a strip there are rows enough.
    rows = rows if 323 in tags else min(rows, height)
    strip: int = columns * max(rows, 1) * (bits // 8 + 5)
    return file_bytes + strip


@dataclass(frozen=True)
class _Codestream:
    """What the main header of a JPEG 2000 codestream says of how it is coded."""

    tile: int  # pixels
    components: int
    blocks: float  # for each pixel, of all levels
    levels: int

    def decoding_bytes(self, full_size: tuple[int, int], power: int) -> int:
        """Of the largest tile, decoded `power` levels below its full size."""
        numbers = min(self.tile, math.prod(full_size)) * self.components
        return (numbers >> 2 * power) * _OF_NUMBER + int(numbers * self.blocks) * _OF_BLOCK


def _codestream(data: bytes) -> _Codestream:
    """One that says nothing comprehensible is taken for a single tile in the usual blocks."""
    try:
        return _parsed_codestream(data, _codestream_at(data))
    except (struct.error, IndexError, ValueError):
        return _Codestream(tile=2**62, components=4, blocks=1 / 64**2, levels=0)


def _codestream_at(data: bytes) -> int:
    """Where it begins: at once, or in its box of a JP2 file."""
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
    # After its mark: SIZ, with the area, the tiles and the number of components.
    across, down, left, top, tile_width, tile_height = struct.unpack_from(">6I", data, at + 8)
    (components,) = struct.unpack_from(">H", data, at + 40)
    tile = min(tile_width, across) * min(tile_height, down)
    blocks, levels = 1 / 64**2, 0
    at += 2
    while data[at + 1] not in (0x90, 0xD9):  # the first tile's head, the end
        (length,) = struct.unpack_from(">H", data, at + 2)
        if data[at + 1] == 0x52:  # COD: how all components are coded
            coded, _, _, _, levels, width, height = struct.unpack_from(">BBHBBBB", data, at + 4)
            block = 1 << (width & 15) + (height & 15) + 4
            # A level's blocks end where its precincts do, which may be smaller.
            sizes = data[at + 14 : at + 2 + length] if coded & 1 else b"\xff" * (levels + 1)
            precincts = (1 << (size & 15) + (size >> 4) for size in reversed(sizes))
            blocks = sum(4.0**-level / min(block, own) for level, own in enumerate(precincts))
        elif data[at + 1] == 0x53:  # COC: one component differs; assumed not to be smaller
            levels = 0
        at += 2 + max(length, 2)
    if left or top:  # then sizes of lower levels are others
        levels = 0
    return _Codestream(tile, components, blocks, levels)
