"""Reads a picture's metadata: EXIF, IPTC and XMP, each part checked on its own.

Strangers wrote these files. So text is cut and stripped of control characters, numbers must make
sense, and XML may not declare entities. A value that makes no sense is left out with a note, and so
is anything larger than programs write, so that no file takes long to read. What each source says
becomes statements; `statements.settle` decides between them.
"""

import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from PIL import ExifTags, Image, IptcImagePlugin

from scenesearch.errors import first_line
from scenesearch.pictures.moments import Moment, moment_in_name, read_moment
from scenesearch.pictures.places import PlaceError, place_of_exif, place_of_xmp
from scenesearch.pictures.records import MAX_CAPTION_CHARS
from scenesearch.pictures.statements import (
    EXIF,
    FILE_NAME,
    IPTC,
    SIDE_FILE,
    XMP,
    PictureMetadata,
    Statement,
    settle,
)
from scenesearch.pictures.structure import MAX_EXIF_VALUES, tag_values
from scenesearch.pictures.words import MAX_CHARS, decoded, is_camera_noise, one_line
from scenesearch.pictures.xmp import Xmp, read_xmp

# A record has at least 6 bytes; all IPTC data of a JPEG fits in 64 KiB.
_MAX_IPTC_BYTES: Final = 256 * 1024

# What Pillow raises on damaged data of any kind.
DAMAGE: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    struct.error,
)
# And on damaged EXIF and IPTC data.
_DAMAGE: Final = (*DAMAGE, AttributeError, MemoryError, RecursionError)

_EXIF = ExifTags.Base
_RATING_PERCENT: Final = 0x4749
_IPTC_TAG, _XMP_TAG = 33723, 700  # of TIFF

# Dates: when the picture was taken, when it was scanned or written, when the file was changed.
_ORIGINAL, _DIGITIZED, _CHANGED = 0, 1, 2
_GUESSED: Final = 9


def read_metadata(image: Image.Image) -> PictureMetadata:
    """The metadata of an opened, not yet decoded picture."""
    notes: list[str] = []
    try:
        block = image.info.get("exif")
        exif = image.getexif()
        if isinstance(block, bytes) and (values := tag_values(block)) > MAX_EXIF_VALUES:
            notes.append(f"EXIF data of {values:,} numbers")
            exif.load(b"")  # also for later callers of `getexif`
    except _DAMAGE as error:
        notes.append(f"EXIF data is damaged: {first_line(error)}")
        exif = Image.Exif()
    said = [*_of_exif(exif, notes), *_of_iptc(_iptc(image, notes))]
    said += _of_xmp(_embedded_xmp(image.info.get("xmp"), notes), XMP)
    return settle(said, notes)


def read_raw_metadata(data: bytes) -> PictureMetadata:
    """The metadata of a camera RAW file that is a kind of TIFF; empty for other kinds."""
    exif, notes = Image.Exif(), list[str]()
    try:
        exif.load(data)
        packet = exif.get(_XMP_TAG)
        said = [*_of_exif(exif, notes), *_of_xmp(_embedded_xmp(packet, notes), XMP)]
        return settle(said, notes)
    except _DAMAGE:
        return PictureMetadata()


def read_sidecar(packet: bytes) -> PictureMetadata:
    """The metadata of an XMP file beside a picture."""
    notes: list[str] = []
    xmp = read_xmp(packet, notes)
    return settle(list(_of_xmp(xmp, SIDE_FILE)), notes)


def date_in_name(name: str) -> Iterator[Statement]:
    """What the name of the file says of when the picture was taken: a guess."""
    if (moment := moment_in_name(name)) is not None:
        yield Statement("taken", FILE_NAME, "", moment, "guessed", False, _GUESSED)


# --- EXIF --------------------------------------------------------------------------------------


def _of_exif(exif: Image.Exif, notes: list[str]) -> Iterator[Statement]:
    try:
        main = dict(exif)
        details, gps = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
    except _DAMAGE as error:
        notes.append(f"EXIF data is damaged: {first_line(error)}")
        return
    yield from _exif_dates(main, details)
    yield from _text("camera", EXIF, "Make and Model", _camera(main))
    yield from _text("lens", EXIF, "LensModel", _exif_text(details.get(_EXIF.LensModel)))
    iso = details.get(_EXIF.ISOSpeedRatings)
    for field, name, value, low, high in (
        ("exposure_s", "ExposureTime", details.get(_EXIF.ExposureTime), 1e-7, 1e6),
        ("aperture", "FNumber", details.get(_EXIF.FNumber), 0.1, 1000),
        ("iso", "ISOSpeedRatings", iso[0] if isinstance(iso, tuple) and iso else iso, 1, 1e7),
        ("focal_length_mm", "FocalLength", details.get(_EXIF.FocalLength), 0.1, 1e5),
    ):
        yield from _number(field, EXIF, name, value, low, high)
    yield from _exif_place(gps)
    yield from _text("title", EXIF, "XPTitle", *_windows(main, _EXIF.XPTitle)[:1])
    for name, text in (
        ("ImageDescription", _exif_text(main.get(_EXIF.ImageDescription))),
        ("XPComment", next(iter(_windows(main, _EXIF.XPComment)), None)),
        ("UserComment", _user_comment(details.get(_EXIF.UserComment))),
    ):
        yield from _description(EXIF, name, text)
    if words := tuple(filter(str.strip, _windows(main, _EXIF.XPKeywords))):
        yield Statement("tags", EXIF, "XPKeywords", words)
    yield from _rating(EXIF, "Rating", main.get(_EXIF.Rating))
    yield from _percent(EXIF, "RatingPercent", main.get(_RATING_PERCENT))


def _exif_text(value: Any) -> str | None:
    """Pillow reads all text as Latin-1, whatever it is."""
    if isinstance(value, str):
        value = value.encode("latin-1", "replace")
    return decoded(value) if isinstance(value, bytes) else None


# How a user comment begins that declares its character set, in eight bytes.
_COMMENT_SETS: Final = {b"ASCII": "", b"UNICODE": "utf-16", b"JIS": "iso2022_jp", b"": ""}


def _user_comment(value: Any) -> str | None:
    if isinstance(value, str):
        value = value.encode("latin-1", "replace")
    if not isinstance(value, bytes) or len(value) <= 8:
        return None
    encoding, body = _COMMENT_SETS.get(value[:8].rstrip(b"\0 ")), value[8:]
    if encoding == "utf-16":
        return _utf_16(body)
    text = body.rstrip(b"\0 ")
    if encoding is None:
        text = value.rstrip(b"\0 ")
    if encoding:
        try:
            return text.decode(encoding)
        except UnicodeDecodeError:
            return text.decode("shift_jis", "replace")
    is_text = not re.search(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]", text)
    return decoded(text) if is_text else None


def _utf_16(data: bytes) -> str:
    """UTF-16 in either order: programs write their own, whatever the file's is."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace").rstrip("\0")
    if data.isascii() and b"\0" not in data:  # some declare it and write ASCII
        return data.decode()
    # Letters of most languages have high bytes that are alike.
    even, odd = len(set(data[::2])), len(set(data[1::2]))
    return data.decode("utf-16-be" if even < odd else "utf-16-le", "replace").rstrip("\0")


def _exif_dates(main: Mapping[int, Any], details: Mapping[int, Any]) -> Iterator[Statement]:
    offsets = (_EXIF.OffsetTimeOriginal, _EXIF.OffsetTime, _EXIF.OffsetTimeDigitized)
    for source, tag, own_offset, rank in (
        (details, _EXIF.DateTimeOriginal, _EXIF.OffsetTimeOriginal, _ORIGINAL),
        (details, _EXIF.DateTimeDigitized, _EXIF.OffsetTimeDigitized, _DIGITIZED),
        (main, _EXIF.DateTime, _EXIF.OffsetTime, _CHANGED),
    ):
        # One offset alone is that of all: it is the clock's.
        zones = (one_line(_exif_text(details.get(offset))) for offset in (own_offset, *offsets))
        zone = next(filter(None, zones), None)
        yield from _date(EXIF, tag.name, one_line(_exif_text(source.get(tag))), zone, rank)


def _camera(main: Mapping[int, Any]) -> str | None:
    make, model = (one_line(_exif_text(main.get(tag))) for tag in (_EXIF.Make, _EXIF.Model))
    if make and model and not model.lower().startswith(make.split()[0].lower()):
        return f"{make} {model}"
    return model or make


def _exif_place(gps: Mapping[int, Any]) -> Iterator[Statement]:
    tags = ExifTags.GPS
    values = [
        gps.get(tag)
        for tag in (
            *(tags.GPSLatitude, tags.GPSLatitudeRef),
            *(tags.GPSLongitude, tags.GPSLongitudeRef),
        )
    ]
    if values[0] is None or values[2] is None:
        return
    try:
        place, why = place_of_exif(*values)
    except PlaceError as error:
        yield Statement("location", EXIF, "GPS", None, str(error))
        return
    if place is None:
        why = "a position was not found"
    yield Statement("location", EXIF, "GPS", place, why, is_noted=place is not None)


def _windows(main: Mapping[int, Any], tag: int) -> list[str]:
    """Texts written by Windows Explorer: UTF-16, separated by semicolons."""
    value = main.get(tag)
    if not isinstance(value, bytes):
        return []
    return value.decode("utf-16-le", "ignore").rstrip("\0").split(";")


# --- IPTC ----------------------------------------------------------------------------------------

_TITLE, _KEYWORDS, _CAPTION = 5, 25, 120
_CREATED, _SCANNED = (55, 60), (62, 63)  # day and time
_CHARACTER_SET: Final = (1, 90)
# How ISO 2022 announces UTF-8, and the parts of ISO 8859 by their letter.
_IPTC_UTF_8: Final = b"\x1b%G"
_IPTC_LATIN: Final = {b"A": 1, b"B": 2, b"C": 3, b"D": 4, b"L": 5, b"G": 6, b"F": 7, b"H": 8}


def _iptc(image: Image.Image, notes: list[str]) -> dict[int, list[str]]:
    """Texts of IPTC's application record, by data set number."""
    written = getattr(image, "tag_v2", {}).get(_IPTC_TAG, b"")
    if len(written) > _MAX_IPTC_BYTES:
        notes.append(f"IPTC data of more than {_MAX_IPTC_BYTES // 1024} KiB")
        return {}
    try:
        found = IptcImagePlugin.getiptcinfo(image) or {}  # type: ignore[arg-type]
    except _DAMAGE as error:
        notes.append(f"IPTC data is damaged: {first_line(error)}")
        return {}
    declared = found.get(_CHARACTER_SET, b"")
    encoding = _iptc_encoding(declared[-1] if isinstance(declared, list) else declared)
    texts: dict[int, list[str]] = {}
    for (record, number), value in found.items():
        if record == 2 and number in (_TITLE, _KEYWORDS, _CAPTION, *_CREATED, *_SCANNED):
            values = value if isinstance(value, list) else [value]
            texts[number] = [_declared_text(part, encoding) for part in values]
    return texts


def _iptc_encoding(declared: bytes) -> str:
    """The declared character set, '' for none that is known."""
    if declared == _IPTC_UTF_8:
        return "utf-8"
    if len(declared) == 3 and declared[:2] in (b"\x1b-", b"\x1b."):
        return f"iso8859-{part}" if (part := _IPTC_LATIN.get(declared[2:])) else ""
    return ""


def _declared_text(value: bytes, encoding: str) -> str:
    """Text in its declared set; but valid UTF-8 is UTF-8, whatever a program declares."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        pass
    try:
        return value.decode(encoding) if encoding else decoded(value)
    except UnicodeDecodeError:
        return decoded(value)


def _of_iptc(texts: Mapping[int, Sequence[str]]) -> Iterator[Statement]:
    for (day, time), rank in ((_CREATED, _ORIGINAL), (_SCANNED, _DIGITIZED)):
        if texts.get(day):
            yield from _iptc_date(texts[day][0], next(iter(texts.get(time, ())), ""), rank)
    yield from _text("title", IPTC, "ObjectName", *texts.get(_TITLE, ())[:1])
    yield from _description(IPTC, "Caption", *texts.get(_CAPTION, ())[:1])
    if words := tuple(texts.get(_KEYWORDS, ())):
        yield Statement("tags", IPTC, "Keywords", words)


def _iptc_date(day: str, time: str, rank: int) -> Iterator[Statement]:
    """From 'CCYYMMDD', where unknown parts are zeros, and 'HHMMSS±HHMM'."""
    name = "DateCreated" if rank == _ORIGINAL else "DigitalCreationDate"
    if compact := re.fullmatch(r"(\d{4})-?(\d\d)-?(\d\d)", day.strip()):
        day = "-".join(compact.groups())
    clock = re.fullmatch(r"(\d\d):?(\d\d):?(\d\d)([+-]\d\d:?\d\d)?", time.strip())
    if clock:
        day = f"{day} {clock[1]}:{clock[2]}:{clock[3]}{clock[4] or ''}"
    yield from _date(IPTC, name, day, None, rank)


# --- XMP -----------------------------------------------------------------------------------------


def _embedded_xmp(packet: Any, notes: list[str]) -> Xmp:
    if isinstance(packet, str):
        packet = packet.encode()
    if not isinstance(packet, bytes) or not packet.strip(b"\0 \n"):
        return Xmp({}, notes)
    return read_xmp(packet, notes)


def _of_xmp(xmp: Xmp, source: str) -> Iterator[Statement]:
    for name, rank in (
        ("exif:DateTimeOriginal", _ORIGINAL),
        ("photoshop:DateCreated", _ORIGINAL),
        ("exif:DateTimeDigitized", _DIGITIZED),
        ("xmp:CreateDate", _DIGITIZED),
    ):
        yield from _date(source, name, one_line(xmp.text(name)), None, rank)
    yield from _xmp_place(xmp, source)
    for name in ("exifEX:LensModel", "aux:Lens"):
        yield from _text("lens", source, name, xmp.text(name))
    yield from _text("title", source, "dc:title", xmp.text("dc:title"))
    yield from _description(source, "dc:description", xmp.text("dc:description"))
    yield from _rating(source, "xmp:Rating", xmp.text("xmp:Rating"))
    yield from _percent(source, "MicrosoftPhoto:Rating", xmp.text("MicrosoftPhoto:Rating"))
    yield from _xmp_words(xmp, source)


def _xmp_place(xmp: Xmp, source: str) -> Iterator[Statement]:
    latitude, longitude = xmp.text("exif:GPSLatitude"), xmp.text("exif:GPSLongitude")
    if latitude is None or longitude is None:
        return
    try:
        place, why = place_of_xmp(latitude, longitude)
    except PlaceError as error:
        yield Statement("location", source, "exif:GPS", None, str(error))
        return
    if place is None:
        why = "a position was not found"
    yield Statement("location", source, "exif:GPS", place, why, is_noted=place is not None)


def _xmp_words(xmp: Xmp, source: str) -> Iterator[Statement]:
    """Tags, and people, who are tags too: a tag is how most programs name them."""
    if words := tuple(xmp.texts("dc:subject")):
        yield Statement("tags", source, "dc:subject", words)
    for name, separator in (
        ("lr:hierarchicalSubject", "|"),
        ("digiKam:TagsList", "/"),
        ("MicrosoftPhoto:LastKeywordXMP", "/"),
    ):
        # digiKam keeps colours and flags of its own among the tags.
        paths = [path for path in xmp.texts(name) if not path.startswith("_Digikam")]
        if words := tuple(level for path in paths for level in path.split(separator)):
            yield Statement("tags", source, name, words)
    for name, people in (
        ("Iptc4xmpExt:PersonInImage", xmp.texts("Iptc4xmpExt:PersonInImage")),
        ("regions", xmp.named_faces()),
    ):
        if people:
            yield Statement("people", source, name, tuple(people))
            yield Statement("tags", source, name, tuple(people))


# --- from written to meant -----------------------------------------------------------------------


def _date(
    source: str, name: str, text: str | None, zone: str | None, rank: int
) -> Iterator[Statement]:
    if text is None:
        return
    try:
        moment: Moment | None = read_moment(text[:80], zone)
    except ValueError:
        yield Statement("taken", source, name, None, f"the date {text[:40]!r} is no date")
        return
    if moment is None:
        why = "the clock was not set"
        yield Statement("taken", source, name, None, why, is_noted=False)
    else:
        yield Statement("taken", source, name, moment, moment.why, rank=rank)


def _text(field: str, source: str, name: str, text: str | None = None) -> Iterator[Statement]:
    if line := one_line(text, most=None):
        yield Statement(field, source, name, *_cut(line, field, MAX_CHARS))


def _description(source: str, name: str, text: str | None = None) -> Iterator[Statement]:
    line = one_line(text, most=None)
    if not line:
        return
    line, why = _cut(line, "description", MAX_CAPTION_CHARS)
    if is_camera_noise(line):
        why = f"{line!r} is what cameras write into every picture"
        yield Statement("description", source, name, None, why, is_noted=False)
    else:
        yield Statement("description", source, name, line, why)


def _cut(text: str, name: str, most: int) -> tuple[str, str]:
    if len(text) <= most:
        return text, ""
    why = f"the {name} has {len(text):,} characters; the first {most:,} are kept"
    return text[:most].rstrip(), why


def _rating(source: str, name: str, value: Any) -> Iterator[Statement]:
    """Stars; 0 is how programs write that there are none."""
    yield from _number("rating", source, name, value, -1, 5)


def _percent(source: str, name: str, value: Any) -> Iterator[Statement]:
    """Stars that Windows writes as 1, 25, 50, 75 and 99."""
    for one in _number("rating", source, name, value, 1, 100):
        stars = None if one.value is None else float(min(5, 1 + round(one.value / 25)))
        yield Statement("rating", source, name, stars, one.why, one.is_noted)


def _number(
    field: str, source: str, name: str, value: Any, low: float, high: float
) -> Iterator[Statement]:
    if value is None:
        return
    noun = _NOUNS.get(field, field)
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        why = f"the {noun} {str(value)[:40]!r} is no number"
        yield Statement(field, source, name, None, why)
        return
    if math.isnan(number) or math.isinf(number) or number == 0:
        why = f"the {noun} is unknown"  # cameras write 0, 0/0 or n/0
        yield Statement(field, source, name, None, why, is_noted=False)
    elif not low <= number <= high:
        yield Statement(field, source, name, None, f"the {noun} {number:g} makes no sense")
    else:
        meant = int(number) if field == "iso" else round(number, 7)
        yield Statement(field, source, name, meant)


_NOUNS: Final = {"exposure_s": "exposure", "iso": "ISO", "focal_length_mm": "focal length"}
