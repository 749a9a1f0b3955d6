"""The task's own format: captioned pictures, crowd and expert judgments, test queries.

| file | columns |
|---|---|
| `train_dataset.csv` | `image,query_id,query_text`; pairs that were judged, mostly not matching |
| `ExpertAnnotations.tsv` | image, query id, three grades 1..4; no header |
| `CrowdAnnotations.tsv` | image, query id, share yes, votes yes, votes no; no header |
| `test_queries.csv` | `|query_id|query_text|image` with `|` between, the first column an index |
| `test_images.csv` | `image` |
| `captions.tsv` | caption id, caption; no header |
| `feedback.json` | ours: says that the judged pairs are hits that users marked |

A query id is `<image file name>#<n>`: the picture it was written for can be read from it. Every
reader returns its rows and a report of those it left out.
"""

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from scenesearch.datasets.manifest import METADATA_NAME, read_manifest
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
MATCHING_GRADE = 3  # an expert's grade from which it is a vote of yes

_QUERY_ID = re.compile(r"(?P<image>[^/\\#\0]+)#(?P<number>\d{1,6})")
# Shares are written with 15 decimals, or rounded by whoever saved the file again.
_SHARE_TOLERANCE = 0.006


@dataclass(frozen=True)
class CaptionPair:
    """A picture beside a query's text, as judged; not evidence that the two match."""

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
    """What share of the voters said that the text describes the picture."""

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
    """All pictures of a folder in the task's format, each with the captions written for it.

    `fields` are the types of the columns of its optional `metadata.csv`, a manifest.
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
# `images`: names of the pictures that are there; rows about others are reported as missing.
# `texts`: query id -> text; judgments of other queries are reported as unknown.


def read_train_pairs(path: Path, *, images: Collection[str] | None = None) -> Table[CaptionPair]:
    """The rows of `train_dataset.csv`. They are pairs, not positives."""
    texts: dict[str, tuple[str, int]] = {}

    def parse(row: Row) -> CaptionPair:
        if len(row.cells) < 3:
            raise _RowError(f"expected 3 columns, found {len(row.cells)}")
        # The text comes last: commas that nobody quoted belong to it.
        image, query_id, text = *row.cells[:2], ",".join(row.raw[2:]).strip()
        _check_image(image, images)
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

    def parse(row: Row) -> ExpertJudgment:
        if len(row.cells) != 5:
            raise _RowError(f"expected 5 columns, found {len(row.cells)}")
        image, query_id, *grades = row.cells
        _check_judged(image, query_id, images, texts)
        first, second, third = (_whole(grade, "grade", 1, 4) for grade in grades)
        return ExpertJudgment(image, query_id, (first, second, third))

    return _read(path, "\t", 5, parse, _pair)


def read_crowd(
    path: Path, *, images: Collection[str] | None = None, texts: Collection[str] | None = None
) -> Table[CrowdJudgment]:
    """The rows of `CrowdAnnotations.tsv`. Of the task's own file, 1,109 rows name a query whose
    text only `captions.tsv` has; they are kept unless `texts` are given and lack it."""

    def parse(row: Row) -> CrowdJudgment:
        if len(row.cells) != 5:
            raise _RowError(f"expected 5 columns, found {len(row.cells)}")
        image, query_id = row.cells[:2]
        _check_judged(image, query_id, images, texts)
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

    def parse(row: Row) -> CaptionQuery:
        if len(row.cells) < 4:
            raise _RowError(f"expected 4 columns, found {len(row.cells)}")
        # The text lies in the middle: separators that nobody quoted belong to it.
        query_id, text, image = row.cells[1], "|".join(row.raw[2:-1]).strip(), row.cells[-1]
        _check_image(image, images)
        _check_query_id(query_id)
        _check_text(text, "query")
        return CaptionQuery(query_id, text, image)

    return _read(
        path, "|", ("", "query_id", "query_text", "image"), parse, lambda query: (query.query_id,)
    )


def read_test_images(path: Path, *, images: Collection[str] | None = None) -> Table[str]:
    """The names in `test_images.csv`."""

    def parse(row: Row) -> str:
        image = ",".join(row.cells)
        _check_image(image, images)
        return image

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
    """Query id -> text from any of `train_dataset.csv`, `test_queries.csv` and `captions.tsv`;
    the first file that has an id decides."""
    texts: dict[str, str] = {}
    for file in files:
        for caption in _read_texts(file).rows:
            texts.setdefault(caption.query_id, caption.text)
    return texts


# --- a whole folder --------------------------------------------------------------------------


def is_task_folder(path: Path) -> bool:
    """Whether the folder holds the task's files and at least one of its image folders."""
    if (path / TRAIN_PAIRS).is_file() and (path / TRAIN_FOLDER).is_dir():
        return True
    has_test = (path / TEST_QUERIES).is_file() or (path / TEST_IMAGES).is_file()
    return has_test and (path / TEST_FOLDER).is_dir()


def read_task_folder(folder: Path) -> TaskFolder:
    """Every picture of a folder in the task's format, with its own captions in their order.

    Image ids are paths relative to the folder. Captions of pictures that are not there are
    reported, except those of `captions.tsv`, which may describe a larger collection.
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
    there = {name for names in pictures.values() for name in names}
    problems: list[RowProblem] = []
    captions: dict[str, dict[str, str]] = {}
    for file in (folder / CAPTIONS, folder / TRAIN_PAIRS, folder / TEST_QUERIES):
        if file.is_file():
            read = _read_texts(file, there)
            problems += read.problems
            for caption in read.rows:
                captions.setdefault(caption.image, {}).setdefault(caption.query_id, caption.text)
    if (folder / TEST_IMAGES).is_file() and TEST_FOLDER in pictures:
        listed = read_test_images(folder / TEST_IMAGES, images=set(pictures[TEST_FOLDER]))
        problems += listed.problems
    described = _described(folder)
    problems += described.problems
    by_id = {record.image_id: record for record in described.records}
    records = []
    for name, files in pictures.items():
        for file_name in files:
            own = captions.get(file_name, {})
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
    return TaskFolder(tuple(records), tuple(problems), described.fields)


def _described(folder: Path) -> TaskFolder:
    """What the folder's optional `metadata.csv` tells about its pictures."""
    file = folder / METADATA_NAME
    if not file.is_file():
        return TaskFolder((), ())
    manifest = read_manifest(file, folder)
    return TaskFolder(tuple(manifest.records), tuple(manifest.problems), manifest.fields)


def _read_texts(file: Path, images: Collection[str] | None = None) -> Table[Caption]:
    """Query ids with their texts from whichever of the three files this is."""
    with open_text(file) as opened:
        header = opened.readline(1000)
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
    """Rows of a file through `parse`; of those with the same key, the first.

    `columns` is the header, or the number of columns of a file without one. Raises DatasetError
    when the header is another, or when not one row can be used.
    """
    width = columns if isinstance(columns, int) else len(columns)
    table = TableFile(path, delimiter, columns=width)
    rows: list[T] = []
    first_seen: dict[tuple[str, ...], int] = {}
    lines = table.rows()
    found = width if isinstance(columns, int) else _header(path, delimiter, columns, lines)
    for row in lines:
        # an index column that pandas added is dropped, one that is missing is made up for
        added, dropped = ("",) * (width - found), max(0, found - width)
        if added or dropped:
            row = Row(row.line, added + row.cells[dropped:], added + row.raw[dropped:])
        try:
            value = parse(row)
        except _RowError as error:
            table.report(row.line, str(error))
            continue
        line = first_seen.setdefault(key(value), row.line)
        if line != row.line:
            table.report(row.line, f"repeats line {line}")
            continue
        rows.append(value)
    if not rows and table.problems:
        first = table.problems[0]
        raise DatasetError(f"{path} holds no usable row (line {first.line}: {first.reason})")
    if not rows and isinstance(columns, int):
        raise DatasetError(f"{path} is empty: expected {width} columns separated by tabs")
    return Table(tuple(rows), tuple(table.problems))


def _header(path: Path, delimiter: str, columns: tuple[str, ...], lines: Iterator[Row]) -> int:
    """The number of columns; raises DatasetError unless the named ones stand at the end."""
    header = next(lines, None)
    expected = delimiter.join(columns)
    if header is None:
        raise DatasetError(f"{path} is empty: expected the header {expected}")
    named = tuple(column for column in columns if column)
    if header.cells[-len(named) :] != named:
        found = shorten(delimiter.join(header.cells))
        raise DatasetError(
            f"{path} is not in the task's format: expected the header {expected}, found {found}"
        )
    return len(header.cells)


def _pair(judgment: CaptionPair | ExpertJudgment | CrowdJudgment) -> tuple[str, ...]:
    return judgment.image, judgment.query_id


def _check_image(image: str, images: Collection[str] | None) -> None:
    if not image:
        raise _RowError("names no picture")
    if "/" in image or "\\" in image or image in (".", "..") or "\0" in image:
        raise _RowError(f"{shorten(image)} is not the name of a picture in the folder")
    if images is not None and image not in images:
        raise _RowError(f"the picture {shorten(image)} is missing")


def _check_query_id(query_id: str) -> None:
    if not _QUERY_ID.fullmatch(query_id):
        raise _RowError(f"{shorten(query_id)} is not a query id, expected <image>#<n>")


def _check_text(text: str, what: str, most: int = MAX_QUERY_CHARACTERS) -> None:
    if not text:
        raise _RowError(f"the {what} has no text")
    if len(text) > most:
        raise _RowError(f"the {what} has {len(text):,} characters, at most {most:,} are read")


def _check_judged(
    image: str, query_id: str, images: Collection[str] | None, texts: Collection[str] | None
) -> None:
    _check_image(image, images)
    _check_query_id(query_id)
    if texts is not None and query_id not in texts:
        raise _RowError(f"query {query_id} has no text")


def _whole(text: str, what: str, least: int, most: int) -> int:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (number.is_integer() and least <= number <= most):
        raise _RowError(f"{shorten(text)} is not a {what} from {least} to {most}")
    return int(number)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise _RowError(f"{shorten(text)} is not a share from 0 to 1")
    return share


def _number(query_id: str) -> int:
    return int(query_id.rpartition("#")[2])
