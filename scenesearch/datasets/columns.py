"""Turns the columns of a manifest into typed metadata.

A column has the type of at least 95 % of its values; the others are reported, never dropped
silently. `caption`, `captions`, `caption_1` ... and `tags` have a meaning of their own. A column
named like a field that pictures fill themselves (`taken`, `camera`, `rating` ...) has that field's
type, and replaces the picture's value. What cannot be taken so is kept under `table_...`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from scenesearch.datasets.cells import (
    CONVERTERS,
    LATITUDE,
    LONGITUDE,
    AmbiguousNumberError,
    LooseText,
    composed,
    degrees,
    fitted,
    is_infinite,
    is_missing,
    loses_digits,
    means_no_number,
    plain_numbers,
    texts_listed,
    words_listed,
)
from scenesearch.datasets.tables import MAX_COLUMNS, DatasetError, shorten
from scenesearch.pictures.records import (
    MAX_CAPTION_CHARS,
    MAX_CAPTIONS,
    MAX_TAG_CHARS,
    MAX_TAGS,
    MetadataType,
    Value,
)
from scenesearch.runtime.cancel import cancellable

_CAPTION_COLUMN = re.compile(r"captions?|caption_?\d+")
RESERVED: Final = frozenset(
    {"image_id", "path", "sha256", "width", "height", "size_bytes", "orientation", "folder"}
    | {"modified", "etag", "sidecar", "phash", "own", "by_hand", "metadata_version"}
    | {"text", "text_words", "text_lines", "text_version"}
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
# Before the name of a built-in field: what a table says in its stead.
KEPT_AS: Final = "table_"
_KNOWN_NAMES = frozenset({"tags", *RESERVED, *_OVERRIDES, *LATITUDE, *LONGITUDE})
# A pair of numbers in such a column is a place; elsewhere '55,37' is a number.
_PLACE_COLUMN = re.compile(r"geo|gps|loc|place|coord|position|lat", re.IGNORECASE)
_FIT_SHARE = 0.95
# A keyword is chosen from a list; longer values are texts, searched by their words.
_MAX_KEYWORD_CHARS = 120
# Characters of all pictures together, in memory until the columns are typed: half a gigabyte.
_MAX_CHARS = 500_000_000


@dataclass(frozen=True)
class Description:
    """Captions, tags and metadata of one picture."""

    captions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Value] = field(default_factory=dict)


@lru_cache(maxsize=4096)
def field_name(column: str) -> str:
    """The column's name for `--where`: word characters; all others become '_'.

    Names with a meaning of their own are found in upper and lower case.
    """
    name = re.sub(r"\W+", "_", composed(column).strip()).strip("_")[:64]
    lower = name.lower()
    return lower if lower in _KNOWN_NAMES or _CAPTION_COLUMN.fullmatch(lower) else name


@dataclass
class _Picture:
    """The values of one picture in the rows read so far, with their line."""

    line: int
    captions: dict[str, None] = field(default_factory=dict)
    tags: dict[str, None] = field(default_factory=dict)
    raw: dict[str, tuple[int, Any]] = field(default_factory=dict)


class Descriptions:
    """Collects rows by picture, then finds the type of each column.

    `report` gets the line and reason of each value that is cut or left out, `note` what else is to
    be known of a value that is kept. `declared` are the types of the library's own fields, which
    columns of these names get. Raises DatasetError when the rows have more text than fits in
    memory.
    """

    def __init__(
        self,
        report: Callable[[int, str], None],
        note: Callable[[int, str], None],
        declared: Mapping[str, MetadataType] = MappingProxyType({}),
    ) -> None:
        self.report = report
        self.note = note
        self._declared = declared
        self._pictures: dict[str, _Picture] = {}
        self._columns: set[str] = set()
        self._chars = 0
        self._decimal_comma: bool | None = None

    def __len__(self) -> int:
        return len(self._pictures)

    def add(self, image_id: str, line: int, row: Mapping[str, Any]) -> None:
        """Add a row about a picture; several rows may be about the same picture."""
        is_new = image_id not in self._pictures
        picture = self._pictures.setdefault(image_id, _Picture(line))
        before = len(picture.captions) + len(picture.tags) + len(picture.raw)
        clash = False
        for column, value in row.items():
            if is_missing(value):
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
                if key in RESERVED:
                    key = self._kept_name(line, key)
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

    def _kept_name(self, line: int, key: str) -> str:
        """The name under which a column is kept that only the picture itself can fill."""
        kept = KEPT_AS + key
        if kept not in self._columns:
            self.note(
                line,
                f"{key} is filled from the picture itself; where the column says something else, "
                f"that is kept as {kept}",
            )
        return kept

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
        if isinstance(value, LooseText) and value[0] in "[({a":
            value = texts_listed(value) or value
        if isinstance(value, str):
            text = composed(value)
            cut = self._cut(line, name, text, MAX_CAPTION_CHARS)
            self._count(cut)
            return value if cut is value else type(value)(cut)
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            if len(value) > MAX_TAGS:
                self.report(line, f"{name} has {len(value):,} values; the first {MAX_TAGS} count")
            value = [
                self._cut(line, name, composed(part), MAX_TAG_CHARS) for part in value[:MAX_TAGS]
            ]
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
            listed = texts_listed(value) if value[0] in "[({a" else None
            value = str(value) if listed is None else listed
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            self.report(line, f"{column} is {shorten(str(value))}, not a text or a list of texts")
            return []
        texts = []
        for text in value:
            if isinstance(text, str):
                texts.append(self._cut(line, column, " ".join(composed(text).split()), most))
            elif text is not None:
                self.report(line, f"{column} holds {shorten(str(text))}, which is not a text")
        return [text for text in texts if text]

    def _words(self, line: int, column: str, value: Any) -> list[str]:
        if isinstance(value, str):
            value = words_listed(value, r"[,;|]")
        return self._texts(line, column, value, MAX_TAG_CHARS)

    def typed(self) -> tuple[dict[str, Description], dict[str, MetadataType]]:
        """Every picture's description, and the types of the columns that have a usable value.

        Raises DatasetError for a column that the library has with another type.
        """
        self._join_coordinates()
        columns: dict[str, list[_Cell]] = {}
        for image_id, picture in cancellable(self._pictures.items()):
            for name, (line, value) in picture.raw.items():
                columns.setdefault(name, []).append((image_id, line, value))
        metadata: dict[str, dict[str, Value]] = {image_id: {} for image_id in self._pictures}
        fields: dict[str, MetadataType] = {}
        unclear: dict[str, list[_Cell]] = {}
        clashing: dict[str, list[_Cell]] = {}

        def take(name: str, cells: list[_Cell]) -> None:
            type_, understood = self._understood(name, cells)
            convert = fitted if name in _OVERRIDES or name in self._declared else _converted
            fits = 0
            for image_id, line, value in cancellable(understood):
                converted = convert(value, type_)
                if converted is not None:
                    metadata[image_id][name] = converted
                    fits += 1
                elif is_infinite(value):
                    self.report(line, f"{name} is {shorten(str(value))}, not a finite number")
                elif name in _OVERRIDES:
                    kept = KEPT_AS + name
                    reason = f"which is no {type_}; it is kept as {kept}"
                    self.note(line, f"{name} is {shorten(str(value))}, {reason}")
                    clashing.setdefault(kept, []).append((image_id, line, value))
                else:
                    self.report(line, f"{name} is {shorten(str(value))}, which is no {type_}")
            if fits:
                fields[name] = type_

        for name, cells in columns.items():
            try:
                take(name, cells)
            except AmbiguousNumberError:  # another column may tell what a comma means
                unclear[name] = cells
        for name, cells in unclear.items():
            take(name, self._settled(name, cells))
        for name, cells in clashing.items():
            take(name, [*columns.get(name, ()), *cells])
        described = {
            image_id: Description(tuple(picture.captions), tuple(picture.tags), metadata[image_id])
            for image_id, picture in self._pictures.items()
        }
        return described, fields

    def _understood(self, name: str, cells: list["_Cell"]) -> tuple[MetadataType, list["_Cell"]]:
        """The column's type, and its cells with numbers as Python writes them and without those
        that mean no value in a column of this type.

        Raises AmbiguousNumberError where only another column can tell.
        """
        values = [value for _, _, value in cells]
        wanted = _OVERRIDES.get(name) or self._declared.get(name)
        type_ = wanted or _type_of(values)
        if type_ in ("boolean", "integer", "float", "datetime") and not wanted:
            return type_, cells
        if wanted in ("keyword", "text") or (type_ == "geo" and _PLACE_COLUMN.search(name)):
            return type_, cells
        clear = [cell for cell in cells if not means_no_number(cell[2])]
        values = [value for _, _, value in clear]
        plain = None
        if clear and wanted != "geo":
            plain = plain_numbers(values, decimal_comma=self._decimal_comma)
        if plain is not None:
            values, is_decimal_comma = plain
            self._decimal_comma = self._decimal_comma or is_decimal_comma or None
            clear = [(*cell[:2], value) for cell, value in zip(clear, values, strict=True)]
        elif not wanted and len(clear) == len(cells):
            return type_, cells
        found = _type_of(values) if clear else type_
        if wanted and name not in _OVERRIDES and not name.startswith(KEPT_AS):
            self._check_agrees(name, clear, wanted, found)
        if not wanted and found in ("keyword", "text", "geo"):
            return type_, cells
        infinite = [cell for cell in cells if is_infinite(cell[2])]
        return wanted or found, [*clear, *infinite]

    def _check_agrees(
        self, name: str, cells: list["_Cell"], wanted: MetadataType, found: MetadataType
    ) -> None:
        """Raise DatasetError unless nearly all cells fit the type that the library has."""
        misfits = [value for _, _, value in cells if fitted(value, wanted) is None]
        if len(misfits) > int(len(cells) * (1 - _FIT_SHARE)):
            raise DatasetError(
                f"the column {name!r} holds values of type {found} ({shorten(str(misfits[0]))}), "
                f"but the library has {name} as a field of type {wanted}: rename the column in the "
                "table, or bring the table into another library with --library NAME"
            )

    def _settled(self, name: str, cells: list["_Cell"]) -> list["_Cell"]:
        """The cells of numbers like '1,234', as text if no column tells what the comma means."""
        if self._decimal_comma is None:
            line, value = cells[0][1:]
            self.note(
                line,
                f"{name} has numbers like {shorten(str(value))}, whose comma may be a decimal "
                "comma or a separator of thousands, and is kept as text; write them without it",
            )
            return [(image_id, line, str(value)) for image_id, line, value in cells]
        return cells

    def _join_coordinates(self) -> None:
        """Join two columns of degrees into one `location`, unless there is one already."""
        for picture in cancellable(self._pictures.values()):
            raw = picture.raw
            latitude = next((name for name in LATITUDE if name in raw), None)
            longitude = next((name for name in LONGITUDE if name in raw), None)
            if latitude is None and longitude is None:
                continue
            north = raw.pop(latitude) if latitude else None
            east = raw.pop(longitude) if longitude else None
            if north is None or east is None:
                line = (north or east or (picture.line,))[0]
                self.report(line, "has one of latitude and longitude without the other")
            elif "location" not in raw:
                joined = f"{degrees(north[1])},{degrees(east[1])}"
                if _converted(joined, "geo") is None:
                    self.report(north[0], f"location is {shorten(joined)}, which is no geo")
                else:
                    raw["location"] = (north[0], joined)


# The picture, the line and the value.
_Cell = tuple[str, int, Any]


def _converted(value: Any, type_: MetadataType) -> Value | None:
    return CONVERTERS[type_](value)


def _type_of(values: list[Any]) -> MetadataType:
    """The narrowest type that fits at least 95 % of the values."""
    tolerated = int(len(values) * (1 - _FIT_SHARE))
    narrow: tuple[MetadataType, ...] = ("boolean", "integer", "float", "datetime", "geo")
    for type_ in narrow:
        misfits, convert = 0, CONVERTERS[type_]
        for value in cancellable(values):
            if convert(value) is None:
                misfits += 1
                # A number that would lose digits makes a text of all, or two ids become one.
                if misfits > tolerated or loses_digits(value):
                    break
        else:
            return type_
    longest = max((len(value) for value in values if isinstance(value, str)), default=0)
    return "text" if longest > _MAX_KEYWORD_CHARS else "keyword"
