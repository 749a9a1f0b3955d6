"""Manifests: a table of anyone's pictures with captions, tags and columns of their own.

CSV, TSV, JSON Lines or Parquet with a column `image` (path relative to the images folder), and
optionally `caption`, `captions` or `caption_1`, `caption_2` ...; `tags`; any further columns
become typed metadata. Rows about the same picture are merged. `taken`, `camera`, `lens` and
`location` say more than the picture's own EXIF data and replace it.

A column's type is what at least 95 % of its values are; the others are reported, never dropped
silently.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from math import isfinite, isnan
from pathlib import Path
from typing import Any, Final

from scenesearch.datasets.tables import (
    DatasetError,
    RowProblem,
    TableFile,
    is_unicode,
    numbered_lines,
    open_text,
    shorten,
    split_cells,
)
from scenesearch.library import GeoPoint, ImageRecord, MetadataType, Value
from scenesearch.originals import LocalFile

METADATA_NAME: Final = "metadata.csv"
MANIFEST_SUFFIXES: Final = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"})

_IMAGE_COLUMNS = ("image", "file_name")  # the second is what Hugging Face's image folders use
_CAPTION_COLUMN = re.compile(r"captions?|caption_?\d+")
_RESERVED = frozenset(
    {"image_id", "path", "sha256", "width", "height", "size_bytes", "orientation", "folder"}
    | {"modified"}
)
_OVERRIDES: Mapping[str, MetadataType] = {
    "taken": "datetime",
    "camera": "keyword",
    "lens": "keyword",
    "location": "geo",
}
_LATITUDE, _LONGITUDE = ("latitude", "lat"), ("longitude", "lon", "lng", "long")
_FIT_SHARE = 0.95
# A keyword is something one picks from a list; longer values are searched by their words.
_MAX_KEYWORD_CHARS = 120
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True)
class Manifest:
    """Records in the order of the manifest, the types of its own columns, what was left out."""

    records: tuple[ImageRecord, ...]
    fields: Mapping[str, MetadataType]
    problems: tuple[RowProblem, ...]


def read_manifest(path: Path, images_dir: Path | None = None) -> Manifest:
    """Read a manifest of pictures that lie in `images_dir`, by default the manifest's folder.

    Raises DatasetError when it is no manifest; a row that cannot be used is a problem.
    """
    reader = _Reader(path, (images_dir or path.parent).resolve())
    for line, row in _rows(path, reader.problems):
        reader.take(line, row)
    if not reader.pictures and reader.problems:
        first = reader.problems[0]
        raise DatasetError(f"{path} holds no usable row (line {first.line}: {first.reason})")
    return reader.finish()


# --- rows of the four formats ----------------------------------------------------------------


def _rows(path: Path, problems: list[RowProblem]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line (row in Parquet) and values by column; text cells of CSV are `_Text`."""
    suffix = path.suffix.lower()
    if suffix not in MANIFEST_SUFFIXES:
        raise DatasetError(f"{path} is no manifest: expected CSV, TSV, JSON Lines or Parquet")
    if not path.is_file():
        raise DatasetError(f"{path} does not exist")
    if suffix == ".parquet":
        return _parquet_rows(path)
    if suffix in (".jsonl", ".ndjson"):
        return _json_rows(path, problems)
    return _delimited_rows(path, problems)


class _Text(str):
    """A cell of CSV or TSV: its type is still to be guessed, unlike a string in JSON."""

    __slots__ = ()


def _delimited_rows(path: Path, problems: list[RowProblem]) -> Iterator[tuple[int, dict[str, Any]]]:
    table = TableFile(path, _delimiter(path), problems=problems)
    lines = table.rows()
    header = next(lines, None)
    names = header.cells if header else ()
    _check_columns(path, names)
    table.columns = len(names)
    for position, name in enumerate(names, start=1):
        if not name:
            table.report(1, f"column {position} has no name and is left out")
    for row in lines:
        if len(row.cells) != len(names):
            table.report(row.line, f"expected {len(names)} columns, found {len(row.cells)}")
            continue
        cells = zip(names, row.cells, strict=True)
        yield row.line, {name: _Text(cell) for name, cell in cells if name}


def _delimiter(path: Path) -> str:
    """The separator under which the first line has an image column and the most columns."""
    with open_text(path) as file:
        header = next((text for _, text in numbered_lines(file, path) if text.strip()), "")
    best, most = "\t" if path.suffix.lower() == ".tsv" else ",", 0
    for delimiter in (best, ",", ";", "\t", "|"):
        names = [name.strip() for name in split_cells(header, delimiter)[0]]
        if len(names) > most and any(name in names for name in _IMAGE_COLUMNS):
            best, most = delimiter, len(names)
    return best


def _json_rows(path: Path, problems: list[RowProblem]) -> Iterator[tuple[int, dict[str, Any]]]:
    checked: set[str] = set()
    with open_text(path) as file:
        for line, text in numbered_lines(file, path):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError):
                problems.append(RowProblem(path, line, "is not JSON"))
                continue
            if not isinstance(row, dict) or not is_unicode(text):
                reason = "is not a JSON object" if is_unicode(text) else "is not valid UTF-8"
                problems.append(RowProblem(path, line, reason))
                continue
            if not row.keys() <= checked:
                _check_columns(path, tuple(row), optional_image=True)
                checked |= row.keys()
            yield line, row


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    # pyarrow takes 0.2 s to import: only who has a Parquet file pays
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        names = tuple(name for name in file.schema_arrow.names if name != "__index_level_0__")
        _check_columns(path, names)
        number = 0
        for batch in file.iter_batches(batch_size=1024, columns=list(names)):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(f"{path} is not a readable Parquet file: {reason}") from None


def _check_columns(path: Path, names: tuple[str, ...], *, optional_image: bool = False) -> None:
    """Raise DatasetError for columns that no manifest can have."""
    if not optional_image and not any(name in names for name in _IMAGE_COLUMNS):
        found = ", ".join(name for name in names if name) or "nothing"
        raise DatasetError(
            f"{path} has no column 'image', which a manifest needs (found: {shorten(found, 100)})"
        )
    fields = [_field_name(name) for name in names if name]
    for name, field_name in zip((name for name in names if name), fields, strict=True):
        if field_name in _RESERVED:
            raise DatasetError(
                f"{path}: the column {name!r} is filled from the picture itself; "
                "rename or remove it"
            )
        if not field_name:
            raise DatasetError(f"{path}: {shorten(name)} cannot name a column")
        if fields.count(field_name) > 1:
            raise DatasetError(f"{path} has two columns {field_name!r}")


def _field_name(column: str) -> str:
    """The column as `--where` can write it: word characters, '_' for all others."""
    return re.sub(r"\W+", "_", column.strip()).strip("_")[:64]


# --- from rows to records --------------------------------------------------------------------


@dataclass
class _Picture:
    """What the rows read so far say of one picture; values with the line that said it."""

    path: Path
    line: int
    captions: dict[str, None] = field(default_factory=dict)
    tags: dict[str, None] = field(default_factory=dict)
    raw: dict[str, tuple[int, Any]] = field(default_factory=dict)


class _Reader:
    """Collects rows by picture, then types the columns over all of them."""

    def __init__(self, path: Path, images_dir: Path) -> None:
        self.path, self.images_dir = path, images_dir
        self.pictures: dict[str, _Picture] = {}
        self.problems: list[RowProblem] = []

    def report(self, line: int, reason: str) -> None:
        self.problems.append(RowProblem(self.path, line, reason))

    def take(self, line: int, row: Mapping[str, Any]) -> None:
        name = next((row[column] for column in _IMAGE_COLUMNS if row.get(column)), None)
        if not isinstance(name, str):
            self.report(line, "names no picture")
            return
        try:
            image_id, file = self._find(str(name))
        except _BadPath as error:
            self.report(line, str(error))
            return
        is_new = image_id not in self.pictures
        picture = self.pictures.setdefault(image_id, _Picture(file, line))
        said = len(picture.captions) + len(picture.tags) + len(picture.raw)
        clash = False
        for column, value in row.items():
            if column in _IMAGE_COLUMNS or _is_missing(value):
                continue
            key = _field_name(column)
            if _CAPTION_COLUMN.fullmatch(key):
                picture.captions.update(dict.fromkeys(self._texts(line, column, value)))
            elif key == "tags":
                picture.tags.update(dict.fromkeys(self._tags(line, value)))
            else:
                first_line, first = picture.raw.setdefault(key, (line, value))
                if first != value:
                    clash = True
                    self.report(
                        line,
                        f"{key} is {shorten(str(value))}, but {shorten(str(first))} on line "
                        f"{first_line}; the first counts",
                    )
        now = len(picture.captions) + len(picture.tags) + len(picture.raw)
        if not is_new and not clash and now == said:
            self.report(line, f"repeats line {picture.line}")

    def _find(self, name: str) -> tuple[str, Path]:
        """The image id and file of a picture named in the manifest; raises _BadPath."""
        shown = shorten(name)
        if "\0" in name or not is_unicode(name):
            raise _BadPath(f"{shown} is not a file name")
        try:
            file = self.images_dir / name
            if not file.exists() and "\\" in name:  # written on Windows
                file = self.images_dir / name.replace("\\", "/")
            resolved = file.resolve()
            if not resolved.is_relative_to(self.images_dir):
                raise _BadPath(f"{shown} lies outside of {self.images_dir}")
            if not resolved.is_file():
                raise _BadPath(f"the picture {shown} is missing")
        except (OSError, RuntimeError, ValueError):  # too long a name, a loop of links
            raise _BadPath(f"{shown} is not a file name") from None
        return resolved.relative_to(self.images_dir).as_posix(), resolved

    def _texts(self, line: int, column: str, value: Any) -> list[str]:
        if isinstance(value, _Text):
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
                texts.append(" ".join(text.split()))
            elif text is not None:
                self.report(line, f"{column} holds {shorten(str(text))}, which is not a text")
        return [text for text in texts if text]

    def _tags(self, line: int, value: Any) -> list[str]:
        if isinstance(value, str):
            listed = _json_list(value)
            value = re.split(r"[,;]", value) if listed is None else listed
        return self._texts(line, "tags", value)

    def finish(self) -> Manifest:
        """Type the columns, convert their values, and build the records."""
        self._join_coordinates()
        columns: dict[str, list[tuple[str, int, Any]]] = {}
        for image_id, picture in self.pictures.items():
            for name, (line, value) in picture.raw.items():
                columns.setdefault(name, []).append((image_id, line, value))
        metadata: dict[str, dict[str, Value]] = {image_id: {} for image_id in self.pictures}
        fields: dict[str, MetadataType] = {}
        for name, values in columns.items():
            type_ = _OVERRIDES.get(name) or _type_of([value for _, _, value in values])
            fits = 0
            for image_id, line, value in values:
                converted = _CONVERTERS[type_](value)
                if converted is None:
                    self.report(line, f"{name} is {shorten(str(value))}, which is no {type_}")
                else:
                    metadata[image_id][name] = converted
                    fits += 1
            if fits:
                fields[name] = type_
        records = tuple(
            ImageRecord(
                image_id,
                LocalFile(picture.path),
                captions=tuple(picture.captions),
                tags=tuple(picture.tags),
                metadata=metadata[image_id],
            )
            for image_id, picture in self.pictures.items()
        )
        problems = sorted(self.problems, key=lambda problem: problem.line)
        return Manifest(records, fields, tuple(problems))

    def _join_coordinates(self) -> None:
        """Two columns of degrees become one `location`, unless there is one already."""
        for picture in self.pictures.values():
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


class _BadPath(Exception):  # noqa: N818
    """Why a picture cannot be used."""


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
    """The narrowest type that nearly all values have."""
    tolerated = int(len(values) * (1 - _FIT_SHARE))
    narrow: tuple[MetadataType, ...] = ("boolean", "integer", "float", "datetime", "geo")
    for type_ in narrow:
        misfits = 0
        for value in values:
            misfits += _CONVERTERS[type_](value) is None
            if misfits > tolerated:
                break
        else:
            return type_
    longest = max((len(value) for value in values if isinstance(value, str)), default=0)
    return "text" if longest > _MAX_KEYWORD_CHARS else "keyword"


_TRUE, _FALSE = ("true", "yes"), ("false", "no")
_INTEGER = re.compile(r"[+-]?(0|[1-9]\d{0,18})", re.ASCII)  # 007 is a name, not a number
_FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?", re.ASCII)
_EXIF_DATE = re.compile(r"(\d{4}):(\d{2}):(\d{2}) ", re.ASCII)
_PAIR = re.compile(r"\(?\s*([-+]?\d+(?:\.\d+)?)\s*,\s*([-+]?\d+(?:\.\d+)?)\s*\)?", re.ASCII)


def _boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, _Text) and value.lower() in _TRUE + _FALSE:
        return value.lower() in _TRUE
    return None


def _integer(value: Any) -> int | None:
    if isinstance(value, _Text) and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value in _INT64:
        return value
    return None


def _float(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float | Decimal) or (
        isinstance(value, _Text) and _FLOAT.fullmatch(value) and _is_decimal(value)
    ):
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if isfinite(number) else None
    return None


def _is_decimal(text: str) -> bool:
    """Not 007 and not 00.5: zeros in front belong to a code."""
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
