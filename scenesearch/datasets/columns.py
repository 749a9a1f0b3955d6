"""Turns the columns of a manifest into typed metadata.

A column has the type of at least 95 % of its values; the others are reported, never dropped
silently. `caption`, `captions`, `caption_1` ... and `tags` have a meaning of their own. A column
named like a field that pictures fill themselves (`taken`, `camera`, `rating` ...) has that field's
type, and replaces the picture's value.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from math import isfinite, isnan
from typing import Any, Final

from scenesearch.datasets.tables import MAX_COLUMNS, DatasetError, shorten
from scenesearch.pictures.records import (
    MAX_CAPTION_CHARS,
    MAX_CAPTIONS,
    MAX_TAG_CHARS,
    MAX_TAGS,
    GeoPoint,
    MetadataType,
    Value,
)
from scenesearch.runtime.cancel import cancellable

_CAPTION_COLUMN = re.compile(r"captions?|caption_?\d+")
RESERVED: Final = frozenset(
    {"image_id", "path", "sha256", "width", "height", "size_bytes", "orientation", "folder"}
    | {"modified", "etag", "sidecar", "phash", "own", "metadata_version"}
)
_OVERRIDES: Mapping[str, MetadataType] = {
    "taken": "datetime",
    "camera": "keyword",
    "lens": "keyword",
    "exposure_s": "float",
    "aperture": "float",
    "iso": "integer",
    "focal_length_mm": "float",
    "title": "text",
    "rating": "float",
    "location": "geo",
    "people": "keyword",
    "favourite": "boolean",
    "taken_at": "datetime",
    "taken_until": "datetime",
    "taken_guessed": "boolean",
}
_LATITUDE, _LONGITUDE = ("latitude", "lat"), ("longitude", "lon", "lng", "long")
_FIT_SHARE = 0.95
# A keyword is chosen from a list; longer values are texts, searched by their words.
_MAX_KEYWORD_CHARS = 120
_INT64 = range(-(2**63), 2**63)
# Characters of all pictures together, in memory until the columns are typed: half a gigabyte.
_MAX_CHARS = 500_000_000


@dataclass(frozen=True)
class Description:
    """Captions, tags and metadata of one picture."""

    captions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Value] = field(default_factory=dict)


class LooseText(str):
    """A cell of CSV or TSV: its type must be guessed, unlike that of a string in JSON."""

    __slots__ = ()


def field_name(column: str) -> str:
    """The column's name for `--where`: word characters; all others become '_'."""
    return re.sub(r"\W+", "_", column.strip()).strip("_")[:64]


@dataclass
class _Picture:
    """The values of one picture in the rows read so far, with their line."""

    line: int
    captions: dict[str, None] = field(default_factory=dict)
    tags: dict[str, None] = field(default_factory=dict)
    raw: dict[str, tuple[int, Any]] = field(default_factory=dict)


class Descriptions:
    """Collects rows by picture, then finds the type of each column.

    `report` gets the line and reason of each value that is cut or left out. Raises DatasetError
    when the rows have more text than fits in memory.
    """

    def __init__(self, report: Callable[[int, str], None]) -> None:
        self.report = report
        self._pictures: dict[str, _Picture] = {}
        self._columns: set[str] = set()
        self._chars = 0

    def __len__(self) -> int:
        return len(self._pictures)

    def add(self, image_id: str, line: int, row: Mapping[str, Any]) -> None:
        """Add a row about a picture; several rows may be about the same picture."""
        is_new = image_id not in self._pictures
        picture = self._pictures.setdefault(image_id, _Picture(line))
        before = len(picture.captions) + len(picture.tags) + len(picture.raw)
        clash = False
        for column, value in row.items():
            if _is_missing(value):
                continue
            key = field_name(column)
            if _CAPTION_COLUMN.fullmatch(key):
                texts = self._texts(line, column, value, MAX_CAPTION_CHARS)
                self._join(line, picture.captions, texts, MAX_CAPTIONS, "captions")
            elif key == "tags":
                words = self._words(line, "tags", value)
                self._join(line, picture.tags, words, MAX_TAGS, "tags")
            elif key not in self._columns and len(self._columns) >= MAX_COLUMNS:
                self.report(line, f"{shorten(key)} is one of more than {MAX_COLUMNS} columns")
            else:
                self._columns.add(key)
                if key == "people":  # a list, as files have it
                    value = self._words(line, key, value)
                    if not value:
                        continue
                value = self._bounded(line, key, value)
                first_line, first = picture.raw.setdefault(key, (line, value))
                if first != value:
                    clash = True
                    self.report(
                        line,
                        f"{key} is {shorten(str(value))}, but {shorten(str(first))} on line "
                        f"{first_line}; the first counts",
                    )
        now = len(picture.captions) + len(picture.tags) + len(picture.raw)
        if not is_new and not clash and now == before:
            self.report(line, f"repeats line {picture.line}")

    def _join(
        self, line: int, collected: dict[str, None], texts: list[str], most: int, what: str
    ) -> None:
        """Add the texts to those of the picture, at most `most` in all."""
        for number, text in enumerate(texts):
            if text not in collected:
                if len(collected) == most:
                    left = len(texts) - number
                    self.report(line, f"{left:,} {what} are beyond the {most} that are kept")
                    return
                collected[text] = None
                self._count(text)

    def _bounded(self, line: int, name: str, value: Any) -> Any:
        """The value, with long texts and lists cut."""
        if isinstance(value, str):
            cut = self._cut(line, name, value, MAX_CAPTION_CHARS)
            self._count(cut)
            return value if cut is value else type(value)(cut)
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            if len(value) > MAX_TAGS:
                self.report(line, f"{name} has {len(value):,} values; the first {MAX_TAGS} count")
            value = [self._cut(line, name, part, MAX_TAG_CHARS) for part in value[:MAX_TAGS]]
            self._count(*value)
        elif isinstance(value, list | dict) and len(value) > MAX_TAGS:
            self.report(line, f"{name} has {len(value):,} values and is left out")
            return None
        return value

    def _cut(self, line: int, name: str, text: str, most: int) -> str:
        if len(text) <= most:
            return text
        self.report(line, f"{name} has {len(text):,} characters; the first {most:,} are kept")
        return text[:most].rstrip()

    def _count(self, *texts: str) -> None:
        self._chars += sum(map(len, texts))
        if self._chars > _MAX_CHARS:
            raise DatasetError(
                f"the rows say more than {_MAX_CHARS:,} characters of their pictures: split them"
            )

    def _texts(self, line: int, column: str, value: Any, most: int) -> list[str]:
        if isinstance(value, LooseText):
            listed = _json_list(value)
            value = str(value) if listed is None else listed
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            self.report(line, f"{column} is {shorten(str(value))}, not a text or a list of texts")
            return []
        texts = []
        for text in value:
            if isinstance(text, str):
                texts.append(self._cut(line, column, " ".join(text.split()), most))
            elif text is not None:
                self.report(line, f"{column} holds {shorten(str(text))}, which is not a text")
        return [text for text in texts if text]

    def _words(self, line: int, column: str, value: Any) -> list[str]:
        if isinstance(value, str):
            listed = _json_list(value)
            value = re.split(r"[,;]", value) if listed is None else listed
        return self._texts(line, column, value, MAX_TAG_CHARS)

    def typed(self) -> tuple[dict[str, Description], dict[str, MetadataType]]:
        """Every picture's description, and the types of the columns that have a usable value."""
        self._join_coordinates()
        columns: dict[str, list[tuple[str, int, Any]]] = {}
        for image_id, picture in cancellable(self._pictures.items()):
            for name, (line, value) in picture.raw.items():
                columns.setdefault(name, []).append((image_id, line, value))
        metadata: dict[str, dict[str, Value]] = {image_id: {} for image_id in self._pictures}
        fields: dict[str, MetadataType] = {}
        for name, values in columns.items():
            type_ = _OVERRIDES.get(name) or _type_of([value for _, _, value in values])
            fits = 0
            for image_id, line, value in cancellable(values):
                converted = _CONVERTERS[type_](value)
                if converted is None:
                    self.report(line, f"{name} is {shorten(str(value))}, which is no {type_}")
                else:
                    metadata[image_id][name] = converted
                    fits += 1
            if fits:
                fields[name] = type_
        described = {
            image_id: Description(tuple(picture.captions), tuple(picture.tags), metadata[image_id])
            for image_id, picture in self._pictures.items()
        }
        return described, fields

    def _join_coordinates(self) -> None:
        """Join two columns of degrees into one `location`, unless there is one already."""
        for picture in cancellable(self._pictures.values()):
            raw = picture.raw
            latitude = next((name for name in _LATITUDE if name in raw), None)
            longitude = next((name for name in _LONGITUDE if name in raw), None)
            if latitude is None and longitude is None:
                continue
            north = raw.pop(latitude) if latitude else None
            east = raw.pop(longitude) if longitude else None
            if north is None or east is None:
                line = (north or east or (picture.line,))[0]
                self.report(line, "has one of latitude and longitude without the other")
            elif "location" not in raw:
                raw["location"] = (north[0], f"{north[1]},{east[1]}")


# --- values ----------------------------------------------------------------------------------


def _is_missing(value: Any) -> bool:
    if isinstance(value, float):
        return isnan(value)
    return value is None or (isinstance(value, str) and not value.strip()) or value == []


def _json_list(text: str) -> list[Any] | None:
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _type_of(values: list[Any]) -> MetadataType:
    """The narrowest type that fits at least 95 % of the values."""
    tolerated = int(len(values) * (1 - _FIT_SHARE))
    narrow: tuple[MetadataType, ...] = ("boolean", "integer", "float", "datetime", "geo")
    for type_ in narrow:
        misfits = 0
        for value in cancellable(values):
            misfits += _CONVERTERS[type_](value) is None
            if misfits > tolerated:
                break
        else:
            return type_
    longest = max((len(value) for value in values if isinstance(value, str)), default=0)
    return "text" if longest > _MAX_KEYWORD_CHARS else "keyword"


_TRUE, _FALSE = ("true", "yes"), ("false", "no")
_INTEGER = re.compile(r"[+-]?(0|[1-9]\d{0,18})", re.ASCII)  # 007 is a code, not a number
_FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?", re.ASCII)
_EXIF_DATE = re.compile(r"(\d{4}):(\d{2}):(\d{2}) ", re.ASCII)
_PAIR = re.compile(r"\(?\s*([-+]?\d+(?:\.\d+)?)\s*,\s*([-+]?\d+(?:\.\d+)?)\s*\)?", re.ASCII)


def _boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, LooseText) and value.lower() in _TRUE + _FALSE:
        return value.lower() in _TRUE
    return None


def _integer(value: Any) -> int | None:
    if isinstance(value, LooseText) and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value in _INT64:
        return value
    return None


def _float(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float | Decimal) or (
        isinstance(value, LooseText) and _FLOAT.fullmatch(value) and _is_decimal(value)
    ):
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if isfinite(number) else None
    return None


def _is_decimal(text: str) -> bool:
    """Not 007 and not 00.5: leading zeros belong to a code."""
    digits = text.lstrip("+-")
    return not (len(digits) > 1 and digits[0] == "0" and digits[1].isdigit())


def _datetime(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    if not isinstance(value, str):
        return None
    text = _EXIF_DATE.sub(r"\1-\2-\3 ", value.strip(), count=1)
    if not _DATE.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _geo(value: Any) -> GeoPoint | None:
    if isinstance(value, Mapping):
        parts = [
            next((value[name] for name in names if name in value), None)
            for names in (_LATITUDE, _LONGITUDE)
        ]
        if any(isinstance(part, bool) or not isinstance(part, int | float) for part in parts):
            return None
        value = f"{parts[0]},{parts[1]}"
    match = _PAIR.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    latitude, longitude = float(match[1]), float(match[2])
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return None
    return GeoPoint(latitude, longitude)


def _keyword(value: Any) -> str | tuple[str, ...] | None:
    if isinstance(value, str):
        return str(value).strip()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return tuple(dict.fromkeys(part.strip() for part in value if part.strip())) or None
    return None


_CONVERTERS: Mapping[MetadataType, Callable[[Any], Value | None]] = {
    "boolean": _boolean,
    "integer": _integer,
    "float": _float,
    "datetime": _datetime,
    "geo": _geo,
    "keyword": _keyword,
    "text": _keyword,
}
