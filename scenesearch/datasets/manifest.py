"""Reads manifests: tables of pictures with captions, tags and columns of any kind.

CSV, TSV, JSON Lines or Parquet with a column `image` (path relative to the images folder, or an
absolute path in it or in another folder that the caller allows). Optional columns are `caption`,
`captions` or `caption_1`, `caption_2` ..., and `tags`. All other columns
become typed metadata. Rows about the same picture are merged. `taken`, `camera`, `lens` and
`location` replace the picture's own EXIF data.

A column has the type of at least 95 % of its values; the others are reported, never dropped
silently. Rows are read one by one and counted, and no cell may be larger than a line of text,
however small the compressed file is.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from scenesearch.datasets.cells import LooseText, composed, is_missing, json_row
from scenesearch.datasets.columns import Descriptions, field_name
from scenesearch.datasets.names import Folder
from scenesearch.datasets.tables import (
    MAX_COLUMNS,
    MAX_LINE_CHARS,
    MAX_ROWS,
    WESTERN,
    DatasetError,
    Problems,
    Row,
    RowProblem,
    TableFile,
    find_delimiter,
    is_unicode,
    numbered_lines,
    open_text,
    shorten,
    too_many_rows,
    western,
)
from scenesearch.pictures.originals import LocalFile
from scenesearch.pictures.records import ImageRecord, MetadataType
from scenesearch.runtime.cancel import check_cancelled

METADATA_NAME: Final = "metadata.csv"
MANIFEST_SUFFIXES: Final = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"})

_MAX_LIST: Final = 1_000
# No file system has longer paths.
_MAX_PATH: Final = 4_096
_IMAGE_COLUMNS = ("image", "file_name")  # the second is what Hugging Face's image folders use


@dataclass(frozen=True)
class Manifest:
    """Records in the order of the manifest, the types of its own columns, what was left out."""

    records: tuple[ImageRecord, ...]
    fields: Mapping[str, MetadataType]
    problems: tuple[RowProblem, ...]


def read_manifest(
    path: Path,
    images_dir: Path | None = None,
    *,
    declared: Mapping[str, MetadataType] = MappingProxyType({}),
    is_allowed: Callable[[Path], bool] = lambda file: False,
) -> Manifest:
    """Read a manifest of pictures in `images_dir`, by default the manifest's folder.

    Pictures elsewhere are read if they are allowed; their image id is their path. Columns named
    like a field that is `declared` get its type. Raises DatasetError when it is not a manifest; a
    row that cannot be used is a problem.
    """
    folder = Folder((images_dir or path.parent).resolve())
    problems = Problems(path)
    descriptions = Descriptions(problems.report, problems.note, declared)
    files: dict[str, Path] = {}
    for line, row in _rows(path, problems):
        naming, others = _layout(tuple(row))
        name = next((row[key] for key in naming if not is_missing(row[key])), None)
        if not isinstance(name, str):
            problems.report(line, "names no picture")
            continue
        try:
            image_id, file = _find(folder, str(name), is_allowed)
        except _BadPathError as error:
            problems.report(line, str(error))
            continue
        files[image_id] = file
        descriptions.add(image_id, line, {key: row[key] for key in others})
    if not files and problems:
        raise problems.nothing_usable("row")
    try:
        described, fields = descriptions.typed()
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from None
    records = tuple(
        ImageRecord(
            image_id,
            LocalFile(files[image_id]),
            captions=description.captions,
            tags=description.tags,
            metadata=description.metadata,
        )
        for image_id, description in described.items()
    )
    return Manifest(records, fields, tuple(sorted(problems, key=lambda problem: problem.line)))


class _BadPathError(Exception):
    """Why a picture cannot be used."""


@lru_cache(maxsize=4096)
def _name_of(column: str) -> str:
    """A column's name as it is compared with those of the picture: ' File Name' is file_name."""
    return field_name(column).lower()


@lru_cache(maxsize=256)
def _layout(columns: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The columns that name the picture, the most telling first, and the others."""
    named = {_name_of(column): column for column in columns}
    naming = [named[name] for name in _IMAGE_COLUMNS if name in named]
    return naming, [column for column in columns if column not in naming]


def _find(folder: Folder, name: str, is_allowed: Callable[[Path], bool]) -> tuple[str, Path]:
    """The image id and file of a picture named in the manifest; raises _BadPathError."""
    if "\0" in name or not is_unicode(name):
        raise _BadPathError(f"{shorten(name)} is not a file name")
    try:
        file = folder.find(name)
        resolved = file.resolve()
        inside = resolved.is_relative_to(folder.path)
        if not inside and not (
            file.is_absolute() and Path(name).is_absolute() and is_allowed(resolved)
        ):
            raise _BadPathError(
                f"{shorten(name, _MAX_PATH)} lies outside of {folder.path} and of the folders of "
                "this library: ingest its folder first, or name that folder together with "
                "--manifest"
            )
        if not resolved.is_file():
            what = "a folder" if resolved.is_dir() else "missing"
            raise _BadPathError(
                f"the picture {shorten(name, _MAX_PATH)} is {what}: looked for it at {file}"
            )
    except (OSError, RuntimeError, ValueError):  # too long a name, a loop of links
        raise _BadPathError(f"{shorten(name)} is not a file name") from None
    return (resolved.relative_to(folder.path) if inside else resolved).as_posix(), resolved


# --- rows of the four formats ----------------------------------------------------------------


def _rows(path: Path, problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line (row in Parquet) and values by column; cells of CSV are `LooseText`."""
    suffix = path.suffix.lower()
    if suffix not in MANIFEST_SUFFIXES:
        raise DatasetError(f"{path} is no manifest: expected CSV, TSV, JSON Lines or Parquet")
    if not path.is_file():
        raise DatasetError(f"{path} does not exist")
    if suffix == ".parquet":
        return _parquet_rows(path, problems)
    if suffix in (".jsonl", ".ndjson"):
        return _json_rows(path, problems)
    return _delimited_rows(path, problems)


def _delimited_rows(path: Path, problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    default = "\t" if path.suffix.lower() == ".tsv" else ","
    delimiter = find_delimiter(
        path,
        (default, ",", ";", "\t", "|"),
        lambda names: any(_name_of(name) in _IMAGE_COLUMNS for name in names),
    )
    table = TableFile(path, delimiter, problems=problems)
    lines = table.rows()
    header = next(lines, None)
    header = header or Row(1, ())
    names = tuple(map(composed, header.cells))
    _check_columns(path, names)
    table.columns = len(names)
    for position, name in enumerate(names, start=1):
        if not name:
            problems.report(header.line, f"column {position} has no name and is left out")
    for row in lines:
        if len(row.cells) != len(names):
            problems.report(row.line, f"expected {len(names)} columns, found {len(row.cells)}")
            continue
        cells = zip(names, row.cells, strict=True)
        yield row.line, {name: LooseText(cell) for name, cell in cells if name}


def _json_rows(path: Path, problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    checked: set[str] = set()
    is_western = False
    with open_text(path) as file:
        for line, text in numbered_lines(file, path):
            if not text.strip():
                continue
            if not is_unicode(text) and (decoded := western(text)) is not None:
                text = decoded
                if not is_western:
                    problems.note(line, WESTERN)
                    is_western = True
            row = json_row(text) if is_unicode(text) else "is not valid UTF-8"
            if isinstance(row, str):
                problems.report(line, row)
                continue
            if not row.keys() <= checked:
                _check_columns(path, tuple(row), optional_image=True)
                checked |= row.keys()
            yield line, row


def _parquet_rows(path: Path, problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    # pyarrow takes 0.2 s to import, which only a Parquet file should cost
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if file.metadata.num_rows > MAX_ROWS:
                raise too_many_rows(path)
            if file.metadata.num_columns > MAX_COLUMNS:
                _check_columns(path, ("image",) * file.metadata.num_columns)
            names = _readable(path, file.schema_arrow, problems)
            _check_columns(path, names)
            # As dictionaries: a text that a file of 100 kB repeats a million times is stored once.
            leaves = (file.schema.column(number) for number in range(len(file.schema)))
            texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        number = 0
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            for batch in file.iter_batches(batch_size=1024, columns=list(names)):
                for name, column in zip(names, batch.columns, strict=True):
                    _check_cells(path, name, column)
                for row in range(batch.num_rows):
                    check_cancelled()
                    number += 1
                    if number > MAX_ROWS:
                        raise too_many_rows(path)
                    yield (
                        number,
                        {
                            name: column[row].as_py()
                            for name, column in zip(names, batch.columns, strict=True)
                        },
                    )
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(f"{path} is not a readable Parquet file: {reason}") from None


def _readable(path: Path, schema: Any, problems: Problems) -> tuple[str, ...]:
    """Names of the columns whose values can describe a picture."""
    names = []
    for column in schema:
        if column.name == "__index_level_0__":
            continue
        if what := _unusable(column.type):
            reason = f"the column {shorten(column.name)} holds {what} and is left out"
            problems.report(1, reason)
        else:
            names.append(column.name)
    return tuple(names)


def _unusable(kind: Any) -> str:
    """Why values of this type cannot describe a picture, in words; '' if they can."""
    import pyarrow.types as types

    is_list = _is_list(kind)
    inner = kind.value_type if is_list else kind
    inner = inner.value_type if types.is_dictionary(inner) else inner
    is_struct = types.is_struct(inner) and not is_list
    parts = [inner.field(number).type for number in range(inner.num_fields)] if is_struct else []
    if any(
        types.is_binary(part) or types.is_large_binary(part) or types.is_fixed_size_binary(part)
        for part in (inner, *parts)
    ):
        return "bytes"
    if types.is_nested(inner) and not is_struct:
        return "lists within lists"
    if is_list and not (types.is_string(inner) or types.is_large_string(inner)):
        # Mostly an embedding. A list that is empty everywhere loses nothing.
        return "" if types.is_null(inner) else "lists of no texts"
    return ""


def _is_list(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _check_cells(path: Path, name: str, column: Any) -> None:
    """Raise DatasetError for a column with a cell larger than a line of text may be."""
    import pyarrow.compute as pc
    import pyarrow.types as types

    if types.is_dictionary(column.type):
        column = column.dictionary
    if types.is_string(column.type) or types.is_large_string(column.type):
        if (pc.max(pc.binary_length(column)).as_py() or 0) > MAX_LINE_CHARS:
            raise DatasetError(f"{path}: a value of the column {shorten(name)} is over 1 MiB")
    elif _is_list(column.type):
        if (pc.max(pc.list_value_length(column)).as_py() or 0) > _MAX_LIST:
            raise DatasetError(
                f"{path}: a list of the column {shorten(name)} has more than {_MAX_LIST:,} values"
            )
        _check_cells(path, name, column.flatten())
    elif types.is_struct(column.type):
        for part in column.flatten():
            _check_cells(path, name, part)


def _check_columns(path: Path, names: tuple[str, ...], *, optional_image: bool = False) -> None:
    """Raise DatasetError for columns that a manifest cannot have."""
    if len(names) > MAX_COLUMNS:
        raise DatasetError(
            f"{path} has {len(names):,} columns, at most {MAX_COLUMNS} are read: leave some out"
        )
    if not optional_image and not _layout(names)[0]:
        found = ", ".join(name for name in names if name) or "nothing"
        raise DatasetError(
            f"{path} has no column 'image', which a manifest needs (found: {shorten(found, 100)})"
        )
    named = [name for name in names if name]
    fields = [field_name(name) for name in named]
    lower = [_name_of(name) for name in named if _name_of(name) in _IMAGE_COLUMNS]
    for name, key in zip(named, fields, strict=True):
        if not key:
            raise DatasetError(f"{path}: {shorten(name)} cannot name a column")
        if fields.count(key) > 1 or lower.count(key.lower()) > 1:
            raise DatasetError(f"{path} has two columns {key!r}")
