"""Pictures and metadata as people really have them: what is given, and what must come of it."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from ingest.pipeline import ingest
from ingest.report import IngestReport
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from scenesearch.pictures.formats import is_picture
from scenesearch.pictures.opening import decode_image
from scenesearch.pictures.thumbnails import thumbnail_path
from scenesearch.store.edge import EdgeStore
from tests.conftest import ColourEncoder


def run(
    folder: Path, store: EdgeStore, encoder: ColourEncoder, thumbnails: Path | None = None
) -> IngestReport:
    return ingest(
        find_sources([folder], roots=Roots()),
        library="photos",
        encoder=encoder,
        store=store,
        thumbnails_dir=thumbnails,
    )


# --- turned pictures ------------------------------------------------------------------------------

BLUE, GREEN, WHITE, RED = (0, 0, 255), (0, 255, 0), (255, 255, 255), (255, 0, 0)

# EXIF's orientation -> how the upright picture lies in the file.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
TURNED = {
    "jpg": ("JPEG", {"quality": 95}),
    "tif": ("TIFF", {}),
    "lzw.tif": ("TIFF", {"compression": "tiff_lzw"}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {"lossless": True}),
    "heic": ("HEIF", {"quality": 95}),
    "avif": ("AVIF", {"quality": 95}),
}


def four_colours() -> Image.Image:
    """120x80: blue, green; white, red."""
    image = Image.new("RGB", (120, 80))
    for colour, corner in zip((BLUE, GREEN, WHITE, RED), corners((120, 80)), strict=True):
        image.paste(colour, (corner[0] // 60 * 60, corner[1] // 40 * 40, 120, 80))
    return image


def corners(size: tuple[int, int]) -> list[tuple[int, int]]:
    across, down = (size[0] // 8, size[0] * 7 // 8), (size[1] // 8, size[1] * 7 // 8)
    return [(x, y) for y in down for x in across]


@pytest.mark.parametrize("suffix", TURNED)
def test_a_picture_is_upright_whichever_way_it_lies_in_its_file(
    suffix: str, tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder
) -> None:
    pillow_heif.register_heif_opener()
    format_, options = TURNED[suffix]
    folder, thumbnails = tmp_path / "p", tmp_path / "thumbnails"
    folder.mkdir()
    for orientation, turn in STORED.items():
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        lying = four_colours() if turn is None else four_colours().transpose(turn)
        lying.save(folder / f"{orientation}.{suffix}", format_, exif=exif.tobytes(), **options)
    run(folder, store, colour_encoder, thumbnails)
    points = store.retrieve("photos", [f"{number}.{suffix}" for number in STORED])
    for name, point in points.items():
        said = {key: point.payload[key] for key in ("width", "height", "orientation")}
        assert said == {"width": 120, "height": 80, "orientation": "landscape"}, name
        opened = decode_image((folder / name).read_bytes()).image
        with Image.open(thumbnail_path(thumbnails, point.payload["sha256"])) as thumbnail:
            for shown in (opened, thumbnail.convert("RGB")):
                assert shown.size == (120, 80), name
                for corner, colour in zip(
                    corners(shown.size), (BLUE, GREEN, WHITE, RED), strict=True
                ):
                    assert shown.getpixel(corner) == pytest.approx(colour, abs=12), name
    assert len(points) == 8


# --- grey of more than 8 bits ---------------------------------------------------------------------


def tiff(values: NDArray[np.generic], order: str, *, packed: bool = False, **tags: int) -> bytes:
    """A grey TIFF of these numbers in that byte order, '<' or '>'; tags are long numbers."""
    number = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()  # type: ignore[call-overload]
    data = zlib.compress(data) if packed else data
    height, width = values.shape
    entries = {256: width, 257: height, 258: values.dtype.itemsize * 8, 259: 8 if packed else 1}
    entries |= {262: 1, 277: 1, 278: height, 279: len(data), 339: number}
    entries |= {int(tag[1:]): value for tag, value in tags.items()}
    at = 8 + 2 + 12 * (len(entries) + 1) + 4
    table = b"".join(
        struct.pack(f"{order}HHII", tag, 4, 1, value)
        for tag, value in sorted((entries | {273: at}).items())
    )
    head = struct.pack(f"{order}IH", 8, len(entries) + 1)
    return (b"II*\0" if order == "<" else b"MM\0*") + head + table + bytes(4) + data


def pnm(largest: int, values: NDArray[np.uint16]) -> bytes:
    height, width = values.shape
    return f"P5 {width} {height} {largest}\n".encode() + values.astype(">u2").tobytes()


def png(values: NDArray[np.uint16]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


RAMP = np.linspace(0, 1, 64).reshape(8, 8)  # in 8 bits: 0 ... 146 in the middle ... 255

GREY = {
    "16 bits": (RAMP * 65535, "u2", {}),
    "12 bits in 16": (RAMP * 4095, "u2", {}),
    "10 bits in 16": (RAMP * 1023, "u2", {}),
    "white declared at 3000": (RAMP * 3000, "u2", {"_281": 3000}),
    "16 bits and a sign": (RAMP * 32767, "i2", {}),
    "16 bits below and above 0": (RAMP * 40000 - 20000, "i2", {}),
    "32 bits": (RAMP * (2**32 - 1), "u4", {}),
    "16 bits in 32": (RAMP * 65535, "u4", {}),
    "32 bits and a sign": (RAMP * (2**31 - 1), "i4", {}),
    "half floats": (RAMP, "f2", {}),
    "floats": (RAMP, "f4", {}),
    "floats up to 255": (RAMP * 255, "f4", {}),
    "floats beyond": (RAMP * 7000 - 100, "f4", {}),
    "double floats": (RAMP, "f8", {}),
    "white is 0": (65535 - RAMP * 65535, "u2", {"_262": 0}),
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "deflate"])
@pytest.mark.parametrize("kind", GREY)
def test_grey_of_any_number_has_its_brightness(kind: str, packed: bool, order: str) -> None:
    values, dtype, tags = GREY[kind]
    opened = decode_image(tiff(values.astype(dtype), order, packed=packed, **tags)).image
    seen = [opened.getpixel(at) for at in ((0, 0), (4, 4), (7, 7))]
    assert seen == [pytest.approx((grey,) * 3, abs=1) for grey in (0, 146, 255)]


@pytest.mark.parametrize(
    ("data", "middle"),
    [
        (png((RAMP * 65535).astype("u2")), 146),
        (png((RAMP * 4095).astype("u2")), 146),
        (pnm(4095, (RAMP * 4095).astype("u2")), 146),
        (pnm(65535, (RAMP * 65535).astype("u2")), 146),
        (pnm(65535, np.full((8, 8), 30000, "u2")), 117),
        (png(np.full((8, 8), 32768, "u2")), 128),
        (png(np.zeros((8, 8), "u2")), 0),
    ],
    ids=["PNG", "12 in PNG", "12 in PGM", "PGM", "one grey in PGM", "one grey in PNG", "black"],
)
def test_grey_of_other_formats_has_its_brightness(data: bytes, middle: int) -> None:
    assert decode_image(data).image.getpixel((4, 4)) == pytest.approx((middle,) * 3, abs=1)


@pytest.mark.parametrize("hot", [900.0, float("inf"), float("nan")])
def test_one_hot_pixel_does_not_darken_the_others(hot: float) -> None:
    values = np.tile(RAMP * 500, (20, 20)).astype("f4")
    values[0, 0] = hot * 500
    opened = decode_image(tiff(values, "<")).image
    assert opened.getpixel((12, 12)) == pytest.approx((146,) * 3, abs=3)


# --- what is a picture ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"P1 meeting notes\nfoo\n", False),
        (b"P5 urgent\n", False),
        (b"P1 2 3 fix the door\n", False),
        (b"P5 10 20 30 times\n", False),
        (b"P6 \n", False),
        (b"MMORPG, ideas for one\n", False),
        (b"IIRO is short for\n", False),
        (b"FOVb or not\n", False),
        (b"BM 2 tickets for Friday's game, row G\n", False),
        (b"P1\n# a chessboard\n2 2\n0 1\n1 0\n", True),
        (b"P2 2 1 15\n0 15\n", True),
        (b"P4\n8 1\n\xaa", True),
        (b"P5\n2 1\n255\n\0\xff", True),
        (b"P6\n# CREATOR: a program\n1 1\n255\n\0\0\0", True),
        (b"P6 640 480 255 " + b"\xff" * 497, True),
        (b"P6\n# " + b"a long comment" * 50, False),
        (b"IIRO\x08\0\0\0", True),
        (b"MMOR\0\0\0\x08", True),
    ],
)
def test_a_text_that_begins_like_a_picture_is_none(head: bytes, expected: bool) -> None:
    assert is_picture(head[:512]) is expected


def test_texts_that_begin_like_pictures_are_neither_ingested_nor_rejected(
    tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder
) -> None:
    (tmp_path / "notes.txt").write_text("P1 meeting notes\nfoo\n")
    (tmp_path / "todo").write_text("P5 urgent\n")
    (tmp_path / "chessboard").write_text("P1\n# drawn by hand\n2 2\n0 1\n1 0\n")
    report = run(tmp_path, store, colour_encoder)
    assert (report.written, report.rejected) == (1, 0)
    assert [point.image_id for point in store.scroll("photos")] == ["chessboard"]
