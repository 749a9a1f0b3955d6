"""Opening pictures of strangers."""

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from scenesearch.images import ImageError, open_image, thumbnail_path, write_thumbnail
from scenesearch.library import GeoPoint


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


def test_date_camera_and_place_come_from_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "NIKON CORPORATION", "NIKON D90"
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.DateTimeOriginal] = "2021:07:03 18:30:05"
    details[ExifTags.Base.OffsetTimeOriginal] = "-03:30"
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitudeRef], gps[ExifTags.GPS.GPSLatitude] = "S", (33.0, 30.0, 0.0)
    gps[ExifTags.GPS.GPSLongitudeRef], gps[ExifTags.GPS.GPSLongitude] = "E", (18.0, 15.0, 36.0)
    found = open_image(save(tmp_path / "a.jpg", exif=exif)).exif
    zone = timezone(-timedelta(hours=3, minutes=30))
    assert found.taken == datetime(2021, 7, 3, 18, 30, 5, tzinfo=zone)
    assert found.camera == "NIKON D90"
    assert found.location == GeoPoint(-33.5, pytest.approx(18.26))


def test_nonsense_in_exif_costs_only_itself(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = "Box\x00\x07 9"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "0000:00:00 00:00:00"
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitude], gps[ExifTags.GPS.GPSLongitude] = (991.0, 0, 0), (0.0, 0, 0)
    found = open_image(save(tmp_path / "a.jpg", exif=exif)).exif
    assert (found.taken, found.camera, found.location) == (None, "Box 9", None)


def test_transparency_becomes_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png").image.getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_grey_is_scaled(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 32768, np.uint16)).save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png").image.getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("suffix", ["gif", "bmp", "webp", "tif", "ppm", "avif", "heic", "jp2"])
def test_common_formats_open(tmp_path: Path, suffix: str) -> None:
    if suffix == "heic":
        import pillow_heif

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
