"""Pictures of 196 megapixels in small files, made a row at a time: for what they cost to decode."""

import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image

SIDE = 14_000


def rgba_png(path: Path) -> None:
    """Half transparent red."""
    _png(path, colour_type=6, depth=8, row=bytes([255, 0, 0, 128]) * SIDE)


def grey16_png(path: Path) -> None:
    _png(path, colour_type=0, depth=16, row=b"\xc0\x00" * SIDE)


def palette_png(path: Path) -> None:
    """Of two colours, one of them transparent."""
    palette = (b"PLTE", bytes([0, 128, 0, 0, 0, 255])), (b"tRNS", bytes([255, 0]))
    _png(path, colour_type=3, depth=8, row=bytes(SIDE // 2) + b"\1" * (SIDE // 2), extra=palette)


def rgb_png(path: Path) -> None:
    _png(path, colour_type=2, depth=8, row=bytes([0, 0, 255]) * SIDE)


def cmyk_tiff(path: Path) -> None:
    """Deflated, in strips of a hundred rows that all lie in the same place."""
    rows = 100
    strip = zlib.compress(bytes([0, 255, 255, 0]) * SIDE * rows)
    strips = SIDE // rows
    short, long = 3, 4
    after = 8 + 2 + 9 * 12 + 4
    bits_at, offsets_at = after, after + 8
    counts_at = offsets_at + 4 * strips
    strip_at = counts_at + 4 * strips
    entries = (
        (256, short, 1, SIDE),
        (257, short, 1, SIDE),
        (258, short, 4, bits_at),
        (259, short, 1, 8),  # deflate
        (262, short, 1, 5),  # CMYK
        (273, long, strips, offsets_at),
        (277, short, 1, 4),
        (278, short, 1, rows),
        (279, long, strips, counts_at),
    )
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    path.write_bytes(
        struct.pack("<2sHIH", b"II", 42, 8, len(entries))
        + directory
        + struct.pack("<I", 0)
        + struct.pack("<4H", 8, 8, 8, 8)
        + struct.pack(f"<{strips}I", *[strip_at] * strips)
        + struct.pack(f"<{strips}I", *[len(strip)] * strips)
        + strip
    )


def gif(path: Path) -> None:
    picture = Image.new("P", (SIDE, SIDE), 1)
    picture.putpalette([0, 0, 0, 200, 150, 100])
    picture.save(path)


def progressive_jpeg(path: Path) -> None:
    """Grey: a decoder keeps two bytes for each of its pixels until the last scan."""
    Image.new("L", (SIDE, SIDE), 90).save(path, "JPEG", progressive=True)


KINDS: Mapping[str, Callable[[Path], None]] = {
    "rgba.png": rgba_png,
    "grey16.png": grey16_png,
    "palette.png": palette_png,
    "cmyk.tif": cmyk_tiff,
    "progressive.jpg": progressive_jpeg,
    "rgb.png": rgb_png,
    "frame.gif": gif,
}


def _png(
    path: Path,
    *,
    colour_type: int,
    depth: int,
    row: bytes,
    extra: tuple[tuple[bytes, bytes], ...] = (),
) -> None:
    packer = zlib.compressobj(1)
    line = b"\0" + row
    packed = b"".join(packer.compress(line) for _ in range(SIDE)) + packer.flush()
    header = struct.pack(">IIBBBBB", SIDE, SIDE, depth, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), *extra, (b"IDAT", packed), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )
