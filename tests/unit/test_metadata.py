"""What picture files say of themselves, and what strangers make them say."""

import io
import struct
import zlib
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from PIL import ExifTags, Image, PngImagePlugin
from PIL.TiffImagePlugin import IFDRational

from scenesearch.pictures.metadata import read_sidecar
from scenesearch.pictures.opening import decode_image
from scenesearch.pictures.records import GeoPoint
from scenesearch.pictures.statements import PictureMetadata

Base = ExifTags.Base


def jpeg(exif: Image.Exif | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    if exif is not None:
        options["exif"] = exif
    Image.new("RGB", (60, 40), (200, 40, 40)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def said(data: bytes) -> PictureMetadata:
    return decode_image(data).metadata


def with_iptc(data: bytes, *records: tuple[int, bytes]) -> bytes:
    """The JPEG with an IPTC application record in Photoshop's block."""
    iptc = b"".join(
        struct.pack(">BBBH", 0x1C, 2, number, len(text)) + text for number, text in records
    )
    resource = b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)
    block = b"Photoshop 3.0\0" + resource
    return data[:2] + b"\xff\xed" + struct.pack(">H", len(block) + 2) + block + data[2:]


def xmp(properties: str, attributes: str = "") -> bytes:
    return f"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
    <x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
      xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
      xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
      xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/">
      <rdf:Description {attributes}>{properties}</rdf:Description></rdf:RDF></x:xmpmeta>
    <?xpacket end="w"?>""".encode()


def test_the_shot_is_read_from_exif() -> None:
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Model] = "NIKON CORPORATION", "NIKON D90"
    exif[Base.Rating] = 4
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[Base.DateTimeOriginal] = "2021:07:03 18:30:05"
    details[Base.OffsetTimeOriginal] = "-03:30"
    details[Base.ExposureTime], details[Base.FNumber] = IFDRational(1, 250), IFDRational(28, 10)
    details[Base.ISOSpeedRatings], details[Base.FocalLength] = 400, IFDRational(50)
    details[Base.LensModel] = "AF-S 50mm"
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitudeRef], gps[ExifTags.GPS.GPSLatitude] = "S", (33.0, 30.0, 0.0)
    gps[ExifTags.GPS.GPSLongitudeRef], gps[ExifTags.GPS.GPSLongitude] = "E", (18.0, 15.0, 0.0)
    assert said(jpeg(exif)) == PictureMetadata(
        taken=datetime(2021, 7, 3, 18, 30, 5, tzinfo=timezone(-timedelta(hours=3, minutes=30))),
        camera="NIKON D90",
        lens="AF-S 50mm",
        exposure_s=0.004,
        aperture=2.8,
        iso=400,
        focal_length_mm=50.0,
        location=GeoPoint(-33.5, 18.25),
        rating=4.0,
    )


def test_words_are_read_from_xmp_whichever_way_it_writes_them() -> None:
    packet = xmp(
        """<dc:title><rdf:Alt><rdf:li xml:lang="de">Hafen</rdf:li>
           <rdf:li xml:lang="x-default">Harbour</rdf:li></rdf:Alt></dc:title>
           <dc:description><rdf:Alt><rdf:li xml:lang="x-default">Boats at\n dusk.</rdf:li>
           </rdf:Alt></dc:description>
           <dc:subject><rdf:Bag><rdf:li>sea</rdf:li><rdf:li>Boat</rdf:li><rdf:li>SEA</rdf:li>
           </rdf:Bag></dc:subject>
           <photoshop:DateCreated>2020-05-06T07:08:09+02:00</photoshop:DateCreated>""",
        'xmp:Rating="3"',
    )
    found = said(jpeg(xmp=packet))
    assert (found.title, found.description) == ("Harbour", "Boats at dusk.")
    assert (found.tags, found.rating) == (("sea", "Boat"), 3.0)
    assert found.taken == datetime(2020, 5, 6, 5, 8, 9, tzinfo=UTC)
    assert found.notes == ()


def test_words_are_read_from_iptc_in_utf_8_or_not() -> None:
    data = with_iptc(jpeg(), (5, "Café".encode()), (25, b"sea"), (25, b"caf\xe9"), (120, b"At sea"))
    found = said(data)
    assert (found.title, found.description) == ("Café", "At sea")
    assert found.tags == ("sea", "café")


def test_words_that_windows_explorer_writes_are_read() -> None:
    exif = Image.Exif()
    exif[Base.XPTitle] = "Zoë\0".encode("utf-16-le")
    exif[Base.XPKeywords] = "dog; snow \0".encode("utf-16-le")
    found = said(jpeg(exif))
    assert (found.title, found.tags) == ("Zoë", ("dog", "snow"))


@pytest.mark.parametrize("noise", ["OLYMPUS DIGITAL CAMERA", "SONY DSC", "DCIM\\100MEDIA", "  "])
def test_what_cameras_write_as_a_description_is_none(noise: str) -> None:
    exif = Image.Exif()
    exif[Base.ImageDescription] = noise
    assert said(jpeg(exif)).description is None


def test_nonsense_costs_only_itself_and_is_noted() -> None:
    exif = Image.Exif()
    exif[Base.Model] = "Box\x00\x07 9"
    exif[Base.Rating] = 99
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[Base.DateTimeOriginal] = "2021:99:99 25:00:00"
    details[Base.ExposureTime], details[Base.FNumber] = IFDRational(1, 0), IFDRational(0, 0)
    details[Base.ISOSpeedRatings] = 0
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitude], gps[ExifTags.GPS.GPSLongitude] = (991.0, 0, 0), (0.0, 0, 0)
    found = said(jpeg(exif))
    assert found == PictureMetadata(camera="Box 9")
    assert sorted(found.notes) == [
        "the date '2021:99:99 25:00:00' is no date",
        "the place 991, 0 is not on Earth",
        "the rating 99 makes no sense",
    ]


def test_a_clock_that_was_never_set_and_a_fix_that_was_never_found_are_nothing() -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[Base.DateTimeOriginal] = "0000:00:00 00:00:00"
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitude] = gps[ExifTags.GPS.GPSLongitude] = (0.0, 0.0, 0.0)
    found = said(jpeg(exif))
    assert (found, found.notes) == (PictureMetadata(), ())


def test_exif_that_leads_nowhere_leaves_a_picture_and_a_note() -> None:
    entry = struct.pack("<HHII", Base.ExifOffset, 4, 1, 0xFFFFFFF0)
    loop = struct.pack("<HHII", Base.Make, 2, 0x7FFFFFFF, 8)
    absurd = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entry + loop + struct.pack("<I", 8)
    opened = decode_image(jpeg(exif=absurd))
    assert opened.image.size == (60, 40)
    assert opened.metadata.camera is None


def test_xmp_that_declares_entities_is_refused_unread() -> None:
    bomb = (
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
        b'<x xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">&b;</x>'
    )
    found = said(jpeg(xmp=bomb))
    assert found.title is None
    assert [note.split(":")[0] for note in found.notes] == ["XMP data is damaged"]


def test_xmp_of_a_png_and_of_a_webp_is_read(tmp_path: Path) -> None:
    packet = xmp("", 'xmp:Rating="5"')
    image = Image.new("RGB", (8, 8))
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", packet.decode())
    for name, options in (("a.png", {"pnginfo": text}), ("a.webp", {"xmp": packet})):
        image.save(tmp_path / name, **options)  # type: ignore[arg-type]
        assert said((tmp_path / name).read_bytes()).rating == 5.0


def test_what_a_png_says_after_its_pixels_is_read() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    whole = buffer.getvalue()
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp("", 'xmp:Rating="2"')
    chunk = struct.pack(">I", len(text)) + b"iTXt" + text
    chunk += struct.pack(">I", zlib.crc32(chunk[4:]))
    assert said(whole[:-12] + chunk + whole[-12:]).rating == 2.0


def test_a_flood_of_words_is_cut() -> None:
    items = "".join(f"<rdf:li>{n}{'x' * 250}</rdf:li>" for n in range(210))
    found = said(jpeg(xmp=xmp(f"<dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>")))
    assert len(found.tags) == 200
    assert {len(tag) for tag in found.tags} == {200}
    assert found.notes == (
        "210 tags are cut to 200 characters",
        "210 tags; the first 200 are kept",
    )


def test_a_title_and_a_description_without_end_are_cut_with_a_note() -> None:
    item = "<rdf:Alt><rdf:li>" + "x " * 4000 + "</rdf:li></rdf:Alt>"
    both = f"<dc:title>{item}</dc:title><dc:description>{item}</dc:description>"
    found = said(jpeg(xmp=xmp(both)))
    assert (len(found.title or ""), len(found.description or "")) == (199, 4999)
    assert found.notes == (
        "the title has 7,999 characters; the first 200 are kept",
        "the description has 7,999 characters; the first 5,000 are kept",
    )


def test_xmp_nested_without_end_is_read_down_to_a_depth() -> None:
    packet = xmp("<dc:title>Harbour</dc:title>" + "<rdf:Description>" * 60_000)
    found = read_sidecar(packet)
    assert found.title == "Harbour"
    assert found.notes == (
        "XMP data has more than 100 elements one inside the other; what comes before counts",
    )


@pytest.mark.parametrize(
    "flood",
    [
        "<dc:subject><rdf:Bag>" + "<rdf:li>x</rdf:li>" * 100_001 + "</rdf:Bag></dc:subject>",
        "<rdf:Seq>" + "<rdf:li/>" * 100_001 + "</rdf:Seq>",
        "<x " + " ".join(f'a{number}=""' for number in range(100_001)) + "/>",
    ],
    ids=["tags", "items", "attributes"],
)
def test_of_xmp_without_end_what_comes_first_counts(flood: str) -> None:
    found = read_sidecar(xmp("<dc:title>Harbour</dc:title>" + flood))
    assert found.title == "Harbour"
    assert found.notes == (
        "XMP data has more than 100,000 elements and attributes; what comes before counts",
    )


def test_more_items_than_a_property_has_are_left_out() -> None:
    items = "".join(f"<rdf:li>{number % 5}</rdf:li>" for number in range(3000))
    found = read_sidecar(xmp(f"<dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>"))
    assert found.tags == ("0", "1", "2", "3", "4")
    assert found.notes == ("XMP data has more than 1,000 subject items; the first count",)


def test_what_xmp_says_of_another_picture_is_not_this_ones() -> None:
    other = '<rdf:Description xmp:Rating="1"><dc:title>Other</dc:title></rdf:Description>'
    ingredients = f"<rdf:Bag><rdf:li>{other}</rdf:li></rdf:Bag>"
    found = read_sidecar(xmp(f"<photoshop:Pantry>{ingredients}</photoshop:Pantry>"))
    assert found == PictureMetadata()


def test_xmp_with_a_document_type_is_refused() -> None:
    declared = (
        b"<!DOCTYPE x [" + b'<!ATTLIST x a CDATA "">' * 10 + b"]>" + xmp("", 'xmp:Rating="3"')[60:]
    )
    found = read_sidecar(declared)
    assert found.rating is None
    assert [note.split(":")[0] for note in found.notes] == ["XMP data is damaged"]


def test_exif_of_more_numbers_than_anyone_writes_is_left_out() -> None:
    entries = struct.pack("<HHII", Base.Make, 2, 6, 2000)
    entries += struct.pack("<HHII", Base.WhitePoint, 5, 60_000, 2000)
    block = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4) + b"A" * 500_000
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "WEBP", exif=block)
    found = said(buffer.getvalue())
    assert (found.camera, found.notes) == (None, ("EXIF data of 60,000 numbers",))


def test_iptc_of_a_tiff_without_end_is_left_out() -> None:
    buffer = io.BytesIO()
    record = struct.pack(">BBBH", 0x1C, 2, 25, 1) + b"x"
    Image.new("RGB", (8, 8)).save(buffer, "TIFF", tiffinfo={33723: record * 50_000})
    found = said(buffer.getvalue())
    assert (found.tags, found.notes) == ((), ("IPTC data of more than 256 KiB",))
