"""Manifests: a table of anyone's pictures with captions, tags and columns of their own.

CSV, TSV, JSON Lines or Parquet with a column `image` (path relative to the images folder), and
optionally `caption`, `captions` or `caption_1`, `caption_2` ...; `tags`; any further columns
become typed metadata. Rows about the same picture are merged. `taken`, `camera`, `lens` and
`location` say more than the picture's own EXIF data and replace it.

A column's type is what at least 95 % of its values are; the others are reported, never dropped
silently. Rows are read one after the other and counted, and no cell is larger than a line of text
may be, whatever a compressed file makes of itself.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scenesearch.datasets.columns import RESERVED, Descriptions, LooseText, field_name
from scenesearch.datasets.tables import (
    MAX_COLUMNS,
    MAX_LINE_CHARS,
    MAX_ROWS,
    DatasetError,
    Problems,
    RowProblem,
    TableFile,
    is_unicode,
    numbered_lines,
    open_text,
    shorten,
    split_cells,
    too_many_rows,
)
from scenesearch.pictures.originals import LocalFile
from scenesearch.pictures.records import ImageRecord, MetadataType
from scenesearch.runtime.cancel import check_cancelled

METADATA_NAME: Final = "metadata.csv"
MANIFEST_SUFFIXES: Final = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"})

_MAX_LIST: Final = 1_000
_IMAGE_COLUMNS = ("image", "file_name")  # the second is what Hugging Face's image folders use


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
    if not reader.files and reader.problems:
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
        return _parquet_rows(path, problems)
    if suffix in (".jsonl", ".ndjson"):
        return _json_rows(path, problems)
    return _delimited_rows(path, problems)


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
        yield row.line, {name: LooseText(cell) for name, cell in cells if name}


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


def _parquet_rows(path: Path, problems: list[RowProblem]) -> Iterator[tuple[int, dict[str, Any]]]:
    # pyarrow takes 0.2 s to import: only who has a Parquet file pays
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
            # As dictionaries: a text that a file of 100 kB repeats a million times stays one text.
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


def _readable(path: Path, schema: Any, problems: list[RowProblem]) -> tuple[str, ...]:
    """Names of the columns with values of a kind that a picture can be told."""
    names = []
    for column in schema:
        if column.name == "__index_level_0__":
            continue
        if what := _told_by_none(column.type):
            reason = f"the column {shorten(column.name)} holds {what} and is left out"
            problems.append(RowProblem(path, 1, reason))
        else:
            names.append(column.name)
    return tuple(names)


def _told_by_none(kind: Any) -> str:
    """What values of this type are, where no picture can be told by them; else ''."""
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
        # An embedding, mostly; of a list that is empty everywhere nothing is lost.
        return "" if types.is_null(inner) else "lists of no texts"
    return ""


def _is_list(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _check_cells(path: Path, name: str, column: Any) -> None:
    """Raise DatasetError for a column of which a cell is more than a line of text may be."""
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
    """Raise DatasetError for columns that no manifest can have."""
    if len(names) > MAX_COLUMNS:
        raise DatasetError(
            f"{path} has {len(names):,} columns, at most {MAX_COLUMNS} are read: leave some out"
        )
    if not optional_image and not any(name in names for name in _IMAGE_COLUMNS):
        found = ", ".join(name for name in names if name) or "nothing"
        raise DatasetError(
            f"{path} has no column 'image', which a manifest needs (found: {shorten(found, 100)})"
        )
    fields = [field_name(name) for name in names if name]
    for name, key in zip((name for name in names if name), fields, strict=True):
        if key in RESERVED:
            raise DatasetError(
                f"{path}: the column {name!r} is filled from the picture itself; "
                "rename or remove it"
            )
        if not key:
            raise DatasetError(f"{path}: {shorten(name)} cannot name a column")
        if fields.count(key) > 1:
            raise DatasetError(f"{path} has two columns {key!r}")


# --- from rows to records --------------------------------------------------------------------


class _Reader:
    """Finds the picture of each row; what the rows say is collected in `descriptions`."""

    def __init__(self, path: Path, images_dir: Path) -> None:
        self.path, self.images_dir = path, images_dir
        self.files: dict[str, Path] = {}
        self.problems: list[RowProblem] = Problems()
        self.descriptions = Descriptions(self.report)

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
        self.files[image_id] = file
        said = {key: value for key, value in row.items() if key not in _IMAGE_COLUMNS}
        self.descriptions.add(image_id, line, said)

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

    def finish(self) -> Manifest:
        """The records in the order of the manifest, their columns typed."""
        described, fields = self.descriptions.typed()
        records = tuple(
            ImageRecord(
                image_id,
                LocalFile(self.files[image_id]),
                captions=said.captions,
                tags=said.tags,
                metadata=said.metadata,
            )
            for image_id, said in described.items()
        )
        problems = sorted(self.problems, key=lambda problem: problem.line)
        return Manifest(records, fields, tuple(problems))


class _BadPath(Exception):  # noqa: N818
    """Why a picture cannot be used."""
