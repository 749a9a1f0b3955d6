"""Checks the structure of a picture file before a decoder reads it.

Decoders are fast with real pictures, and slow with files made to be slow: a million empty chunks, a
thousand scans over the same pixels, a tag of a hundred million numbers. The limits here are far
above what cameras and programs write. They count parts and do not measure time, so that every
machine accepts and rejects the same files.
"""

import re
import struct
from collections.abc import Iterator
from typing import Final, Literal

from scenesearch.errors import SceneSearchError

# Markers of a JPEG, extensions of a GIF before the first picture, chunks of a PNG besides IDAT.
_MAX_PARTS: Final = 5_000
# Chunks of a PNG's pixels; libpng writes 8 KiB each, so this is 1.6 GB.
_MAX_CHUNKS: Final = 200_000
_MAX_JUNK: Final = 64 * 1024  # bytes between a JPEG's markers or a GIF's blocks
_MAX_TABLE_BYTES: Final = 64 * 1024  # a JPEG has 2 KiB
_MAX_EXIF_PARTS: Final = 16  # 64 KiB each
# Each scan of a progressive JPEG covers all pixels; programs write 6 to 18.
_MAX_SCANS: Final = 100
_MAX_SCANNED_MEGAPIXELS: Final = 2_000.0
_MAX_ARITHMETIC_BYTES: Final = 16 * 1024 * 1024
# Numbers in the tags of one file; each strip of a TIFF takes two.
_MAX_TAG_VALUES: Final = 200_000
MAX_EXIF_VALUES: Final = 50_000
_MAX_DIRECTORIES: Final = 3
# Limits for what Python decodes pixel by pixel.
_MAX_RUNS_PIXELS: Final = 2_000_000
_MAX_RUNS_BYTES: Final = 2 * 1024 * 1024
_MAX_DIGITS_BYTES: Final = 4 * 1024 * 1024
_MAX_COMMENTS: Final = 1_000
_MAX_SCALED_PIXELS: Final = 1_000_000


class StructureError(SceneSearchError):
    """The file has more parts than a picture needs; the message is the reason, without the path."""


def check_structure(data: bytes) -> None:
    """Raise StructureError for a file whose parts would make its decoder slow."""
    if data.startswith(b"\xff\xd8"):
        _check_jpeg(data)
    elif data.startswith(b"\x89PNG"):
        _check_png(data)
    elif data.startswith((b"GIF87a", b"GIF89a")):
        _check_gif(data)
    elif data.startswith((b"II", b"MM")):
        if (values := tag_values(data)) > _MAX_TAG_VALUES:
            raise StructureError(
                f"{values:,} numbers in its tags, the limit is {_MAX_TAG_VALUES:,}"
            )
    elif data.startswith(b"BM"):
        _check_bmp(data)
    elif re.match(rb"P[1-6]\s", data):
        _check_pnm(data)


# --- JPEG ----------------------------------------------------------------------------------------

_FILL = re.compile(rb"\xff+")
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_TABLES = frozenset({0xC4, 0xDB})
_SOS, _EOI, _APP1 = 0xDA, 0xD9, 0xE1
_ALONE = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_ARITHMETIC = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})


def _check_jpeg(data: bytes) -> None:
    position, parts, junk, exif_parts, table_bytes = 2, 0, 0, 0, 0
    components, megapixels, is_progressive = 0, 0.0, False
    while (found := data.find(b"\xff", position)) >= 0:
        fill = _FILL.match(data, found)
        end = fill.end() if fill else found + 1
        junk += found - position + end - found - 1
        parts += 1
        if junk > _MAX_JUNK:
            raise StructureError("more than 64 KiB between its markers")
        if parts > _MAX_PARTS:
            raise StructureError(f"more than {_MAX_PARTS:,} markers before its pixels")
        if end + 3 > len(data):
            return
        marker, position = data[end], end + 1
        if marker in _ALONE:
            continue
        length = int.from_bytes(data[position : position + 2])
        if marker == _APP1 and data[position + 2 : position + 6] == b"Exif":
            exif_parts += 1
            if exif_parts > _MAX_EXIF_PARTS:
                raise StructureError(f"EXIF data in more than {_MAX_EXIF_PARTS} parts")
        if marker in _TABLES:
            table_bytes += length
            if table_bytes > _MAX_TABLE_BYTES:
                raise StructureError("more than 64 KiB of tables before its pixels")
        if marker in _FRAMES and position + 8 <= len(data):
            height, width, components = struct.unpack_from(">HHB", data, position + 3)
            megapixels = height * width / 1e6
            is_progressive = marker in _PROGRESSIVE
            if marker in _ARITHMETIC and len(data) > _MAX_ARITHMETIC_BYTES:
                raise StructureError("an arithmetic-coded JPEG of more than 16 MiB")
        if marker == _SOS:
            # One scan of all colours is the whole picture, as in nearly every JPEG: no more to
            # check.
            if is_progressive or data[position + 2 : position + 3] != bytes([components]):
                _check_scans(data, found, megapixels)
            return
        position += max(length, 2)


def _check_scans(data: bytes, position: int, megapixels: float) -> None:
    """Check a picture in several scans; bytes after its end are ignored."""
    scans = parts = 0
    while match := _MARKER.search(data, position):
        marker, position = data[match.end() - 1], match.end()
        if marker == _EOI:
            return
        scans += marker == _SOS
        parts += 1
        if scans > _MAX_SCANS or parts > _MAX_PARTS:
            raise StructureError(f"more than {_MAX_SCANS} scans over its pixels")
        if scans * megapixels > _MAX_SCANNED_MEGAPIXELS:
            raise StructureError(
                f"{scans} scans over {megapixels:.0f} megapixels, the limit is "
                f"{_MAX_SCANNED_MEGAPIXELS:,.0f} megapixels in all scans together"
            )
        position += max(int.from_bytes(data[position : position + 2]), 2)


# --- PNG, GIF ------------------------------------------------------------------------------------


def _check_png(data: bytes) -> None:
    position, chunks, others = 8, 0, 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        chunks += 1
        others += kind not in (b"IDAT", b"fdAT")
        if others > _MAX_PARTS:
            raise StructureError(f"more than {_MAX_PARTS:,} chunks beside its pixels")
        if chunks > _MAX_CHUNKS:
            raise StructureError(f"more than {_MAX_CHUNKS:,} chunks")
        position += 12 + length


def _check_gif(data: bytes) -> None:
    """Check up to the first picture: only that one is read."""
    palette_bytes = 3 << (data[10] & 7) + 1 if data[10:11] and data[10] & 0x80 else 0
    position, parts, junk = 13 + palette_bytes, 0, 0
    while position < len(data) and data[position] not in b",;":
        if data[position] != ord("!"):
            position, junk = position + 1, junk + 1
            if junk > _MAX_JUNK:
                raise StructureError("more than 64 KiB between its blocks")
            continue
        position += 2
        while position < len(data) and (length := data[position]):
            position, parts = position + 1 + length, parts + 1
            if parts > _MAX_CHUNKS:
                raise StructureError(f"more than {_MAX_CHUNKS:,} blocks before its picture")
        position, parts = position + 1, parts + 1


# --- what Python decodes: BMP with runs, PNM in digits -------------------------------------------


def _check_bmp(data: bytes) -> None:
    if len(data) < 34 or int.from_bytes(data[30:34], "little") not in (1, 2):
        return
    width, height = struct.unpack_from("<ii", data, 18)
    if width * abs(height) > _MAX_RUNS_PIXELS or len(data) > _MAX_RUNS_BYTES:
        raise StructureError("a BMP of runs with more than 2 megapixels or 2 MiB")


# Kind, width, height and, except for P1 and P4, the largest value; with comments in between.
_PNM_GAP = rb"(?:\s|#[^\r\n]*+)++"
_PNM_HEADER = re.compile(
    rb"P([1-6])"
    + _PNM_GAP
    + rb"(\d{1,9})"
    + _PNM_GAP
    + rb"(\d{1,9})(?:"
    + _PNM_GAP
    + rb"(\d{1,5}))?"
)


def _check_pnm(data: bytes) -> None:
    header = _PNM_HEADER.match(data)
    if header is None or header.end() > _MAX_JUNK:
        raise StructureError("no header of a PNM in its first 64 KiB")
    kind, width, height, largest = header.groups()
    if kind in b"123" and (len(data) > _MAX_DIGITS_BYTES or data.count(b"#") > _MAX_COMMENTS):
        raise StructureError("a PNM in digits of more than 4 MiB or 1,000 comments")
    as_it_is = (b"255", b"65535") if kind == b"5" else (b"255",)
    is_scaled = kind in b"56" and largest not in as_it_is
    if is_scaled and int(width) * int(height) > _MAX_SCALED_PIXELS:
        raise StructureError(
            "a PNM of more than 1 megapixel whose largest value is not 255 (nor, in grey, 65535)"
        )


# --- TIFF and EXIF -------------------------------------------------------------------------------

_EXIF, _GPS = 0x8769, 0x8825
_UNIT_BYTES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8} | {
    13: 4,
    16: 8,
}
_AS_BYTES: Final = frozenset({1, 2, 7})  # kept as they are, not number by number


def tag_values(data: bytes) -> int:
    """How many numbers are in the tags of a TIFF or an EXIF block."""
    while data.startswith(b"Exif\0\0"):
        data = data[6:]
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    is_big = data[2:4] in (b"+\0", b"\0+")
    at, width = (8, 8) if is_big else (4, 4)
    directories = [int.from_bytes(data[at : at + width], order)]
    values, seen = 0, set[int]()
    while directories:
        offset = directories.pop()
        if offset in seen:
            continue
        seen.add(offset)
        for tag, kind, count, value in _entries(data, offset, order, is_big):
            unit = _UNIT_BYTES.get(kind, 0)
            if tag in (_EXIF, _GPS) and len(seen) <= _MAX_DIRECTORIES:
                directories.append(value)
            elif unit and kind not in _AS_BYTES and count * unit <= len(data):
                values += count
    return values


def _entries(
    data: bytes, offset: int, order: Literal["little", "big"], is_big: bool
) -> Iterator[tuple[int, int, int, int]]:
    """Tag, type, count and value of each entry of the directory that lies inside the data."""
    sign = "<" if order == "little" else ">"
    head = 8 if is_big else 2
    entry = struct.Struct(sign + ("HHQQ" if is_big else "HHII"))
    count = int.from_bytes(data[offset : offset + head], order)
    start = offset + head
    whole = max(0, min(count, (len(data) - start) // entry.size))
    yield from entry.iter_unpack(data[start : start + whole * entry.size])
