"""Files of more parts than a picture has are rejected by their headers, whatever reads them.

That each of these would take long is shown by tests/attack/test_time.py.
"""

import io
import re
import struct
import zlib

import pytest
from PIL import Image

from scenesearch.pictures.decoding_cost import prepare_reduced, weighed_megapixels
from scenesearch.pictures.opening import ImageError, decode_image
from scenesearch.pictures.structure import StructureError, check_structure, tag_values


def saved(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), (200, 40, 40)).save(buffer, kind, **options)
    return buffer.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def with_segments(*segments: bytes) -> bytes:
    jpeg = saved("JPEG")
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def with_scans(count: int, side: int | None = None) -> bytes:
    jpeg = saved("JPEG", progressive=True)
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    if side is not None:
        at = jpeg.index(b"\xff\xc2")
        jpeg = jpeg[: at + 5] + struct.pack(">HH", side, side) + jpeg[at + 9 :]
    return jpeg[:-2] + scan * count + b"\xff\xd9"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunks(kind: bytes, count: int, body: bytes = b"") -> bytes:
    png = saved("PNG")
    return png[:33] + chunk(kind, body) * count + png[33:]


def animated_png(parts: int) -> bytes:
    """Two frames, the second in so many parts, as programs write a long animation."""
    png = saved("PNG")
    first, second = (
        chunk(b"fcTL", struct.pack(">5IHHBB", number, 60, 40, 0, 0, 1, 10, 0, 0))
        for number in (0, 1)
    )
    start = chunk(b"acTL", struct.pack(">II", 2, 0)) + first
    frame = second + chunk(b"fdAT", struct.pack(">I", 2)) * parts
    return png[:33] + start + png[33:-12] + frame + png[-12:]


def gif_with(extra: bytes) -> bytes:
    gif = saved("GIF")
    start = gif.index(b",")
    return gif[:start] + extra + gif[start:]


def tiff_with(kind: int, count: int) -> bytes:
    """Ten tags of so many numbers, that lie over one another."""
    tags = b"".join(struct.pack("<HHII", number, kind, count, 200) for number in range(1, 11))
    return b"II*\0" + struct.pack("<IH", 8, 10) + tags + bytes(4) + bytes(400_000)


def bmp(side: int, runs: bytes) -> bytes:
    head = b"BM" + struct.pack("<IHHI", 1078 + len(runs), 0, 0, 1078)
    info = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return head + info + bytes(1024) + runs


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (with_segments(segment(0xFE, b"") * 5001), "more than 5,000 markers"),
        (with_segments(b"\xff" * 70_000), "more than 64 KiB between its markers"),
        (with_segments(bytes(70_000)), "more than 64 KiB between its markers"),
        (b"\xff\xd8\xff" * 6000, "more than 5,000 markers"),
        (with_segments(segment(0xE1, b"Exif\0\0") * 17), "EXIF data in more than 16 parts"),
        (with_segments(segment(0xDB, bytes(65_000)) * 2), "more than 64 KiB of tables"),
        (with_scans(101), "more than 100 scans"),
        (with_scans(20, side=14_000), "11 scans over 196 megapixels"),
        (with_chunks(b"abCd", 5001), "more than 5,000 chunks beside its pixels"),
        (with_chunks(b"IDAT", 200_001), "more than 200,000 chunks"),
        (gif_with(b"\x21\xfe\x01x\0" * 100_001), "more than 200,000 blocks"),
        (gif_with(b"z" * 70_000), "more than 64 KiB between its blocks"),
        (tiff_with(3, 100_000), "1,000,000 numbers in its tags, the limit is 200,000"),
        (bmp(1500, b""), "a BMP of runs"),
        (bmp(10, bytes(2 * 1024 * 1024)), "a BMP of runs"),
        (b"P3\n9 9 255\n" + b"1 " * 2_100_000, "a PNM in digits of more than 4 MiB"),
        (b"P3\n9 9 255\n" + b"#\n" * 1001, "or 1,000 comments"),
        (b"P6" + b" " * 70_000 + b"9 9 255\n", "no header of a PNM"),
        (b"P6\n2000 2000 65535\n", "largest value is not 255"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_file_of_too_many_parts_is_rejected_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=re.escape(reason)):
        decode_image(data)


@pytest.mark.parametrize(
    "data",
    [
        saved("JPEG"),
        saved("JPEG", progressive=True),
        with_segments(segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(60_000)) * 300),
        with_scans(80),
        saved("PNG"),
        with_chunks(b"tEXt", 2000, b"key\0value"),
        animated_png(20_000),
        saved("GIF"),
        gif_with(b"\x21\xfe\x01x\0" * 1000),
        saved("TIFF"),
        saved("TIFF", compression="tiff_lzw"),
        saved("BMP"),
        saved("PPM"),
        b"P3\n# made by hand\n2 1\n255\n1 2 3 4 5 6\n",
        b"P5 # grey\n2 1 100\n\x01\x02",
        saved("WEBP"),
        saved("JPEG2000"),
    ],
)
def test_what_programs_write_passes(data: bytes) -> None:
    assert decode_image(data).width in (60, 2)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "BMP"])
def test_a_file_that_ends_early_is_not_blamed_for_its_parts(kind: str) -> None:
    for length in range(60):
        check_structure(saved(kind)[:length])


def test_scans_after_the_end_of_the_picture_are_others() -> None:
    check_structure(saved("JPEG", progressive=True) + with_scans(300)[2:])


def test_numbers_of_tags_are_counted_only_where_they_can_be_there() -> None:
    assert tag_values(tiff_with(5, 10)) == 100
    assert tag_values(tiff_with(2, 100_000)) == 0  # a text is one
    assert tag_values(tiff_with(5, 0x0FFFFFFF)) == 0  # more than the file
    assert tag_values(b"Exif\0\0" + tiff_with(3, 7)) == 70
    loop = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHII", 0x8769, 4, 1, 8) + bytes(4)
    assert tag_values(loop) == 0


def test_a_picture_in_a_slow_format_counts_for_more() -> None:
    data = saved("WEBP")
    with Image.open(io.BytesIO(data)) as image:
        weighed, kind = weighed_megapixels(image, data, 0.0024)
    assert kind == "WEBP"
    assert weighed == pytest.approx(1.4 * 0.0024 + 4.3 * len(data) / 1e6)
    with pytest.raises(ImageError, match=r"of WEBP, which takes as long to decode as 0 megapixels"):
        decode_image(data, max_megapixels=0.0025)
    assert decode_image(saved("JPEG"), max_megapixels=0.0025).width == 60


def test_structure_errors_are_one_sentence_without_the_path() -> None:
    with pytest.raises(StructureError, match=r"^more than 100 scans over its pixels$"):
        check_structure(with_scans(200))


def test_a_jpeg_2000_without_loss_counts_as_what_is_decoded_of_it() -> None:
    """A scan of 8 megapixels, as archives keep it, was rejected: 17 MB, counted in full."""
    buffer = io.BytesIO()
    Image.effect_noise((700, 700), 60).save(buffer, "JPEG2000")
    data = buffer.getvalue()
    with Image.open(io.BytesIO(data)) as image:
        full, _ = weighed_megapixels(image, data, 0.49)
        prepare_reduced(image, data, 160)
        weighed, _ = weighed_megapixels(image, data, 0.49)
    assert weighed < full / 2


def test_grey_of_sixteen_bits_in_a_pnm_is_no_slower_than_others() -> None:
    pixels = bytes(2 * 1200 * 1000)
    assert decode_image(b"P5\n1200 1000\n65535\n" + pixels).width == 1200
    with pytest.raises(ImageError, match="whose largest value is not 255"):
        decode_image(b"P5\n1200 1000\n4095\n" + pixels)
