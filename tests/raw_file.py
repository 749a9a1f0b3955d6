"""A camera's RAW file made by hand: a DNG with a small copy, a preview and a sensor's mosaic."""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _SIGNED = 1, 2, 3, 4, 5, 10
_FORMATS = {_BYTE: "B", _ASCII: "s", _SHORT: "H", _LONG: "I", _RATIONAL: "I", _SIGNED: "i"}

Value = int | str | list[int]


def write_dng(
    path: Path,
    colour: tuple[int, int, int] = (200, 60, 30),
    size: tuple[int, int] = (640, 480),
    *,
    preview: tuple[int, int] | None = (640, 480),
    orientation: int = 1,
) -> Path:
    """A DNG of one colour; its JPEG preview has another size, or is left out."""
    width, height = size
    buffer = io.BytesIO()
    Image.new("RGB", preview or (16, 12), colour).save(buffer, "JPEG")
    jpeg = buffer.getvalue()
    mosaic = np.empty((height, width), "<u2")
    linear = [round((channel / 255) ** 2.2 * 60000) for channel in colour]
    mosaic[0::2, 0::2], mosaic[1::2, 1::2] = linear[0], linear[2]
    mosaic[0::2, 1::2] = mosaic[1::2, 0::2] = linear[1]
    pixels = mosaic.tobytes()

    identity = [n for value in (1, 0, 0, 0, 1, 0, 0, 0, 1) for n in (value * 10000, 10000)]
    small: dict[int, tuple[int, Value]] = {
        254: (_LONG, 1),
        256: (_LONG, (preview or (16, 12))[0]),
        257: (_LONG, (preview or (16, 12))[1]),
        258: (_SHORT, [8, 8, 8]),
        259: (_SHORT, 7),
        262: (_SHORT, 6),
        271: (_ASCII, "Hand"),
        272: (_ASCII, "Made 1"),
        273: (_LONG, 0),  # where the preview lies
        274: (_SHORT, orientation),
        277: (_SHORT, 3),
        278: (_LONG, (preview or (16, 12))[1]),
        279: (_LONG, len(jpeg)),
        306: (_ASCII, "2021:07:03 18:30:05"),
        330: (_LONG, 0),  # where the sensor's picture is described
        50706: (_BYTE, [1, 4, 0, 0]),
        50708: (_ASCII, "Hand Made 1"),
        50721: (_SIGNED, identity),
        50728: (_RATIONAL, [1, 1, 1, 1, 1, 1]),
        50778: (_SHORT, 21),
    }
    sensor: dict[int, tuple[int, Value]] = {
        254: (_LONG, 0),
        256: (_LONG, width),
        257: (_LONG, height),
        258: (_SHORT, 16),
        259: (_SHORT, 1),
        262: (_SHORT, 32803),
        273: (_LONG, 0),
        277: (_SHORT, 1),
        278: (_LONG, height),
        279: (_LONG, len(pixels)),
        33421: (_SHORT, [2, 2]),
        33422: (_BYTE, [0, 1, 1, 2]),
        50717: (_LONG, 65535),
    }
    at_sensor = 8 + len(_directory(small, 8))
    at_jpeg = at_sensor + len(_directory(sensor, at_sensor))
    small[273], small[330] = (_LONG, at_jpeg), (_LONG, at_sensor)
    sensor[273] = (_LONG, at_jpeg + len(jpeg))
    path.write_bytes(
        b"II*\0"
        + struct.pack("<I", 8)
        + _directory(small, 8)
        + _directory(sensor, at_sensor)
        + jpeg
        + pixels
    )
    return path


def _directory(tags: dict[int, tuple[int, Value]], at: int) -> bytes:
    entries, beyond = b"", b""
    end = at + 2 + 12 * len(tags) + 4
    for tag, (kind, value) in sorted(tags.items()):
        if isinstance(value, str):
            packed = value.encode() + b"\0"
            count = len(packed)
        else:
            values = value if isinstance(value, list) else [value]
            packed = struct.pack(f"<{len(values)}{_FORMATS[kind]}", *values)
            count = len(values) // (2 if kind in (_RATIONAL, _SIGNED) else 1)
        if len(packed) > 4:
            place = struct.pack("<I", end + len(beyond))
            beyond += packed + b"\0" * (len(packed) % 2)
        else:
            place = packed.ljust(4, b"\0")
        entries += struct.pack("<HHI", tag, kind, count) + place
    return struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0) + beyond
