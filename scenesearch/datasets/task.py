"""The task's own format: captioned pictures, crowd and expert judgments, test queries.

| file | columns |
|---|---|
| `train_dataset.csv` | `image,query_id,query_text`; judged pairs, most of which do not match |
| `ExpertAnnotations.tsv` | image, query id, three grades 1..4; no header |
| `CrowdAnnotations.tsv` | image, query id, share yes, votes yes, votes no; no header |
| `test_queries.csv` | `|query_id|query_text|image`, separated by `|`; the first is an index |
| `test_images.csv` | `image` |
| `captions.tsv` | caption id, caption; no header |
| `feedback.json` | ours: the judged pairs are hits that users marked |

A query id is `<image file name>#<n>`, which names the picture that the query was written for. Every
reader returns the rows, and a report of those it left out.
"""

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from scenesearch.datasets.cells import composed
from scenesearch.datasets.manifest import METADATA_NAME, Manifest, read_manifest
from scenesearch.datasets.names import spellings
from scenesearch.datasets.tables import (
    DatasetError,
    Row,
    RowProblem,
    Table,
    TableFile,
    open_text,
    shorten,
)
from scenesearch.pictures.formats import SUFFIXES
from scenesearch.pictures.originals import LocalFile
from scenesearch.pictures.records import (
    MAX_CAPTION_CHARS,
    MAX_QUERY_CHARACTERS,
    ImageRecord,
    MetadataType,
)
from scenesearch.runtime.cancel import cancellable

TRAIN_PAIRS = "train_dataset.csv"
EXPERT = "ExpertAnnotations.tsv"
CROWD = "CrowdAnnotations.tsv"
TEST_QUERIES = "test_queries.csv"
TEST_IMAGES = "test_images.csv"
CAPTIONS = "captions.tsv"
MARKED = "feedback.json"
TRAIN_FOLDER, TEST_FOLDER = "train_images", "test_images"
MATCHING_GRADE = 3  # from this grade on an expert's grade counts as a vote of yes

_QUERY_ID = re.compile(r"(?P<image>[^/\\#\0]+)#(?P<number>\d{1,6})")
# Shares have 15 decimals, or fewer if a program rounded them when saving the file.
_SHARE_TOLERANCE = 0.006


@dataclass(frozen=True)
class CaptionPair:
    """A picture and a query's text that were judged; that does not mean that they match."""

    image: str
    query_id: str
    query_text: str


@dataclass(frozen=True)
class ExpertJudgment:
    """Three grades of one pair, from 1 (no match) to 4 (full match)."""

    image: str
    query_id: str
    grades: tuple[int, int, int]


@dataclass(frozen=True)
class CrowdJudgment:
    """The votes on whether the text describes the picture; `share` is that of yes."""

    image: str
    query_id: str
    share: float
    yes: int
    no: int


@dataclass(frozen=True)
class CaptionQuery:
    """A test query and the one picture it describes."""

    query_id: str
    query_text: str
    image: str


@dataclass(frozen=True)
class Caption:
    """A text written for a picture; its id is `<image>#<n>`."""

    query_id: str
    text: str

    @property
    def image(self) -> str:
        return image_of(self.query_id)


@dataclass(frozen=True)
class TaskFolder:
    """All pictures of a folder in the task's format, each with its own captions.

    `fields` are the column types of the optional `metadata.csv`, a manifest.
    """

    records: tuple[ImageRecord, ...]
    problems: tuple[RowProblem, ...]
    fields: Mapping[str, MetadataType] = field(default_factory=dict)


def image_of(query_id: str) -> str:
    """The picture a query was written for: the part of its id before `#`."""
    return query_id.rpartition("#")[0]


def is_query_id(text: str) -> bool:
    """Whether this is `<image file name>#<n>`."""
    return _QUERY_ID.fullmatch(text) is not None


# --- readers ---------------------------------------------------------------------------------
# `images`: names of the existing pictures, which rows may spell composed (NFC) or decomposed; rows
# about others are reported as missing.
# `texts`: query id -> text; judgments of other queries are reported as unknown.


def read_train_pairs(path: Path, *, images: Collection[str] | None = None) -> Table[CaptionPair]:
    """The rows of `train_dataset.csv`: judged pairs, not positive pairs."""
    texts: dict[str, tuple[str, int]] = {}

    spelled = None if images is None else spellings(images)

    def parse(row: Row) -> CaptionPair:
        if len(row.cells) < 3:
            raise _RowError(f"expected 3 columns, found {len(row.cells)}")
        # The text comes last, so unquoted commas belong to it.
        image, query_id, text = *row.cells[:2], ",".join(row.raw[2:]).strip()
        image = _picture(image, spelled)
        _check_query_id(query_id)
        _check_text(text, "query")
        known, line = texts.setdefault(query_id, (text, row.line))
        if known != text:
            raise _RowError(f"query {query_id} has another text than on line {line}")
        return CaptionPair(image, query_id, text)

    return _read(path, ",", ("image", "query_id", "query_text"), parse, _pair)


def read_expert(
    path: Path, *, images: Collection[str] | None = None, texts: Collection[str] | None = None
) -> Table[ExpertJudgment]:
    """The rows of `ExpertAnnotations.tsv`."""

    spelled = None if images is None else spellings(images)

    def parse(row: Row) -> ExpertJudgment:
        if len(row.cells) != 5:
            raise _RowError(f"expected 5 columns, found {len(row.cells)}")
        image, query_id, *grades = row.cells
        image = _picture(image, spelled)
        _check_judged(query_id, texts)
        first, second, third = (_whole(grade, "grade", 1, 4) for grade in grades)
        return ExpertJudgment(image, query_id, (first, second, third))

    return _read(path, "\t", 5, parse, _pair)


def read_crowd(
    path: Path, *, images: Collection[str] | None = None, texts: Collection[str] | None = None
) -> Table[CrowdJudgment]:
    """The rows of `CrowdAnnotations.tsv`.

    In the task's own file, 1,109 rows name a query whose text is only in `captions.tsv`. They are
    kept, unless `texts` are given that lack it.
    """

    spelled = None if images is None else spellings(images)

    def parse(row: Row) -> CrowdJudgment:
        if len(row.cells) != 5:
            raise _RowError(f"expected 5 columns, found {len(row.cells)}")
        image, query_id = row.cells[:2]
        image = _picture(image, spelled)
        _check_judged(query_id, texts)
        share = _share(row.cells[2])
        yes, no = (_whole(votes, "number of votes", 0, 1000) for votes in row.cells[3:])
        if yes + no == 0:
            raise _RowError("nobody has voted")
        if abs(share - yes / (yes + no)) > _SHARE_TOLERANCE:
            raise _RowError(f"the share {row.cells[2]} does not follow from {yes} yes and {no} no")
        return CrowdJudgment(image, query_id, share, yes, no)

    return _read(path, "\t", 5, parse, _pair)


def read_test_queries(path: Path, *, images: Collection[str] | None = None) -> Table[CaptionQuery]:
    """The rows of `test_queries.csv`."""

    spelled = None if images is None else spellings(images)

    def parse(row: Row) -> CaptionQuery:
        if len(row.cells) < 4:
            raise _RowError(f"expected 4 columns, found {len(row.cells)}")
        # The text is in the middle, so unquoted separators belong to it.
        query_id, text, image = row.cells[1], "|".join(row.raw[2:-1]).strip(), row.cells[-1]
        image = _picture(image, spelled)
        _check_query_id(query_id)
        _check_text(text, "query")
        return CaptionQuery(query_id, text, image)

    return _read(
        path, "|", ("", "query_id", "query_text", "image"), parse, lambda query: (query.query_id,)
    )


def read_test_images(path: Path, *, images: Collection[str] | None = None) -> Table[str]:
    """The names in `test_images.csv`."""

    spelled = None if images is None else spellings(images)

    def parse(row: Row) -> str:
        return _picture(",".join(row.cells), spelled)

    return _read(path, ",", ("image",), parse, lambda image: (image,))


def read_captions(path: Path, *, most_chars: int = MAX_CAPTION_CHARS) -> Table[Caption]:
    """The rows of `captions.tsv`; a caption of more characters is left out."""

    def parse(row: Row) -> Caption:
        if len(row.cells) < 2:
            raise _RowError("expected a caption id, a tab and a caption")
        query_id, text = row.cells[0], " ".join(row.cells[1:]).strip()
        _check_query_id(query_id)
        _check_text(text, "caption", most_chars)
        return Caption(query_id, text)

    return _read(path, "\t", 2, parse, lambda caption: (caption.query_id,))


def texts_of(*files: Path) -> dict[str, str]:
    """Query id -> text, from any of `train_dataset.csv`, `test_queries.csv` and `captions.tsv`; of
    several texts for an id, that of the first file."""
    texts: dict[str, str] = {}
    for file in files:
        for caption in _read_texts(file).rows:
            texts.setdefault(caption.query_id, caption.text)
    return texts


# --- a whole folder --------------------------------------------------------------------------


def is_task_folder(path: Path) -> bool:
    """Whether the folder has the task's files and at least one of its image folders."""
    if (path / TRAIN_PAIRS).is_file() and (path / TRAIN_FOLDER).is_dir():
        return True
    has_test = (path / TEST_QUERIES).is_file() or (path / TEST_IMAGES).is_file()
    return has_test and (path / TEST_FOLDER).is_dir()


def read_task_folder(
    folder: Path, declared: Mapping[str, MetadataType] = MappingProxyType({})
) -> TaskFolder:
    """Every picture of a folder in the task's format, with its own captions in order.

    Image ids are paths relative to the folder. Captions of missing pictures are reported, except
    those in `captions.tsv`, which may describe a larger collection.
    """
    if not is_task_folder(folder):
        raise DatasetError(
            f"{folder} is not in the task's format: expected {TRAIN_PAIRS} beside {TRAIN_FOLDER}/, "
            f"or {TEST_QUERIES} beside {TEST_FOLDER}/"
        )
    pictures = {
        name: sorted(
            file.name
            for file in cancellable((folder / name).iterdir())
            if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
        )
        for name in (TRAIN_FOLDER, TEST_FOLDER)
        if (folder / name).is_dir()
    }
    existing = {name for names in pictures.values() for name in names}
    problems: list[RowProblem] = []
    captions: dict[str, dict[str, str]] = {}
    for file in (folder / CAPTIONS, folder / TRAIN_PAIRS, folder / TEST_QUERIES):
        if file.is_file():
            read = _read_texts(file, existing)
            problems += read.problems
            for caption in read.rows:
                captions.setdefault(composed(caption.image), {}).setdefault(
                    caption.query_id, caption.text
                )
    if (folder / TEST_IMAGES).is_file() and TEST_FOLDER in pictures:
        listed = read_test_images(folder / TEST_IMAGES, images=set(pictures[TEST_FOLDER]))
        problems += listed.problems
    manifest = Manifest((), {}, ())
    if (folder / METADATA_NAME).is_file():
        manifest = read_manifest(folder / METADATA_NAME, folder, declared=declared)
    problems += manifest.problems
    by_id = {record.image_id: record for record in manifest.records}
    records = []
    for name, files in pictures.items():
        for file_name in files:
            own = captions.get(composed(file_name), {})
            image_id = f"{name}/{file_name}"
            known = by_id.get(image_id)
            records.append(
                ImageRecord(
                    image_id,
                    LocalFile(folder / name / file_name),
                    captions=tuple(dict.fromkeys(own[key] for key in sorted(own, key=_number))),
                    tags=known.tags if known else (),
                    metadata=known.metadata if known else {},
                )
            )
    return TaskFolder(tuple(records), tuple(problems), manifest.fields)


def _read_texts(file: Path, images: Collection[str] | None = None) -> Table[Caption]:
    """Query ids and texts from one of the three files, recognised by its header."""
    with open_text(file) as opened:
        header = opened.readline(1000).lower()
    if "query_text" not in header:
        return read_captions(file)
    if "|" in header:
        queries = read_test_queries(file, images=images)
        rows = tuple(Caption(row.query_id, row.query_text) for row in queries.rows)
        return Table(rows, queries.problems)
    pairs = read_train_pairs(file, images=images)
    return Table(tuple(Caption(row.query_id, row.query_text) for row in pairs.rows), pairs.problems)


# --- rows ------------------------------------------------------------------------------------


class _RowError(Exception):
    """Why a row cannot be used."""


T = TypeVar("T")


def _read(
    path: Path,
    delimiter: str,
    columns: tuple[str, ...] | int,
    parse: Callable[[Row], T],
    key: Callable[[T], tuple[str, ...]],
) -> Table[T]:
    """The parsed rows of a file; of several with the same key, the first.

    `columns` is the header, or the number of columns of a file without a header. Raises
    DatasetError for another header, and when no row can be used.
    """
    width = columns if isinstance(columns, int) else len(columns)
    table = TableFile(path, delimiter, columns=width, has_header=not isinstance(columns, int))
    rows: list[T] = []
    first_seen: dict[tuple[str, ...], int] = {}
    lines = table.rows()
    found = width if isinstance(columns, int) else _header(path, delimiter, columns, lines)
    for row in lines:
        # an index column that pandas added is dropped, a missing one is filled in
        added, dropped = ("",) * (width - found), max(0, found - width)
        if added or dropped:
            row = Row(row.line, added + row.cells[dropped:], added + row.raw[dropped:])
        try:
            value = parse(row)
        except _RowError as error:
            table.problems.report(row.line, str(error))
            continue
        line = first_seen.setdefault(key(value), row.line)
        if line != row.line:
            table.problems.report(row.line, f"repeats line {line}")
            continue
        rows.append(value)
    if not rows and table.problems:
        raise table.problems.nothing_usable("row")
    if not rows and isinstance(columns, int):
        raise DatasetError(f"{path} is empty: expected {width} columns separated by tabs")
    return Table(tuple(rows), tuple(table.problems))


def _header(path: Path, delimiter: str, columns: tuple[str, ...], lines: Iterator[Row]) -> int:
    """The number of columns; raises DatasetError unless the named ones are at the end."""
    header = next(lines, None)
    expected = delimiter.join(columns)
    if header is None:
        raise DatasetError(f"{path} is empty: expected the header {expected}")
    named = tuple(column for column in columns if column)
    if tuple(map(str.lower, header.cells[-len(named) :])) != named:
        found = shorten(delimiter.join(header.cells))
        raise DatasetError(
            f"{path} is not in the task's format: expected the header {expected}, found {found}"
        )
    return len(header.cells)


def _pair(judgment: CaptionPair | ExpertJudgment | CrowdJudgment) -> tuple[str, ...]:
    return judgment.image, judgment.query_id


def _picture(image: str, spelled: Mapping[str, str] | None) -> str:
    """The picture's name as it is spelled where it exists."""
    if not image:
        raise _RowError("names no picture")
    if "/" in image or "\\" in image or image in (".", "..") or "\0" in image:
        raise _RowError(f"{shorten(image)} is not the name of a picture in the folder")
    found = image if spelled is None else spelled.get(composed(image))
    if found is None:
        raise _RowError(f"the picture {shorten(image)} is missing")
    return found


def _check_query_id(query_id: str) -> None:
    if not _QUERY_ID.fullmatch(query_id):
        raise _RowError(f"{shorten(query_id)} is not a query id, expected <image>#<n>")


def _check_text(text: str, what: str, most: int = MAX_QUERY_CHARACTERS) -> None:
    if not text:
        raise _RowError(f"the {what} has no text")
    if len(text) > most:
        raise _RowError(f"the {what} has {len(text):,} characters, at most {most:,} are read")


def _check_judged(query_id: str, texts: Collection[str] | None) -> None:
    _check_query_id(query_id)
    if texts is not None and query_id not in texts:
        raise _RowError(f"query {query_id} has no text")


def _whole(text: str, what: str, least: int, most: int) -> int:
    number = _float(text)
    if not (number.is_integer() and least <= number <= most):
        raise _RowError(f"{shorten(text)} is not a {what} from {least} to {most}")
    return int(number)


def _share(text: str) -> float:
    share = _float(text)
    if not 0 <= share <= 1:
        raise _RowError(f"{shorten(text)} is not a share from 0 to 1")
    return share


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _number(query_id: str) -> int:
    return int(query_id.rpartition("#")[2])
