"""Opening pictures of strangers."""

import io
import os
import struct
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import ExifTags, Image

from scenesearch.pictures.opening import ImageError, decode_image, open_image
from scenesearch.pictures.thumbnails import thumbnail_path, write_thumbnail
from tests.raw_file import write_dng


def save(path: Path, size: tuple[int, int] = (60, 40), **options: object) -> Path:
    Image.new("RGB", size, (200, 40, 40)).save(path, **options)
    return path


def test_size_orientation_and_hash_are_those_of_the_file(tmp_path: Path) -> None:
    opened = open_image(save(tmp_path / "a.png"))
    assert (opened.width, opened.height, opened.orientation) == (60, 40, "landscape")
    assert opened.size_bytes == (tmp_path / "a.png").stat().st_size
    assert len(opened.sha256) == 64


def test_picture_is_turned_upright_by_its_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    opened = open_image(save(tmp_path / "a.jpg", exif=exif))
    assert opened.image.size == (40, 60)
    assert (opened.width, opened.height, opened.orientation) == (40, 60, "portrait")


def test_full_size_is_kept_when_a_jpeg_is_decoded_reduced(tmp_path: Path) -> None:
    opened = open_image(save(tmp_path / "a.jpg", (1600, 1200)), reduce_to=100)
    assert (opened.width, opened.height) == (1600, 1200)
    assert opened.image.size == (200, 150)


def test_transparency_becomes_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png").image.getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_grey_is_scaled(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 32768, np.uint16)).save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png").image.getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("suffix", ["gif", "bmp", "webp", "tif", "ppm", "avif", "heic", "jp2"])
def test_common_formats_open(tmp_path: Path, suffix: str) -> None:
    if suffix == "heic":
        pillow_heif.register_heif_opener()
    assert open_image(save(tmp_path / f"a.{suffix}", (64, 64))).image.size == (64, 64)


def test_format_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert open_image(tmp_path / "a.jpg").image.size == (60, 40)


def test_truncated_jpeg_is_damaged(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", (400, 300))
    path.write_bytes(path.read_bytes()[:800])
    with pytest.raises(ImageError, match="damaged"):
        open_image(path)


def test_text_is_not_a_picture(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("hello")
    with pytest.raises(ImageError, match="not a picture"):
        open_image(tmp_path / "a.jpg")


def test_empty_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(ImageError, match="empty file"):
        open_image(tmp_path / "a.jpg")


def test_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        open_image(tmp_path / "a.jpg")


def test_pixels_beyond_the_limit_are_refused_before_decoding(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="4 megapixels, the limit is 1"):
        open_image(save(tmp_path / "a.png", (2000, 2000)), max_megapixels=1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="not a regular file"):
        open_image(tmp_path / "a.jpg")


def test_thumbnail_fits_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = thumbnail_path(tmp_path, "ab" * 32)
    write_thumbnail(Image.new("RGB", (1000, 500)), path)
    with Image.open(path) as thumbnail:
        assert thumbnail.size == (320, 160)
    assert list(path.parent.iterdir()) == [path]


# --- kinds of pixels -----------------------------------------------------------------------------


def pixel(image: Image.Image | bytes, format_: str = "PNG", **options: object) -> tuple[int, ...]:
    """The middle of a picture after it was saved and opened again."""
    if isinstance(image, Image.Image):
        buffer = io.BytesIO()
        image.save(buffer, format_, **options)
        image = buffer.getvalue()
    opened = decode_image(image).image
    assert opened.mode == "RGB"
    found = opened.getpixel((opened.width // 2, opened.height // 2))
    assert isinstance(found, tuple)
    return found


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "1", "LA", "RGBA", "YCbCr"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    formats = {"CMYK": "JPEG", "YCbCr": "JPEG"}
    red = Image.new("RGB", (16, 16), (220, 20, 20)).convert(mode)
    expected = red.convert("RGB").getpixel((8, 8))
    assert pixel(red, formats.get(mode, "PNG")) == pytest.approx(expected, abs=4)


def test_half_transparent_colours_and_palettes_lie_on_white() -> None:
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert pixel(half) == pytest.approx((127, 127, 127), abs=1)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    assert pixel(palette, transparency=1) == (255, 255, 255)
    assert pixel(palette, "GIF", transparency=1) == (255, 255, 255)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.full((4, 4), 40000, np.uint16), 156),
        (np.full((4, 4), 0.5, np.float32), 128),
        (np.full((4, 4), 100.0, np.float32), 100),
        (np.linspace(-5, 5, 16, dtype=np.float32).reshape(4, 4), 170),
        (np.linspace(0, 90_000, 16, dtype=np.int32).reshape(4, 4), 170),
    ],
)
def test_numbers_beyond_eight_bits_are_scaled(
    values: np.ndarray[tuple[int, int], np.dtype[np.float32]], expected: int
) -> None:
    assert pixel(Image.fromarray(values), "TIFF") == pytest.approx((expected,) * 3, abs=1)


def wide_gamut_profile() -> bytes:
    """Display P3's colours with a plain gamma of 2.2, as an ICC profile made by hand."""

    def number(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def colour(x: float, y: float, z: float) -> bytes:
        return b"XYZ \0\0\0\0" + number(x) + number(y) + number(z)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"wide\0" + b"\0" * 79,
        b"wtpt": colour(0.9642, 1, 0.8249),
        b"rXYZ": colour(0.51512, 0.24120, -0.00105),
        b"gXYZ": colour(0.29198, 0.69225, 0.04189),
        b"bXYZ": colour(0.15710, 0.06657, 0.78407),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    at, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    header = struct.pack(
        ">I4sI4s4s4s", at + len(body), b"lcms", 0x02400000, b"mntr", b"RGB ", b"XYZ "
    )
    header = header.ljust(36, b"\0") + b"acsp"
    header = header.ljust(68, b"\0") + number(0.9642) + number(1) + number(0.8249)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def test_colours_are_those_of_srgb() -> None:
    seen = pixel(Image.new("RGB", (16, 16), (180, 90, 60)), icc_profile=wide_gamut_profile())
    # by hand: linear P3 -> XYZ (D50) -> linear sRGB -> sRGB
    linear = (np.array([180, 90, 60]) / 255) ** 2.2
    xyz = linear @ [
        [0.51512, 0.2412, -0.00105],
        [0.29198, 0.69225, 0.04189],
        [0.1571, 0.06657, 0.78407],
    ]
    srgb = xyz @ np.linalg.inv(
        [[0.43607, 0.22249, 0.01392], [0.38515, 0.71687, 0.09708], [0.14307, 0.06061, 0.7141]]
    )
    expected = 255 * (1.055 * srgb ** (1 / 2.4) - 0.055)
    assert seen == pytest.approx(expected.tolist(), abs=2)
    assert seen[0] > 185  # which a picture shown without its profile is not


def test_a_damaged_profile_and_one_for_other_colours_change_nothing() -> None:
    plain = Image.new("RGB", (16, 16), (180, 90, 60))
    for profile in (b"nothing", wide_gamut_profile()[:200]):
        assert pixel(plain, icc_profile=profile) == (180, 90, 60)
    assert pixel(Image.new("L", (16, 16), 90), icc_profile=wide_gamut_profile()) == (90, 90, 90)


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_of_several_frames_the_first_counts(format_: str) -> None:
    red, blue = (Image.new("RGB", (16, 16), colour) for colour in ((220, 30, 30), (30, 60, 220)))
    buffer = io.BytesIO()
    red.save(buffer, format_, save_all=True, append_images=[blue])
    assert pixel(buffer.getvalue()) == pytest.approx((220, 30, 30), abs=6)


def test_a_progressive_jpeg_and_one_of_several_pictures_are_decoded_reduced() -> None:
    large = Image.new("RGB", (1600, 1200), (30, 60, 220))
    for format_, options in (("JPEG", {"progressive": True}), ("MPO", {"save_all": True})):
        buffer = io.BytesIO()
        large.save(buffer, format_, **options)  # type: ignore[arg-type]
        opened = decode_image(buffer.getvalue(), reduce_to=100)
        assert (opened.image.size, opened.width, opened.height) == ((200, 150), 1600, 1200)


def test_the_limit_of_megapixels_is_the_setting_also_above_pillows_own() -> None:
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    with pytest.raises(ImageError, match="400 megapixels, the limit is 200"):
        decode_image(buffer.getvalue())
    Image.new("1", (1000, 1000)).save(buffer := io.BytesIO(), "PNG")
    assert decode_image(buffer.getvalue(), max_megapixels=1000).width == 1000


@pytest.mark.parametrize(
    "format_", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "AVIF", "HEIF"]
)
def test_damage_anywhere_is_an_image_error_or_a_picture(format_: str) -> None:
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Box"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.LensModel] = "Glass"
    noise = np.random.default_rng(7).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    takes_exif = format_ in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF")
    options = {"exif": exif, "icc_profile": wide_gamut_profile()} if takes_exif else {}
    Image.fromarray(noise).save(buffer, format_, **options)  # type: ignore[arg-type]
    whole = buffer.getvalue()
    random = np.random.default_rng(11)
    for turn in range(40):
        data = bytearray(whole)
        region = len(data) if turn % 2 else min(len(data), 300)  # headers are where it hurts
        for at in random.integers(0, region, 1 + turn % 6):
            data[at] = int(random.integers(0, 256))
        if turn % 5 == 0:
            del data[int(random.integers(1, len(data))) :]
        with suppress(ImageError):
            assert decode_image(bytes(data), max_megapixels=4).image.mode == "RGB"


# --- camera RAW ----------------------------------------------------------------------------------


def test_a_raw_file_shows_its_preview_with_what_the_camera_wrote(tmp_path: Path) -> None:
    pytest.importorskip("rawpy", reason="needs the extra 'raw'")
    opened = open_image(write_dng(tmp_path / "a.jpg"))  # told by content
    assert (opened.width, opened.height, opened.image.size) == (640, 480, (640, 480))
    assert opened.image.getpixel((9, 9)) == pytest.approx((200, 60, 30), abs=3)
    assert opened.metadata.camera == "Hand Made 1"
    assert opened.metadata.taken == datetime(2021, 7, 3, 18, 30, 5)


def test_a_raw_file_without_a_large_preview_is_developed(tmp_path: Path) -> None:
    pytest.importorskip("rawpy", reason="needs the extra 'raw'")
    for preview in (None, (100, 75)):
        opened = open_image(write_dng(tmp_path / "a.dng", preview=preview))
        assert (opened.width, opened.height, opened.image.size) == (640, 480, (320, 240))
        red, green, blue = opened.image.getpixel((9, 9))  # type: ignore[misc]
        assert red > max(green, blue) + 100


def test_a_raw_file_is_upright_developed_or_not(tmp_path: Path) -> None:
    pytest.importorskip("rawpy", reason="needs the extra 'raw'")
    for preview in ((640, 480), None):
        opened = open_image(write_dng(tmp_path / "a.dng", preview=preview, orientation=6))
        assert (opened.width, opened.height, opened.orientation) == (480, 640, "portrait")
        assert opened.image.height > opened.image.width


def test_a_damaged_raw_file_and_one_too_large_are_image_errors(tmp_path: Path) -> None:
    pytest.importorskip("rawpy", reason="needs the extra 'raw'")
    path = write_dng(tmp_path / "a.dng", preview=None)
    with pytest.raises(ImageError, match=r"0 megapixels, the limit is 0\.1"):
        open_image(path, max_megapixels=0.1)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ImageError, match="damaged"):
        open_image(path)


def test_a_raw_file_without_the_extra_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(ImageError, match=r"needs the extra 'raw': pip install -e '\.\[raw\]'"):
        open_image(write_dng(tmp_path / "a.dng"))


def test_the_preview_of_a_raw_file_has_the_limits_of_any_picture(tmp_path: Path) -> None:
    pytest.importorskip("rawpy", reason="needs the extra 'raw'")
    path = write_dng(tmp_path / "a.dng")
    start = path.read_bytes().index(b"\xff\xd8")
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc0", start)
    data[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    with pytest.raises(ImageError, match="3600 megapixels, the limit is 200"):
        decode_image(bytes(data))


def test_a_raw_file_for_which_memory_runs_out_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rawpy = pytest.importorskip("rawpy", reason="needs the extra 'raw'")

    def short(file: object) -> None:
        raise rawpy.LibRawUnsufficientMemoryError(b"Insufficient memory")

    monkeypatch.setattr(rawpy, "imread", short)
    with pytest.raises(ImageError, match="not enough memory") as told:
        open_image(write_dng(tmp_path / "a.dng"))
    assert told.value.transient


@pytest.mark.parametrize("name", ["", "../../x", "/etc/passwd", "ab" * 31 + "/.", "AB" * 32,
                                  "ab" * 32 + "\n", "ab" * 33])  # fmt: skip
def test_a_thumbnail_lies_under_a_content_hash_and_nothing_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match="no content hash"):
        thumbnail_path(tmp_path, name)
