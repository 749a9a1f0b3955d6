"""Metadata as people really have them: what a file says, and what must be read from it."""

import io
import json
import os
import struct
import tarfile
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational
from typer.testing import CliRunner

from ingest.payload import METADATA_VERSION
from ingest.pipeline import ingest
from ingest.report import IngestReport
from ingest.sidecar import pictures_of
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from scenesearch.commands.app import app
from scenesearch.pictures.metadata import read_sidecar
from scenesearch.pictures.moments import moment_in_name, read_moment
from scenesearch.pictures.opening import decode_image
from scenesearch.pictures.records import GeoPoint
from scenesearch.pictures.statements import PictureMetadata
from scenesearch.pictures.takeout import read_takeout, takeout_names, takeout_of
from scenesearch.search.filtering import conditions_in
from scenesearch.search.grammar import parse
from scenesearch.search.request import Order
from scenesearch.search.searcher import Searcher
from scenesearch.store.base import Point
from scenesearch.store.edge import EdgeStore
from tests.conftest import ColourEncoder

Base, Gps = ExifTags.Base, ExifTags.GPS


# --- files written by hand ------------------------------------------------------------------------


def exif_of(
    main: Mapping[int, Any] = {}, shot: Mapping[int, Any] = {}, gps: Mapping[int, Any] = {}
) -> Image.Exif:
    exif = Image.Exif()
    exif.update(main)
    exif.get_ifd(ExifTags.IFD.Exif).update(shot)
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(gps)
    return exif


def raw_text(text: bytes) -> str:
    """What Pillow must be given so that these bytes are written as EXIF text."""
    return text.decode("latin-1")


def jpeg(
    exif: Image.Exif | None = None,
    *,
    xmp: str = "",
    iptc: Sequence[tuple[int, int, bytes]] = (),
    image: Image.Image | None = None,
) -> bytes:
    """A JPEG with EXIF, the inside of a description in XMP, and records of IPTC."""
    buffer = io.BytesIO()
    options: dict[str, Any] = {} if exif is None else {"exif": exif_bytes(exif)}
    if xmp:
        options["xmp"] = packet(xmp)
    (image or Image.new("RGB", (60, 40), (200, 40, 40))).save(buffer, "JPEG", **options)
    data = buffer.getvalue()
    if not iptc:
        return data
    records = b"".join(struct.pack(">BBBH", 0x1C, r, n, len(text)) + text for r, n, text in iptc)
    block = b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(records)) + records
    block += b"\0" * (len(records) % 2)
    return data[:2] + b"\xff\xed" + struct.pack(">H", len(block) + 2) + block + data[2:]


def exif_bytes(exif: Image.Exif) -> bytes:
    # Pillow writes texts in ASCII and '?'; the letters are put back where they belong.
    places = [exif, exif.get_ifd(ExifTags.IFD.Exif)]
    texts = [
        (ifd, tag, text)
        for ifd in places
        for tag, text in list(ifd.items())
        if isinstance(text, str) and not text.isascii()
    ]
    for number, (ifd, tag, text) in enumerate(texts):
        ifd[tag] = f"@{number}".ljust(len(text), "@")
    data = exif.tobytes()
    for number, (_, _, text) in enumerate(texts):
        data = data.replace(f"@{number}".ljust(len(text), "@").encode(), text.encode("latin-1"), 1)
    return data


def packet(inside: str, before: str = "") -> bytes:
    names = {
        "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
        "dc": "http://purl.org/dc/elements/1.1/",
        "xmp": "http://ns.adobe.com/xap/1.0/",
        "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
        "exif": "http://ns.adobe.com/exif/1.0/",
        "photoshop": "http://ns.adobe.com/photoshop/1.0/",
        "lr": "http://ns.adobe.com/lightroom/1.0/",
        "digiKam": "http://www.digikam.org/ns/1.0/",
        "MicrosoftPhoto": "http://ns.microsoft.com/photo/1.0/",
        "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
        "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
        "MP": "http://ns.microsoft.com/photo/1.2/",
        "MPRI": "http://ns.microsoft.com/photo/1.2/t/RegionInfo#",
        "MPReg": "http://ns.microsoft.com/photo/1.2/t/Region#",
        "my": "http://example.org/mine/",
    }
    declared = " ".join(f'xmlns:{name}="{uri}"' for name, uri in names.items())
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {declared}>{before}'
        f'<rdf:Description rdf:about="">{inside}</rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()


def bag(name: str, *items: str) -> str:
    listed = "".join(f"<rdf:li>{item}</rdf:li>" for item in items)
    return f"<{name}><rdf:Bag>{listed}</rdf:Bag></{name}>"


def takeout(title: str, **said: Any) -> bytes:
    return json.dumps({"title": title, "photoTakenTime": {"timestamp": "0"}} | said).encode()


def said(data: bytes) -> PictureMetadata:
    return decode_image(data).metadata


def run(
    path: Path, store: EdgeStore, encoder: ColourEncoder, manifest: Path | None = None
) -> IngestReport:
    return ingest(
        find_sources([path], roots=Roots(), manifest=manifest),
        library="photos",
        encoder=encoder,
        store=store,
    )


def found(store: EdgeStore, text: str, today: date = date(2026, 11, 29)) -> list[str]:
    filters = parse(text, store.describe("photos").fields, today=today).filters
    where, _ = conditions_in(store, "photos", filters)
    return sorted(point.image_id for point in store.scroll("photos", where=where))


def payload(store: EdgeStore, image_id: str) -> Mapping[str, Any]:
    return store.retrieve("photos", [image_id])[image_id].payload


# --- text -----------------------------------------------------------------------------------------

DESCRIPTIONS = {
    "UTF-8": ("Dänemark, Übung am Strand".encode(), "Dänemark, Übung am Strand"),
    "Latin-1": ("Dänemark, Übung am Strand".encode("latin-1"), "Dänemark, Übung am Strand"),
    "Windows": ("the dog’s ball – 5 €".encode("cp1252"), "the dog’s ball – 5 €"),
    "emoji": ("Birthday 🎂 party".encode(), "Birthday 🎂 party"),
    "Japanese": ("東京タワー".encode(), "東京タワー"),
    "Cyrillic": ("Озеро утром".encode(), "Озеро утром"),
    "ASCII": (b"At sea", "At sea"),
}


@pytest.mark.parametrize("kind", DESCRIPTIONS)
def test_text_of_exif_is_utf_8_or_else_latin_1(kind: str) -> None:
    written, meant = DESCRIPTIONS[kind]
    text = raw_text(written)
    read = said(jpeg(exif_of({Base.ImageDescription: text, Base.Model: text}, {0xA434: text})))
    assert (read.description, read.camera, read.lens) == (meant, meant, meant)


@pytest.mark.parametrize(
    ("comment", "meant"),
    [
        (b"ASCII\0\0\0By the sea", "By the sea"),
        (b"ASCII\0\0\0" + "Dänemark".encode(), "Dänemark"),
        (b"ASCII\0\0\0" + "Dänemark".encode("latin-1"), "Dänemark"),
        (b"UNICODE\0" + "Dänemark".encode("utf-16-le"), "Dänemark"),
        (b"UNICODE\0" + "Dänemark".encode("utf-16-be"), "Dänemark"),
        (b"UNICODE\0" + "Озеро".encode("utf-16"), "Озеро"),
        (b"UNICODE\0plainly written", "plainly written"),
        (b"JIS\0\0\0\0\0" + "東京".encode("iso2022_jp"), "東京"),
        (b"\0\0\0\0\0\0\0\0Undeclared", "Undeclared"),
        (b"Undeclared from its first letter", "Undeclared from its first letter"),
        (b"ASCII\0\0\0" + b" " * 60, None),
        (b"\0\0\0\0\0\0\0\0" + bytes(range(64)), None),
    ],
)
def test_a_user_comment_is_read_in_its_declared_character_set(
    comment: bytes, meant: str | None
) -> None:
    assert said(jpeg(exif_of({}, {Base.UserComment: comment}))).description == meant


@pytest.mark.parametrize(
    ("declared", "written", "meant"),
    [
        (b"\x1b%G", "Dänemark".encode(), "Dänemark"),
        (b"\x1b%G", "Dänemark".encode("latin-1"), "Dänemark"),
        (b"\x1b.A", "Dänemark".encode("latin-1"), "Dänemark"),
        (b"\x1b.A", "Dänemark".encode(), "Dänemark"),
        (b"\x1b-B", "Łódź".encode("iso8859-2"), "Łódź"),
        (b"\x1b-L", "Озеро".encode("iso8859-5"), "Озеро"),
        (b"", "Dänemark".encode(), "Dänemark"),
        (b"", "Dänemark".encode("latin-1"), "Dänemark"),
    ],
)
def test_iptc_is_read_in_its_declared_character_set(
    declared: bytes, written: bytes, meant: str
) -> None:
    iptc = [(1, 90, declared)] if declared else []
    read = said(jpeg(iptc=[*iptc, (2, 5, written), (2, 25, written), (2, 120, written)]))
    assert (read.title, read.tags, read.description) == (meant, (meant,), meant)


# --- dates ----------------------------------------------------------------------------------------

# What is written -> when it begins, the zone in minutes, the first moment after it if it is a
# period.
DATES: dict[str, tuple[str, int | None, str | None] | None] = {
    "2019:07:04 18:30:05": ("2019-07-04T18:30:05", None, None),
    "2019-07-04 18:30:05": ("2019-07-04T18:30:05", None, None),
    "2019-07-04T18:30:05": ("2019-07-04T18:30:05", None, None),
    "2019:07:04T18:30:05": ("2019-07-04T18:30:05", None, None),
    "2019/07/04 18:30:05": ("2019-07-04T18:30:05", None, None),
    "2019.07.04 18:30:05": ("2019-07-04T18:30:05", None, None),
    "2019:07:04 18:30": ("2019-07-04T18:30:00", None, None),
    "2019:07:04 18:30:05.250": ("2019-07-04T18:30:05", None, None),
    "2019:07:04 8:30:05": ("2019-07-04T08:30:05", None, None),
    "20190704 183005": ("2019-07-04T18:30:05", None, None),
    "20190704T183005Z": ("2019-07-04T18:30:05", 0, None),
    "2019:07:04 18:30:05Z": ("2019-07-04T18:30:05", 0, None),
    "2019:07:04 18:30:05 +0900": ("2019-07-04T18:30:05", 540, None),
    "2019:07:04 18:30:05+09:00": ("2019-07-04T18:30:05", 540, None),
    "2019:07:04 18:30:05-0330": ("2019-07-04T18:30:05", -210, None),
    "2019:07:04 18:30:05+09": ("2019-07-04T18:30:05", 540, None),
    "2019-07-04T18:30:05.000-05:00": ("2019-07-04T18:30:05", -300, None),
    "2019:12:31 24:00:00": ("2020-01-01T00:00:00", None, None),
    "2019:12:31 24:00": ("2020-01-01T00:00:00", None, None),
    "2019:12:31 24:12:00": ("2019-12-31T00:12:00", None, None),
    "2016:12:31 23:59:60": ("2016-12-31T23:59:59", None, None),
    "2019:07:04": ("2019-07-04T00:00:00", None, "2019-07-05T00:00:00"),
    "2019/07/04": ("2019-07-04T00:00:00", None, "2019-07-05T00:00:00"),
    "2019:07:04   :  :  ": ("2019-07-04T00:00:00", None, "2019-07-05T00:00:00"),
    "1978": ("1978-01-01T00:00:00", None, "1979-01-01T00:00:00"),
    "1978-06": ("1978-06-01T00:00:00", None, "1978-07-01T00:00:00"),
    "1978-12": ("1978-12-01T00:00:00", None, "1979-01-01T00:00:00"),
    "1978:06:00 00:00:00": ("1978-06-01T00:00:00", None, "1978-07-01T00:00:00"),
    "1978:00:00 00:00:00": ("1978-01-01T00:00:00", None, "1979-01-01T00:00:00"),
    "1978:  :     :  :  ": ("1978-01-01T00:00:00", None, "1979-01-01T00:00:00"),
    "0000:00:00 00:00:00": None,
    "    :  :     :  :  ": None,
}
NO_DATES = (
    "2021:99:99 25:00:00",
    "2019:02:30 10:00:00",
    "yesterday",
    "4/7/2019",
    "2019:07:04 25:00",
)


@pytest.mark.parametrize("written", DATES)
def test_a_date_is_read_however_it_is_written(written: str) -> None:
    expected = DATES[written]
    moment = read_moment(written)
    if expected is None:
        assert moment is None
        return
    assert moment is not None
    start, minutes, until = expected
    zone = None if minutes is None else timezone(timedelta(minutes=minutes))
    assert moment.start.isoformat() == start
    assert (moment.zone, moment.until and moment.until.isoformat()) == (zone, until)
    # In EXIF and in XMP alike.
    in_exif = said(jpeg(exif_of({}, {Base.DateTimeOriginal: written})))
    in_xmp = read_sidecar(packet(f"<exif:DateTimeOriginal>{written}</exif:DateTimeOriginal>"))
    for read in (in_exif, in_xmp):
        assert read.taken == moment.aware()
        assert read.taken_until == moment.until


@pytest.mark.parametrize("written", NO_DATES)
def test_what_is_no_date_is_noted_and_the_next_source_counts(written: str) -> None:
    shot = {Base.DateTimeOriginal: written, Base.DateTimeDigitized: "2019:07:04 18:30:05"}
    read = said(jpeg(exif_of({}, shot)))
    assert read.taken == datetime(2019, 7, 4, 18, 30, 5)
    assert read.notes == (f"the date {written!r} is no date",)


@pytest.mark.parametrize(
    ("tag", "offset", "minutes"),
    [
        (Base.OffsetTimeOriginal, "+09:00", 540),
        (Base.OffsetTimeOriginal, "+0900", 540),
        (Base.OffsetTimeOriginal, "+09", 540),
        (Base.OffsetTimeOriginal, "-03:30", -210),
        (Base.OffsetTimeOriginal, "Z", 0),
        (Base.OffsetTime, "+02:00", 120),
        (Base.OffsetTimeDigitized, "+02:00", 120),
        (Base.OffsetTimeOriginal, "   :  ", None),
        (Base.OffsetTimeOriginal, "+99:00", None),
    ],
)
def test_an_offset_beside_the_date_is_its_zone(tag: int, offset: str, minutes: int | None) -> None:
    read = said(jpeg(exif_of({}, {Base.DateTimeOriginal: "2019:07:04 18:30:05", tag: offset})))
    zone = None if minutes is None else timezone(timedelta(minutes=minutes))
    assert read.taken == datetime(2019, 7, 4, 18, 30, 5, tzinfo=zone)


def test_iptc_has_a_day_a_time_and_parts_that_are_not_known() -> None:
    def taken(*iptc: tuple[int, int, bytes]) -> tuple[datetime | None, datetime | None]:
        read = said(jpeg(iptc=iptc))
        return read.taken, read.taken_until

    zone = timezone(timedelta(hours=2))
    exact = datetime(1978, 6, 1, 12, 30, tzinfo=zone)
    assert taken((2, 55, b"19780601"), (2, 60, b"123000+0200")) == (exact, None)
    assert taken((2, 55, b"19780601")) == (datetime(1978, 6, 1), datetime(1978, 6, 2))
    assert taken((2, 55, b"19780600")) == (datetime(1978, 6, 1), datetime(1978, 7, 1))
    assert taken((2, 55, b"19780000")) == (datetime(1978, 1, 1), datetime(1979, 1, 1))


NAMES = {
    "IMG_20190704_183005.jpg": "2019-07-04 18:30:05",
    "20190704_183005.jpg": "2019-07-04 18:30:05",
    "IMG20190704183005.jpg": "2019-07-04 18:30:05",
    "PXL_20190704_183005123.jpg": "2019-07-04 18:30:05+00:00",
    "MVIMG_20190704_183005.jpg": "2019-07-04 18:30:05",
    "20190704_183005(1).jpg": "2019-07-04 18:30:05",
    "2019-07-04 18.30.05.jpg": "2019-07-04 18:30:05",
    "Screenshot_20190704-183005.png": "2019-07-04 18:30:05",
    "Screenshot_2019-07-04-18-30-05-123_com.app.jpg": "2019-07-04 18:30:05",
    "Screenshot from 2019-07-04 18-30-05.png": "2019-07-04 18:30:05",
    "Screenshot 2019-07-04 at 18.30.05.png": "2019-07-04 18:30:05",
    "Screen Shot 2019-07-04 at 6.30.05 PM.png": "2019-07-04 18:30:05",
    "Screen Shot 2019-07-04 at 12.30.05 AM.png": "2019-07-04 00:30:05",
    "Screenshot 2019-07-04 at 11.30.05\u202fPM.png": "2019-07-04 23:30:05",
    "WhatsApp Image 2019-07-04 at 18.30.05.jpeg": "2019-07-04 18:30:05",
    "IMG-20190704-WA0001.jpg": "2019-07-04",
    "signal-2019-07-04-183005.jpg": "2019-07-04 18:30:05",
    "signal-2019-07-04-18-30-05-123.jpg": "2019-07-04 18:30:05",
    "photo_2019-07-04_18-30-05.jpg": "2019-07-04 18:30:05",
    "FB_IMG_1562265005123.jpg": "2019-07-04 18:30:05+00:00",
    "2019-07-04 beach.jpg": "2019-07-04",
    "IMG_20190704.jpg": "2019-07-04",
    "IMG_1234.jpg": None,
    "DSC01978.jpg": None,
    "20193132_101010.jpg": None,
    "IMG_20190231_101010.jpg": None,
    "1234567890123.jpg": None,
    "order-20190704.jpg": None,
    "4020190704_183005.jpg": None,
    "20190704_993005.jpg": None,
}


@pytest.mark.parametrize("name", NAMES)
def test_the_names_of_phones_messengers_and_screenshots_have_dates(name: str) -> None:
    moment = moment_in_name(name)
    assert (None if moment is None else str(moment)) == NAMES[name]


# --- places ---------------------------------------------------------------------------------------


UNKNOWN = IFDRational(0, 0)
# Latitude, its letter, longitude, its letter -> the place, and whether there is a note.
PLACES: dict[str, tuple[Any, str | None, Any, str | None, tuple[float, float] | None, bool]] = {
    "as the standard": ((36, 30, 0), "S", (174, 45, 0), "E", (-36.5, 174.75), False),
    "small letters": ((36, 30, 0), "s", (174, 45, 0), "w", (-36.5, -174.75), False),
    "words": ((36, 30, 0), "South", (174, 45, 0), "West", (-36.5, -174.75), False),
    "signed and S": ((-38.03, 0, 0), "S", (145.29, 0, 0), "E", (-38.03, 145.29), False),
    "signed and W": ((38.03, 0, 0), "N", (-95.29, 0, 0), "W", (38.03, -95.29), False),
    "signed, and N is wrong": ((-38, 30, 0), "N", (145, 0, 0), "E", (-38.5, 145), True),
    "signs alone": ((-38, 30, 0), None, (145, 0, 0), None, (-38.5, 145), True),
    "no letters": ((37, 47, 43), None, (144, 58, 31), None, None, True),
    "one letter": ((37, 47, 43), "S", (144, 58, 31), None, None, True),
    "an unknown letter": ((37, 47, 43), "?", (144, 58, 31), "E", None, True),
    "one number": ((36.5,), "S", (174.75,), "E", (-36.5, 174.75), False),
    "two numbers": ((36, 30.6), "S", (174, 45), "E", (-36.51, 174.75), False),
    "no seconds": ((36, 30, UNKNOWN), "S", (174, 45, 0), "E", (-36.5, 174.75), True),
    "no degrees": ((UNKNOWN, 30, 0), "S", (174, 45, 0), "E", None, True),
    "no fix": ((UNKNOWN,) * 3, "S", (UNKNOWN,) * 3, "E", None, False),
    "zeros": ((0, 0, 0), "N", (0, 0, 0), "E", None, False),
    "on the equator": ((0, 0, 0), "N", (32.5, 0, 0), "E", (0, 32.5), False),
    "off the Earth": ((95, 0, 0), "N", (174, 45, 0), "E", None, True),
    "99 minutes": ((36, 99, 0), "S", (174, 45, 0), "E", None, True),
}


@pytest.mark.parametrize("kind", PLACES)
def test_a_place_is_right_or_noted_and_never_mirrored(kind: str) -> None:
    latitude, north, longitude, east, expected, is_noted = PLACES[kind]
    gps = {
        Gps.GPSLatitude: latitude,
        Gps.GPSLatitudeRef: north,
        Gps.GPSLongitude: longitude,
        Gps.GPSLongitudeRef: east,
    }
    from scenesearch.pictures.metadata import _exif_place
    from scenesearch.pictures.statements import settle

    read = settle(list(_exif_place({tag: value for tag, value in gps.items() if value})))
    if expected is None:
        assert read.location is None
    else:
        assert read.location is not None
        assert (read.location.latitude, read.location.longitude) == pytest.approx(expected)
    assert bool(read.notes) is is_noted


@pytest.mark.parametrize(
    ("latitude", "longitude", "expected"),
    [
        ("57,44.5N", "10,35.4E", (57.7416667, 10.59)),
        ("57,44,30N", "10,35,24E", (57.7416667, 10.59)),
        ("57.75N", "10.59W", (57.75, -10.59)),
        ("-33.5", "18.25", (-33.5, 18.25)),
        ("57,44.5s", "10,35.4e", (-57.7416667, 10.59)),
        ("57.75", "10.59", None),
        ("somewhere", "10.59E", None),
        ("91N", "10E", None),
    ],
)
def test_places_of_xmp_are_read_alike(
    latitude: str, longitude: str, expected: tuple[float, float] | None
) -> None:
    read = read_sidecar(
        packet(
            f"<exif:GPSLatitude>{latitude}</exif:GPSLatitude>"
            f"<exif:GPSLongitude>{longitude}</exif:GPSLongitude>"
        )
    )
    if expected is None:
        assert read.location is None
        assert read.notes
    else:
        assert read.location == GeoPoint(*expected)


# --- XMP ------------------------------------------------------------------------------------------

FACE = '<rdf:li><rdf:Description mwg-rs:Name="{0}" mwg-rs:Type="{1}">{2}</rdf:Description></rdf:li>'


def regions(*faces: tuple[str, str, str]) -> str:
    listed = "".join(FACE.format(*face) for face in faces)
    return (
        '<mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:RegionList><rdf:Bag>'
        f"{listed}</rdf:Bag></mwg-rs:RegionList></mwg-rs:Regions>"
    )


XMP: dict[str, tuple[str, PictureMetadata]] = {
    "a face's tag and description": (
        regions(("Anna", "Face", bag("dc:subject", "bride") + "<dc:title>x</dc:title>")),
        PictureMetadata(people=("Anna",), tags=("Anna",)),
    ),
    "faces, and other regions": (
        regions(("Anna", "Face", ""), ("Rex", "Pet", ""), ("autofocus", "Focus", "")),
        PictureMetadata(people=("Anna",), tags=("Anna",)),
    ),
    "an ingredient's title, tags, rating and date": (
        "<xmpMM:Pantry><rdf:Bag><rdf:li><rdf:Description xmp:Rating='1' "
        "xmp:CreateDate='2001-01-01'><dc:title>stock</dc:title>"
        f"{bag('dc:subject', 'stock')}</rdf:Description></rdf:li></rdf:Bag></xmpMM:Pantry>"
        "<dc:title>My montage</dc:title>",
        PictureMetadata(title="My montage"),
    ),
    "properties of the same name elsewhere": (
        "<my:title>no</my:title><my:Rating>5</my:Rating><dc:title>yes</dc:title>",
        PictureMetadata(title="yes"),
    ),
    "the default of several languages": (
        '<dc:title><rdf:Alt><rdf:li xml:lang="de">Hafen</rdf:li>'
        '<rdf:li xml:lang="x-default">Harbour</rdf:li></rdf:Alt></dc:title>',
        PictureMetadata(title="Harbour"),
    ),
    "a value with qualifiers": (
        '<dc:title rdf:parseType="Resource"><rdf:value>Harbour</rdf:value>'
        "<my:by>me</my:by></dc:title>",
        PictureMetadata(title="Harbour"),
    ),
    "xmp:Rating before Microsoft's": (
        "<MicrosoftPhoto:Rating>99</MicrosoftPhoto:Rating><xmp:Rating>2</xmp:Rating>",
        PictureMetadata(rating=2.0),
    ),
    "Microsoft's rating alone": (
        "<MicrosoftPhoto:Rating>50</MicrosoftPhoto:Rating>",
        PictureMetadata(rating=3.0),
    ),
    "a senseless rating, then Microsoft's": (
        "<xmp:Rating>lots</xmp:Rating><MicrosoftPhoto:Rating>99</MicrosoftPhoto:Rating>",
        PictureMetadata(rating=5.0),
    ),
    "Lightroom's hierarchy": (
        bag("lr:hierarchicalSubject", "Places|Denmark|Skagen", "sea"),
        PictureMetadata(tags=("Places", "Denmark", "Skagen", "sea")),
    ),
    "digiKam's, with its own flags": (
        bag("digiKam:TagsList", "Places/Denmark", "_Digikam_Internal_Tags_/Pick Label None"),
        PictureMetadata(tags=("Places", "Denmark")),
    ),
    "people": (
        bag("Iptc4xmpExt:PersonInImage", "Anna Berg", "Bo"),
        PictureMetadata(people=("Anna Berg", "Bo"), tags=("Anna Berg", "Bo")),
    ),
    "Windows' people": (
        '<MP:RegionInfo rdf:parseType="Resource"><MPRI:Regions><rdf:Bag>'
        '<rdf:li MPReg:PersonDisplayName="Anna"/></rdf:Bag></MPRI:Regions></MP:RegionInfo>',
        PictureMetadata(people=("Anna",), tags=("Anna",)),
    ),
    "a date with a year": (
        "<photoshop:DateCreated>1978</photoshop:DateCreated>",
        PictureMetadata(taken=datetime(1978, 1, 1), taken_until=datetime(1979, 1, 1)),
    ),
    "a date as EXIF writes it": (
        "<exif:DateTimeOriginal>2022:05:15 13:19:37.000</exif:DateTimeOriginal>",
        PictureMetadata(taken=datetime(2022, 5, 15, 13, 19, 37)),
    ),
}


@pytest.mark.parametrize("kind", XMP)
def test_xmp_says_of_the_picture_what_its_own_description_says(kind: str) -> None:
    inside, expected = XMP[kind]
    assert read_sidecar(packet(inside)) == expected


def test_a_description_of_something_else_beside_the_pictures_own_does_not_count() -> None:
    about = '<rdf:Description rdf:about="uuid:2" xmp:Rating="1">'
    other = f"{about}<dc:title>x</dc:title></rdf:Description>"
    own = '<rdf:Description rdf:about="uuid:1" xmp:Rating="4"/>'
    assert read_sidecar(packet("<dc:title>mine</dc:title>", own + other)) == PictureMetadata(
        title="mine", rating=4.0
    )


# --- which source counts --------------------------------------------------------------------------


def test_sources_count_in_their_documented_order_and_one_that_makes_no_sense_blocks_none(
    tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder
) -> None:
    """Sources are taken away one after the other; the next one counts."""
    name = "IMG_20110101_111111.jpg"
    folder = tmp_path / "p"
    folder.mkdir()

    def xmp_of(number: int) -> str:
        return (
            f"<dc:title>title {number}</dc:title><dc:description>words {number}</dc:description>"
            f"<xmp:Rating>{number}</xmp:Rating>"
            f"<photoshop:DateCreated>201{number}-06-01T10:00:00</photoshop:DateCreated>"
        )

    iptc = [(2, 5, b"title 3"), (2, 120, b"words 3"), (2, 55, b"20130601"), (2, 60, b"100000")]
    windows = "title 2".encode("utf-16-le")
    exif = exif_of(
        {Base.ImageDescription: "words 2", Base.Rating: 2, 0x9C9B: windows},
        {Base.DateTimeOriginal: "2012:06:01 10:00:00"},
    )

    def read() -> tuple[Any, ...]:
        run(folder, store, colour_encoder)
        stored = payload(store, name)
        keys = ("title", "captions", "rating", "taken", "taken_guessed")
        return tuple(stored.get(key) for key in keys)

    (folder / name).write_bytes(jpeg(exif, xmp=xmp_of(4), iptc=iptc))
    (folder / f"{name}.xmp").write_bytes(packet(xmp_of(5)))
    google = takeout(name, description="words of Google")
    (folder / f"{name}.json").write_bytes(google)
    assert read() == ("title 5", ["words 5"], 5.0, "2015-06-01T10:00:00", None)
    (folder / f"{name}.xmp").unlink()
    assert read() == ("title 4", ["words of Google"], 4.0, "2014-06-01T10:00:00", None)
    (folder / f"{name}.json").unlink()
    assert read() == ("title 4", ["words 4"], 4.0, "2014-06-01T10:00:00", None)
    (folder / name).write_bytes(jpeg(exif, iptc=iptc))
    assert read() == ("title 3", ["words 3"], 2.0, "2013-06-01T10:00:00", None)
    (folder / name).write_bytes(jpeg(exif))
    assert read() == ("title 2", ["words 2"], 2.0, "2012-06-01T10:00:00", None)
    (folder / f"{name}.json").write_bytes(takeout(name, photoTakenTime={"timestamp": "86400"}))
    (folder / name).write_bytes(jpeg())
    assert read() == (None, None, None, "1970-01-02T00:00:00", None)
    (folder / f"{name}.json").unlink()
    assert read() == (None, None, None, "2011-01-01T11:11:11", True)


def test_a_day_gets_its_time_and_a_time_its_zone_from_another_source() -> None:
    shot = {Base.DateTimeOriginal: "2019:07:04 18:30:05", Base.OffsetTimeOriginal: "+02:00"}
    exact = datetime(2019, 7, 4, 18, 30, 5, tzinfo=timezone(timedelta(hours=2)))
    for written in ("2019-07-04", "2019", "2019-07-04T18:30:05"):
        created = f"<photoshop:DateCreated>{written}</photoshop:DateCreated>"
        assert said(jpeg(exif_of({}, shot), xmp=created)).taken == exact
    # A scan of 2019 of a picture of 1978.
    old = said(jpeg(exif_of({}, shot), xmp="<photoshop:DateCreated>1978</photoshop:DateCreated>"))
    assert (old.taken, old.taken_until) == (datetime(1978, 1, 1), datetime(1979, 1, 1))


# --- days -----------------------------------------------------------------------------------------


@pytest.fixture
def days(tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder) -> EdgeStore:
    """Pictures around the turn of a year, dated partly, and by their names."""
    written = {
        "ny": exif_of({}, {0x9003: "2019:12:31 23:30:00", 0x9011: "-05:00"}),
        "nowhere": exif_of({}, {0x9003: "2019:12:31 23:30:00"}),
        "tokyo": exif_of({}, {0x9003: "2020:01:01 06:00:00", 0x9011: "+09:00"}),
        "year": exif_of({}, {0x9003: "1978"}),
        "month": exif_of({}, {0x9003: "1978:06"}),
        "day": exif_of({}, {0x9003: "1978:06:15"}),
        "IMG_20180203_040506": None,
        "undated": None,
    }
    for seed, (name, exif) in enumerate(written.items()):
        image = Image.new("RGB", (60, 40), (30 * seed, 200, 40))
        (tmp_path / f"{name}.jpg").write_bytes(jpeg(exif, image=image))
    run(tmp_path, store, colour_encoder)
    return store


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("taken:2019-12-31", "nowhere ny"),
        ("taken:2020-01-01", "tokyo"),
        ("taken:2019", "nowhere ny"),
        ("taken:2020", "tokyo"),
        ("taken:>2019", "tokyo"),
        ("taken:2019-12-31T23:30", "nowhere ny"),
        ("taken:today", "nowhere ny"),
        ("taken:yesterday", ""),
        ("taken:2020-01-01T04:30Z", "ny"),
        ("taken:2020-01-01T13:30+09:00", "ny"),
        ("taken:2019-12-31T21:00Z", "tokyo"),
        ("taken_at:2020-01-01", "ny"),
        ("has:taken_at", "ny tokyo"),
        ("taken:1978", "day month year"),
        ("taken:1970s", "day month year"),
        ("taken:1978-06", "day month"),
        ("taken:1978-06-15", "day"),
        ("taken:1978-06-01", ""),
        ("taken:..1978-06-15", "day"),
        ("taken:<1979", "day month year"),
        ("taken:<1978-07", "day month"),
        ("taken:1978-06..", "IMG_20180203_040506 day month nowhere ny tokyo"),
        ("-taken:1978-06", "IMG_20180203_040506 nowhere ny tokyo undated year"),
        ("taken:1978-06-15,2020", "day tokyo"),
        ("taken:2018", "IMG_20180203_040506"),
        ("has:taken", "day month nowhere ny tokyo year"),
        ("-has:taken", "IMG_20180203_040506 undated"),
        ("has:taken,taken_guessed", "IMG_20180203_040506 day month nowhere ny tokyo year"),
        ("taken_guessed:yes", "IMG_20180203_040506"),
        ("taken:2018 has:taken", ""),
        ("has:taken_until", "day month year"),
    ],
)
def test_a_pictures_day_is_its_local_one_and_part_of_a_date_a_period(
    days: EdgeStore, asked: str, expected: str
) -> None:
    ids = found(days, asked, today=date(2019, 12, 31))
    assert " ".join(name.removesuffix(".jpg") for name in ids) == expected


def test_sorting_agrees_with_the_local_days(
    days: EdgeStore, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")  # whose clock has hours twice
    searcher = Searcher(colour_encoder, days, "photos")
    answer = searcher.search("taken:2018..", sort=Order("taken"), collapse=False)
    names = [hit.image_id.removesuffix(".jpg") for hit in answer.hits]
    assert names == ["IMG_20180203_040506", "nowhere", "ny", "tokyo"]


def test_a_column_of_a_manifest_has_local_days_too(
    tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder
) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg(exif_of({}, {0x9003: "1978"})))
    table = folder / "m.csv"
    table.write_text("image,taken\na.jpg,2019-12-31T23:30:00-05:00\n")
    run(table, store, colour_encoder)
    assert found(store, "taken:2019-12-31") == found(store, "taken:2020-01-01T04:30Z") == ["a.jpg"]
    assert run(table, store, colour_encoder).skipped == 1
    table.write_text("image,taken\na.jpg,2018-12-31T23:30:00\n")
    run(table, store, colour_encoder)
    assert found(store, "taken:2018") == ["a.jpg"]
    assert "taken_until" not in payload(store, "a.jpg")


def test_people_of_a_manifest_and_of_the_file_are_joined(
    tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder
) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(xmp=bag("Iptc4xmpExt:PersonInImage", "Anna", "Bo")))
    table = tmp_path / "m.csv"
    table.write_text("image,people,favourite\na.jpg,Cleo; anna,yes\n")
    run(table, store, colour_encoder)
    stored = payload(store, "a.jpg")
    assert (stored["people"], stored["favourite"]) == (["Cleo", "anna", "Bo"], True)
    assert found(store, "people:cleo favourite:yes") == found(store, "people:bo") == ["a.jpg"]
    assert run(table, store, colour_encoder).skipped == 1


def test_pictures_that_an_earlier_version_read_are_read_anew_without_encoding(
    tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder
) -> None:
    (tmp_path / "a.jpg").write_bytes(
        jpeg(exif_of({}, {0x9003: "2019:12:31 23:30:00", 0x9011: "-05:00"}))
    )
    run(tmp_path, store, colour_encoder)
    (point,) = store.retrieve("photos", ["a.jpg"], with_vectors=True).values()
    old = {
        key: value
        for key, value in point.payload.items()
        if key not in ("metadata_version", "taken_at", "own")
    }
    old |= {"taken": "2019-12-31T23:30:00-05:00", "own": {"fields": ["taken"]}}
    store.upsert("photos", [Point("a.jpg", point.vector, old)])
    assert found(store, "taken:2019-12-31") == []
    assert run(tmp_path, store, colour_encoder).written == 1
    assert found(store, "taken:2019-12-31") == ["a.jpg"]
    assert payload(store, "a.jpg")["metadata_version"] == METADATA_VERSION
    assert colour_encoder.encoded == 1
    assert run(tmp_path, store, colour_encoder).skipped == 1


# --- files beside pictures ------------------------------------------------------------------------

LONG = "Screenshot_20240102_030405_a_program_with_a_long_name.jpg"
# The picture, its JSON.
TAKEOUT = {
    "IMG_1.jpg": "IMG_1.jpg.json",
    "IMG_2.jpg": "IMG_2.jpg.supplemental-metadata.json",
    "IMG_3.jpg": "IMG_3.jpg.supplemental-me.json",
    "IMG_4.jpg": "IMG_4.jpg.s.json",
    "IMG_5.jpg": "IMG_5.jpg..json",
    "IMG_6(1).jpg": "IMG_6.jpg(1).json",
    "IMG_7(2).jpg": "IMG_7.jpg.supplemental-metadata(2).json",
    "IMG_8(1).jpg": "IMG_8(1).jpg.json",
    "IMG_9-edited.jpg": "IMG_9.jpg.json",
    "IMG_10-bearbeitet.jpg": "IMG_10.jpg.supplemental-metadata.json",
    "IMG_11-edited(1).jpg": "IMG_11.jpg(1).json",
    "IMG_12.JPG": "img_12.jpg.JSON",
    "IMG_13.jpg": "IMG_13.json",
    LONG: f"{LONG[:46]}.json",
    f"{LONG[:47]}.jpg": f"{LONG[:46]}.json",
    "IMG_14(1).jpg": None,  # the next is of the first copy
    "IMG_15.jpg": None,
    "IMG_1.png": None,
}
JSONS = [*filter(None, TAKEOUT.values()), "IMG_14.jpg(2).json", "IMG_15.jpg.notes.json"]
JSONS += ["metadata.json", "IMG_16.jpg.json"]


@pytest.mark.parametrize("picture", TAKEOUT)
def test_the_json_of_takeout_is_found_under_all_its_names(picture: str) -> None:
    assert takeout_of(picture, takeout_names(JSONS)) == TAKEOUT[picture]


def test_what_takeout_says_is_read_in_folders_and_in_archives(
    tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder
) -> None:
    words = takeout(
        "IMG_1.jpg",
        description="At the lake",
        photoTakenTime={"timestamp": "1562265005", "formatted": "Jul 4, 2019"},
        geoData={"latitude": 57.7, "longitude": 10.6, "altitude": 0.0},
        people=[{"name": "Anna"}, {"name": "Bo"}],
        favorited=True,
        imageViews="12",
    )
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "IMG_1.jpg").write_bytes(jpeg())
    (folder / "IMG_1.jpg.supplemental-metadata.json").write_bytes(words)
    (folder / "IMG_2.jpg").write_bytes(jpeg(image=Image.new("RGB", (60, 40), "blue")))
    (folder / "IMG_2.jpg.json").write_text('{"title": 7, "camera": "not of Takeout"}')
    with tarfile.open(folder / "takeout.tar", "w") as archive:
        for name in ("IMG_1.jpg", "IMG_1.jpg.supplemental-metadata.json"):
            archive.add(folder / name, f"Takeout/{name}")
    report = run(folder, store, colour_encoder)
    assert (report.written, report.rejected) == (3, 0)
    expected = {
        "taken": "2019-07-04T18:30:05",
        "taken_at": "2019-07-04T18:30:05+00:00",
        "location": {"lat": 57.7, "lon": 10.6},
        "captions": ["At the lake"],
        "people": ["Anna", "Bo"],
        "tags": ["Anna", "Bo"],
        "favourite": True,
    }
    for image_id in ("IMG_1.jpg", "takeout.tar/Takeout/IMG_1.jpg"):
        stored = payload(store, image_id)
        assert {key: stored.get(key) for key in expected} == expected
        assert not {"imageViews", "photoTakenTime"} & set(stored)
    assert found(store, "favourite:yes people:anna near:57.7,10.6,1km") == [
        "IMG_1.jpg",
        "takeout.tar/Takeout/IMG_1.jpg",
    ]
    assert dict(store.facet("photos", "people", limit=5)) == {"Anna": 2, "Bo": 2}
    assert "camera" not in payload(store, "IMG_2.jpg")
    # A change is found without a change of the picture, and costs no encoding.
    encoded = colour_encoder.encoded
    (folder / "IMG_1.jpg.supplemental-metadata.json").write_bytes(takeout("IMG_1.jpg"))
    os.utime(folder / "IMG_1.jpg.supplemental-metadata.json", (1, 1))
    run(folder, store, colour_encoder)
    assert "people" not in payload(store, "IMG_1.jpg")
    assert colour_encoder.encoded == encoded


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{}", b'"x"', b'{"title": "a"}', b"[" * 100_000, b"\xff\xfe", b'{"title": 1}'],
)
def test_json_that_is_not_of_takeout_is_left_alone(text: bytes) -> None:
    assert read_takeout(text) is None


def test_nonsense_in_takeout_costs_only_itself() -> None:
    read = read_takeout(
        takeout(
            "a.jpg",
            photoTakenTime={"timestamp": "soon"},
            geoData={"latitude": 99, "longitude": 10},
            geoDataExif={"latitude": 57.5, "longitude": 10.5},
            people=[{"name": 7}, "Bo", {"name": "Anna"}],
            description=["no text"],
            favorited="true",
        )
    )
    assert read == PictureMetadata(location=GeoPoint(57.5, 10.5), people=("Anna",), tags=("Anna",))
    assert read.notes == ("the date 'soon' is no date", "the place 99, 10 is not on Earth")


@pytest.mark.parametrize(
    ("picture", "beside", "expected"),
    [
        ("a.JPG", ["a.jpg.xmp"], "a.jpg.xmp"),
        ("a.jpg", ["A.JPG.XMP"], "A.JPG.XMP"),
        ("a.jpg", ["a.jpg.Xmp"], "a.jpg.Xmp"),
        ("a.jpg", ["A.xmp"], "A.xmp"),
        ("a.jpg", ["A.jpg.xmp", "a.jpg.xmp"], "a.jpg.xmp"),
        ("a.jpg", ["a.xmp", "A.jpg.xmp"], "A.jpg.xmp"),
        ("a.jpg", ["b.jpg.xmp"], None),
    ],
)
def test_side_files_match_in_upper_and_lower_case(
    picture: str,
    beside: list[str],
    expected: str | None,
    tmp_path: Path,
    store: EdgeStore,
    colour_encoder: ColourEncoder,
) -> None:
    (tmp_path / picture).write_bytes(jpeg())
    for name in beside:
        (tmp_path / name).write_bytes(packet(f"<dc:title>{name}</dc:title>"))
    run(tmp_path, store, colour_encoder)
    assert payload(store, picture).get("title") == expected
    if expected is not None:
        assert pictures_of([tmp_path / expected]) == [tmp_path / picture]


# --- library show ---------------------------------------------------------------------------------


def test_library_show_tells_where_values_come_from_and_what_was_ignored(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path / "data"))
    folder = tmp_path / "p"
    folder.mkdir()
    shot = {0x9003: "2019:07:04 18:30:05", Base.LensModel: "Glass"}
    xmp = "<xmp:Rating>9</xmp:Rating><dc:title>In the file</dc:title>"
    (folder / "a.jpg").write_bytes(jpeg(exif_of({Base.Rating: 3}, shot), xmp=xmp))
    (folder / "a.xmp").write_bytes(packet("<dc:title>Beside</dc:title>" + bag("dc:subject", "sea")))
    table = folder / "m.csv"
    table.write_text("image,lens,price,tags\na.jpg,Told,3,boat\n")
    store = EdgeStore(tmp_path / "data" / "edge")
    sources = find_sources([table], roots=Roots())
    ingest(sources, library="photos", encoder=colour_encoder, store=store)
    store.close()

    def shown(*words: str) -> dict[str, Any]:
        result = CliRunner().invoke(app, ["library", "show", *words, "--json"])
        assert result.exit_code == 0, result.output
        document: dict[str, Any] = json.loads(result.stdout)
        return document

    known = shown(str(folder / "a.jpg"))
    facts = {one["field"]: (one["value"], one["source"]) for one in known["facts"]}
    assert facts["title"] == ("Beside", "side file dc:title")
    assert facts["taken"] == ("2019-07-04T18:30:05", "EXIF DateTimeOriginal")
    assert facts["rating"] == (3.0, "EXIF Rating")
    assert facts["lens"] == ("Told", "manifest")
    assert facts["price"] == (3, "manifest")
    assert facts["tags"] == (["boat", "sea"], "manifest, side file")
    assert facts["width"] == (60, "the file")
    text = CliRunner().invoke(app, ["library", "show", "a", "--library", "photos"])
    assert "side file dc:title" in text.stdout
    missing = CliRunner().invoke(app, ["library", "show", "none.jpg"])
    assert missing.exit_code != 0


def test_library_show_of_a_file_outside_the_library_says_what_would_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path / "data"))
    picture = tmp_path / "IMG_20190704_183005.jpg"
    gps = {Gps.GPSLatitude: (37.0, 47.0, 43.0), Gps.GPSLongitude: (144.0, 58.0, 31.0)}
    xmp = "<xmp:Rating>9</xmp:Rating>"
    picture.write_bytes(
        jpeg(exif_of({Base.Rating: 3}, {0x9003: "2018:01:01 10:00:00"}, gps), xmp=xmp)
    )
    result = CliRunner().invoke(app, ["library", "show", str(picture), "--json"])
    known = json.loads(result.stdout)
    ignored = [(one["field"], one["source"], one["why"]) for one in known["ignored"]]
    assert ignored == [
        ("taken", "file name", "EXIF DateTimeOriginal counts before it"),
        ("location", "EXIF GPS", "the place does not say north or south"),
        ("rating", "XMP xmp:Rating", "the rating 9 makes no sense"),
    ]


# --- a real archive -------------------------------------------------------------------------------


@pytest.mark.shared
def test_a_real_archive_gives_exactly_the_records_predicted(
    shared_data: Path, tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder
) -> None:
    """Twelve photographs as cameras, programs and Takeout leave them."""
    photographs = sorted((shared_data / "data" / "practicum" / "train_images").glob("*.jpg"))[:12]
    opened = [Image.open(path).convert("RGB") for path in photographs]
    folder = tmp_path / "p"
    (folder / "Takeout").mkdir(parents=True)

    def put(name: str, number: int, *args: Any, **options: Any) -> None:
        (folder / name).write_bytes(jpeg(*args, image=opened[number], **options))

    camera = {Base.Make: "NIKON CORPORATION", Base.Model: "NIKON D90"}
    south = {1: "S", 2: (33.0, 30.0, 0.0), 3: "E", 4: (18.0, 15.0, 0.0)}
    shot = {0x9003: "2019:12:31 23:30:00", 0x9011: "-05:00", Base.FNumber: IFDRational(28, 10)}
    put("a.jpg", 0, exif_of(camera, shot, south))
    put("b.jpg", 1, exif_of({Base.ImageDescription: raw_text("Dänemark".encode())}))
    put("c.jpg", 2, iptc=[(2, 5, "Łódź".encode()), (2, 25, b"city"), (2, 55, b"19780600")])
    put(
        "d.jpg",
        3,
        xmp=bag("lr:hierarchicalSubject", "Places|Skagen") + regions(("Anna", "Face", "")),
    )
    put("e.JPG", 4, exif_of({Base.Rating: 2}))
    (folder / "e.jpg.XMP").write_bytes(packet("<xmp:Rating>5</xmp:Rating><dc:title>T</dc:title>"))
    put("Takeout/IMG_6(1).jpg", 5)
    (folder / "Takeout" / "IMG_6.jpg.supplemental-me(1).json").write_bytes(
        takeout("IMG_6.jpg", photoTakenTime={"timestamp": "1562265005"}, favorited=True)
    )
    put("Takeout/IMG_7-edited.jpg", 6)
    (folder / "Takeout" / "IMG_7.jpg.json").write_bytes(
        takeout("IMG_7.jpg", description="At the lake", people=[{"name": "Bo"}])
    )
    put("IMG-20190704-WA0001.jpg", 7)
    put(
        "i.jpg",
        8,
        exif_of({}, {0x9003: "2021:99:99 25:00:00"}, {2: (37.0, 0, 0), 4: (144.0, 0, 0)}),
    )
    put(
        "j.jpg",
        9,
        xmp="<xmp:Rating>0</xmp:Rating><MicrosoftPhoto:Rating>75</MicrosoftPhoto:Rating>",
    )
    lying = exif_of({Base.Orientation: 6})
    (folder / "k.tif").write_bytes(tiff_of(opened[10], lying))
    put("l.jpg", 11)
    report = run(folder, store, colour_encoder)
    own = ("path", "size_bytes", "modified", "sidecar", "image_id", "sha256", "phash", "width")
    own += ("height", "orientation", "folder", "own", "metadata_version")
    records = {
        point.image_id: {key: value for key, value in point.payload.items() if key not in own}
        for point in store.scroll("photos")
    }
    assert records == {
        "a.jpg": {
            "camera": "NIKON D90",
            "taken": "2019-12-31T23:30:00",
            "taken_at": "2019-12-31T23:30:00-05:00",
            "aperture": 2.8,
            "location": {"lat": -33.5, "lon": 18.25},
        },
        "b.jpg": {"captions": ["Dänemark"]},
        "c.jpg": {
            "title": "Łódź",
            "tags": ["city"],
            "taken": "1978-06-01T00:00:00",
            "taken_until": "1978-07-01T00:00:00",
        },
        "d.jpg": {"tags": ["Places", "Skagen", "Anna"], "people": ["Anna"]},
        "e.JPG": {"rating": 5.0, "title": "T"},
        "Takeout/IMG_6(1).jpg": {
            "taken": "2019-07-04T18:30:05",
            "taken_at": "2019-07-04T18:30:05+00:00",
            "favourite": True,
        },
        "Takeout/IMG_7-edited.jpg": {
            "captions": ["At the lake"],
            "people": ["Bo"],
            "tags": ["Bo"],
            "taken": "1970-01-01T00:00:00",
            "taken_at": "1970-01-01T00:00:00+00:00",
        },
        "IMG-20190704-WA0001.jpg": {
            "taken": "2019-07-04T00:00:00",
            "taken_until": "2019-07-05T00:00:00",
            "taken_guessed": True,
        },
        "i.jpg": {},
        "j.jpg": {"rating": 4.0},
        "k.tif": {},
        "l.jpg": {},
    }
    stored = payload(store, "k.tif")
    assert (stored["width"], stored["height"]) == opened[10].size[::-1]
    assert sorted(note for _, note in report.notes) == [
        "the date '2021:99:99 25:00:00' is no date",
        "the place does not say north or south",
    ]


def tiff_of(image: Image.Image, exif: Image.Exif) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "TIFF", exif=exif.tobytes())
    return buffer.getvalue()
