"""Reads a picture's metadata: EXIF, IPTC and XMP, each part checked on its own.

Strangers wrote these files. So text is cut and stripped of control characters, numbers must make
sense, and XML may not declare entities. A value that makes no sense is left out with a note, and so
is anything larger than programs write, so that no file takes long to read.
"""

import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException  # type: ignore[import-untyped]
from defusedxml.ElementTree import DefusedXMLParser  # type: ignore[import-untyped]
from PIL import ExifTags, Image, IptcImagePlugin

from scenesearch.errors import first_line
from scenesearch.pictures.records import MAX_CAPTION_CHARS, MAX_TAG_CHARS, MAX_TAGS, GeoPoint
from scenesearch.pictures.structure import MAX_EXIF_VALUES, tag_values

_MAX_CHARS: Final = 200  # of a title, of the name of a camera
MAX_XMP_BYTES: Final = 4 * 1024 * 1024
# Lightroom writes one brush as tens of thousands of elements, about ten deep.
_MAX_XMP_PARTS: Final = 100_000
_MAX_XMP_DEPTH: Final = 100
# Items of one property, such as tags or the languages of a title.
_MAX_ITEMS: Final = 1_000
# A record has at least 6 bytes; all IPTC data of a JPEG fits in 64 KiB.
_MAX_IPTC_BYTES: Final = 256 * 1024

# What cameras write into the field for a description.
_CAMERA_NOISE = re.compile(
    r"(olympus|konica minolta|minolta|sony|samsung|kodak|ricoh|pentax|casio|jenoptik)\b"
    r".*(digital|camera|dsc)|sony dsc|dcim.*|dji_.*|exif_jpeg_picture|<?digimax.*|default|untitled"
    r"|dav|hdr|hdrpl|sdr|btf|cof|rhdr|edf|nor|mde|qrf|[a-z]*_?vga|image description",
    re.IGNORECASE,
)

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

_EXIF = ExifTags.Base
_IPTC_TAG: Final = 33723  # of TIFF


@dataclass(frozen=True)
class PictureMetadata:
    """What cameras and people wrote into the file; None or empty where there is nothing.

    `taken` carries a time zone only when it was recorded. `exposure_s` is the shutter time,
    `aperture` the f-number, `focal_length_mm` that of the lens itself. `rating` is 1-5 stars, or
    -1 for rejected. `notes` lists what was written but makes no sense.
    """

    taken: datetime | None = None
    camera: str | None = None
    lens: str | None = None
    exposure_s: float | None = None
    aperture: float | None = None
    iso: int | None = None
    focal_length_mm: float | None = None
    location: GeoPoint | None = None
    title: str | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()
    rating: float | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)


def read_metadata(image: Image.Image) -> PictureMetadata:
    """The metadata of an opened, not yet decoded picture.

    Words are taken from XMP before IPTC and EXIF, measurements from EXIF before XMP.
    """
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
    return _metadata(exif, _iptc(image, notes), _Xmp.read(image, notes), notes)


def read_raw_metadata(data: bytes) -> PictureMetadata:
    """The metadata of a camera RAW file that is a kind of TIFF; empty for other kinds."""
    exif = Image.Exif()
    try:
        exif.load(data)
        return _metadata(exif, {}, _Xmp({}), [])
    except _DAMAGE:
        return PictureMetadata()


def read_sidecar(packet: bytes) -> PictureMetadata:
    """The metadata of an XMP file beside a picture."""
    notes: list[str] = []
    return _metadata(Image.Exif(), {}, _Xmp.parse(packet, notes), notes)


def merge_sidecar(own: PictureMetadata, sidecar: PictureMetadata) -> PictureMetadata:
    """A picture's metadata merged with that of its sidecar file.

    Words and rating come from the sidecar if it has them: programs that do not change pictures
    write them there, and later. Tags of both count. The camera's measurements stay those of the
    picture.
    """
    notes = [*own.notes, *sidecar.notes]
    return replace(
        own,
        taken=own.taken or sidecar.taken,
        lens=own.lens or sidecar.lens,
        title=sidecar.title or own.title,
        description=sidecar.description or own.description,
        tags=_tags([*sidecar.tags, *own.tags], notes),
        rating=sidecar.rating or own.rating,
        notes=tuple(notes),
    )


def _metadata(
    exif: Image.Exif, iptc: Mapping[int, Sequence[str]], xmp: "_Xmp", notes: list[str]
) -> PictureMetadata:
    main, details, gps = _parts(exif, notes)

    def number(tag: int, name: str, low: float, high: float) -> float | None:
        return _number(details.get(tag), name, low, high, notes)

    iso = details.get(_EXIF.ISOSpeedRatings)
    iso = _number(iso[0] if isinstance(iso, tuple) and iso else iso, "ISO", 1, 1e7, notes)
    rating = _number(xmp.text("Rating") or main.get(_EXIF.Rating), "rating", -1, 5, notes)
    words = [*xmp.texts("subject"), *iptc.get(25, ()), *_windows(main, _EXIF.XPKeywords)]
    return PictureMetadata(
        taken=_taken(main, details, xmp, notes),
        camera=_camera(main),
        lens=_text(details.get(_EXIF.LensModel)) or _text(xmp.text("Lens")),
        exposure_s=number(_EXIF.ExposureTime, "exposure", 1e-7, 1e6),
        aperture=number(_EXIF.FNumber, "aperture", 0.1, 1000),
        iso=None if iso is None else int(iso),
        focal_length_mm=number(_EXIF.FocalLength, "focal length", 0.1, 1e5),
        location=_location(gps, notes),
        title=_title(main, iptc, xmp, notes),
        description=_description(main, iptc, xmp, notes),
        tags=_tags(words, notes),
        rating=rating if rating else None,  # 0 is how programs write that there is none
        notes=tuple(notes),
    )


# --- EXIF --------------------------------------------------------------------------------------


def _parts(
    exif: Image.Exif, notes: list[str]
) -> tuple[Mapping[int, Any], Mapping[int, Any], Mapping[int, Any]]:
    """The main tags, the tags of the shot, and the GPS tags."""
    try:
        main = dict(exif)
        details, gps = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
    except _DAMAGE as error:
        notes.append(f"EXIF data is damaged: {first_line(error)}")
        return {}, {}, {}
    return main, details, gps


# What Pillow raises on damaged EXIF and IPTC data.
_DAMAGE = (*DAMAGE, AttributeError, MemoryError, RecursionError)


def _taken(
    main: Mapping[int, Any], details: Mapping[int, Any], xmp: "_Xmp", notes: list[str]
) -> datetime | None:
    for source, tag, offset_tag in (
        (details, _EXIF.DateTimeOriginal, _EXIF.OffsetTimeOriginal),
        (details, _EXIF.DateTimeDigitized, _EXIF.OffsetTimeDigitized),
        (main, _EXIF.DateTime, _EXIF.OffsetTime),
    ):
        text = _text(source.get(tag))
        if text is None or not re.search(r"[1-9]", text):
            continue  # cameras write zeros until their clock is set
        try:
            moment = datetime.strptime(text[:19].replace("-", ":"), "%Y:%m:%d %H:%M:%S")
        except ValueError:
            notes.append(f"the date {text!r} is no date")
            continue
        return moment.replace(tzinfo=_zone(_text(details.get(offset_tag))))
    for name in ("DateTimeOriginal", "DateCreated", "CreateDate"):
        written = xmp.text(name)
        if written:
            try:
                return datetime.fromisoformat(written)
            except ValueError:
                notes.append(f"the date {written[:40]!r} is no date")
    return None


def _zone(text: str | None) -> timezone | None:
    if text == "Z":
        return UTC
    match = re.fullmatch(r"([+-])(\d\d):?(\d\d)", text or "")
    if match is None or int(match[2]) > 14 or int(match[3]) > 59:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(offset if match[1] == "+" else -offset)


def _camera(main: Mapping[int, Any]) -> str | None:
    make, model = _text(main.get(_EXIF.Make)), _text(main.get(_EXIF.Model))
    if make and model and not model.lower().startswith(make.split()[0].lower()):
        return f"{make} {model}"
    return model or make


def _location(gps: Mapping[int, Any], notes: list[str]) -> GeoPoint | None:
    values = [gps.get(ExifTags.GPS.GPSLatitude), gps.get(ExifTags.GPS.GPSLongitude)]
    if None in values:
        return None
    try:
        latitude, longitude = (_degrees(value) for value in values)
    except (TypeError, ValueError, ZeroDivisionError):
        notes.append("the place is not written in degrees")
        return None
    if _text(gps.get(ExifTags.GPS.GPSLatitudeRef)) == "S":
        latitude = -latitude
    if _text(gps.get(ExifTags.GPS.GPSLongitudeRef)) == "W":
        longitude = -longitude
    # Without a GPS fix cameras write 0, 0 or 0/0, which is read as NaN.
    if latitude == longitude == 0 or math.isnan(latitude) or math.isnan(longitude):
        return None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        notes.append(f"the place {latitude:g}, {longitude:g} is not on Earth")
        return None
    return GeoPoint(latitude, longitude)


def _degrees(parts: Any) -> float:
    degrees, minutes, seconds = (float(part) for part in parts)
    return degrees + minutes / 60 + seconds / 3600


def _windows(main: Mapping[int, Any], tag: int) -> list[str]:
    """Texts written by Windows Explorer: UTF-16, separated by semicolons."""
    value = main.get(tag)
    if not isinstance(value, bytes):
        return []
    return value.decode("utf-16-le", "ignore").rstrip("\0").split(";")


# --- IPTC and XMP --------------------------------------------------------------------------------


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
    texts: dict[int, list[str]] = {}
    for (record, number), value in found.items():
        if record == 2 and number in (5, 25, 120):
            values = value if isinstance(value, list) else [value]
            texts[number] = [_decoded(part) for part in values]
    return texts


def _decoded(value: bytes) -> str:
    """Few programs declare IPTC's encoding; text that is valid UTF-8 is UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("cp1252", "replace")


class _Xmp:
    """Properties of an XMP packet by local name, whatever form RDF gives them."""

    def __init__(self, values: Mapping[str, list[str]]) -> None:
        self._values = values

    def text(self, name: str) -> str | None:
        return next(iter(self._values.get(name, ())), None)

    def texts(self, name: str) -> list[str]:
        return self._values.get(name, [])

    @classmethod
    def read(cls, image: Image.Image, notes: list[str]) -> "_Xmp":
        packet = image.info.get("xmp")
        if isinstance(packet, str):
            packet = packet.encode()
        if not isinstance(packet, bytes) or not packet.strip(b"\0 \n"):
            return cls({})
        return cls.parse(packet, notes)

    @classmethod
    def parse(cls, packet: bytes, notes: list[str]) -> "_Xmp":
        """The packet's properties; a packet that is not XMP gives a note."""
        if len(packet) > MAX_XMP_BYTES:
            notes.append("XMP data of more than 4 MiB")
            return cls({})
        target = _Properties()
        # XMP has no document type, and expat needs quadratic time for the attributes of one.
        parser = DefusedXMLParser(target=target, forbid_dtd=True)
        try:
            parser.feed(packet.strip(b"\0 \n"))
            parser.close()
        except _LimitReached as reached:
            notes.append(f"XMP data has more than {reached}; what comes before counts")
        except (ParseError, DefusedXmlException, ValueError) as error:
            notes.append(f"XMP data is damaged: {first_line(error)}")
            return cls({})
        notes += target.notes
        return cls(target.values)


class _LimitReached(Exception):  # noqa: N818
    """The message names the limit."""


class _Properties:
    """Target of the XML parser: collects the texts of the properties that are read here.

    A property is an attribute of a Description or an element in it: a text, a bag, a sequence, or a
    choice of languages (x-default first). A Description inside another one describes something
    else, such as the picture that this one was made from. One pass that stores nothing else takes
    time linear in the length of the packet, however it is nested.
    """

    def __init__(self) -> None:
        self.values: dict[str, list[str]] = {}
        self.notes: list[str] = []
        self._parts = self._depth = 0
        self._described_at = 0  # depth of the current Description; 0 outside
        self._property = ""
        self._text: list[str] = []
        self._items: list[tuple[bool, list[str]]] = []  # is not x-default, text
        # Where text goes; None after an inner element.
        self._sink: list[str] | None = None

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        self._parts += 1 + len(attributes)
        if self._parts > _MAX_XMP_PARTS:
            raise _LimitReached(f"{_MAX_XMP_PARTS:,} elements and attributes")
        if self._depth > _MAX_XMP_DEPTH:
            raise _LimitReached(f"{_MAX_XMP_DEPTH} elements one inside the other")
        self._sink = None
        name = _local(tag)
        if not self._described_at:
            if name == "Description":
                self._described_at = self._depth
                for key, value in attributes.items():
                    self._add(_local(key), [value])
        elif self._depth == self._described_at + 1:
            self._property = name if name in _READ else ""
            self._text, self._items = [], []
            self._sink = self._text
        elif name == "li" and self._property:
            language = attributes.get("{http://www.w3.org/XML/1998/namespace}lang")
            self._sink = []
            self._items.append((language not in (None, "x-default"), self._sink))

    def data(self, text: str) -> None:
        if self._sink is not None and self._property:
            self._sink.append(text)

    def end(self, tag: str) -> None:
        self._sink = None
        if self._described_at and self._depth == self._described_at + 1 and self._property:
            items = ["".join(parts) for _, parts in sorted(self._items, key=lambda item: item[0])]
            texts = items if self._items else ["".join(self._text)]
            self._add(self._property, [text for text in texts if self._items or text.strip()])
            self._property = ""
        elif self._depth == self._described_at:
            self._described_at = 0
        self._depth -= 1

    def close(self) -> None:
        """Called by the parser at the end."""

    def _add(self, name: str, texts: Sequence[str]) -> None:
        if name not in _READ:
            return
        found = self.values.setdefault(name, [])
        texts = [text for text in texts if text]
        if len(found) + len(texts) > _MAX_ITEMS:
            self.notes.append(
                f"XMP data has more than {_MAX_ITEMS:,} {name} items; the first count"
            )
        found += texts[: _MAX_ITEMS - len(found)]


# The properties that are read.
_READ: Final = frozenset(
    {"title", "description", "subject", "Rating", "Lens"}
    | {"DateTimeOriginal", "DateCreated", "CreateDate"}
)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


# --- words and numbers ---------------------------------------------------------------------------


def _title(
    main: Mapping[int, Any], iptc: Mapping[int, Sequence[str]], xmp: _Xmp, notes: list[str]
) -> str | None:
    for value in (xmp.text("title"), *iptc.get(5, ())[:1], *_windows(main, _EXIF.XPTitle)[:1]):
        if text := _cut(_text(value, most=None), "title", _MAX_CHARS, notes):
            return text
    return None


def _description(
    main: Mapping[int, Any], iptc: Mapping[int, Sequence[str]], xmp: _Xmp, notes: list[str]
) -> str | None:
    for value in (
        xmp.text("description"),
        *iptc.get(120, ())[:1],
        main.get(_EXIF.ImageDescription),
        *_windows(main, _EXIF.XPComment)[:1],
    ):
        text = _cut(_text(value, most=None), "description", MAX_CAPTION_CHARS, notes)
        if text and not _CAMERA_NOISE.fullmatch(text) and re.search(r"[^\W\d_]", text):
            return text
    return None


def _tags(words: list[str], notes: list[str]) -> tuple[str, ...]:
    """Each tag once, in the order written; capitals are kept."""
    tags: dict[str, str] = {}
    cut = 0
    for word in words:
        if text := _text(word, most=None):
            cut += len(text) > MAX_TAG_CHARS
            text = text[:MAX_TAG_CHARS].rstrip()
            tags.setdefault(text.casefold(), text)
    if cut:
        notes.append(f"{cut:,} tags are cut to {MAX_TAG_CHARS} characters")
    if len(tags) > MAX_TAGS:
        notes.append(f"{len(tags):,} tags; the first {MAX_TAGS} are kept")
    return tuple(tags.values())[:MAX_TAGS]


def _cut(text: str | None, name: str, most: int, notes: list[str]) -> str:
    if text is None or len(text) <= most:
        return text or ""
    notes.append(f"the {name} has {len(text):,} characters; the first {most:,} are kept")
    return text[:most].rstrip()


def _number(value: Any, name: str, low: float, high: float, notes: list[str]) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        notes.append(f"the {name} {str(value)[:40]!r} is no number")
        return None
    if math.isnan(number) or math.isinf(number) or number == 0:
        return None  # cameras write 0/0 or n/0 for an unknown value
    if not low <= number <= high:
        notes.append(f"the {name} {number:g} makes no sense")
        return None
    return round(number, 7)


def _text(value: Any, most: int | None = _MAX_CHARS) -> str | None:
    """Printable text on one line, at most `most` characters, or None."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    line = " ".join(value.split())
    printable = "".join(char for char in line if char.isprintable()).strip()
    return printable[:most] or None
