"""Reads query files for evaluation: texts, and the pictures that should be found for them.

A query file is the task's `test_queries.csv`; or any table with the columns `query_text` and
`images` (one picture, several between `,`, `;` or `|`, or a list as JSON or pandas writes it), and
optionally `query_id` and `grade`, separated by commas, semicolons, tabs or `|`; or a file of
captions (`captions.tsv`: `<image>#<n>`, a tab, the caption), where each caption asks for its own
picture.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scenesearch.datasets.cells import LooseText, composed, is_missing, pictures_listed
from scenesearch.datasets.columns import field_name
from scenesearch.datasets.tables import (
    DatasetError,
    Row,
    RowProblem,
    TableFile,
    find_delimiter,
    first_text_line,
    shorten,
)
from scenesearch.datasets.task import is_query_id, read_captions
from scenesearch.pictures.formats import SUFFIXES, suffix_of
from scenesearch.pictures.records import MAX_QUERY_CHARACTERS

_ID, _TEXT, _IMAGES = ("query_id",), ("query_text", "query", "text"), ("images", "image")
_GRADE = ("grade", "relevance")
MAX_GRADE = 100


@dataclass(frozen=True)
class Query:
    """A text and the pictures that are relevant to it.

    `grades` say how relevant, from 0 (judged, and not relevant); without a grade it is 1. `line` is
    the first line about the query, 0 for a query that is not from a file.
    """

    query_id: str
    text: str
    relevant: tuple[str, ...]
    grades: Mapping[str, int] = field(default_factory=dict)
    line: int = field(default=0, compare=False)


@dataclass(frozen=True)
class QueryFile:
    """The queries of a file, in order, and the rows that were left out; `unused` columns were
    not read."""

    queries: tuple[Query, ...]
    problems: tuple[RowProblem, ...]
    unused: tuple[str, ...] = ()


def read_queries(path: Path) -> QueryFile:
    """Queries with their relevant pictures; rows of one query are merged.

    Rows with the same `query_id` (without that column: the same text) are one query. Queries
    without an id are numbered q1, q2 ... Raises DatasetError when the file is not a query file.
    """
    first = first_text_line(path)
    query_id, tab, caption = first.partition("\t")
    if tab and caption.strip() and is_query_id(query_id.strip()):  # no header begins so
        captions = read_captions(path, most_chars=MAX_QUERY_CHARACTERS)
        return QueryFile(
            tuple(Query(row.query_id, row.text, (row.image,)) for row in captions.rows),
            captions.problems,
        )
    if not first:
        raise DatasetError(f"{path} is empty: expected a header with query_text and images")
    delimiter = find_delimiter(
        path,
        ("|", "\t", ";", ","),
        lambda names: _column([field_name(name).lower() for name in names], _TEXT) is not None,
    )
    table = TableFile(path, delimiter)
    report, note = table.problems.report, table.problems.note
    by_key: dict[str, _QueryRows] = {}
    lines = table.rows()
    header = next(lines)
    names = [field_name(name).lower() for name in header.cells]
    table.columns = len(names)
    id_at, text_at, images_at, grade_at = (
        _column(names, known) for known in (_ID, _TEXT, _IMAGES, _GRADE)
    )
    if text_at is None or images_at is None:
        raise DatasetError(
            f"{path} is no query file: expected a header with query_text and images, "
            f"found {shorten(delimiter.join(names))}"
        )
    for row in lines:
        cells = _repaired(row, len(names), text_at, images_at, delimiter)
        if cells is None:
            report(row.line, f"expected {len(names)} columns, found {len(row.cells)}")
            continue
        text = "" if is_missing(LooseText(cells[text_at])) else composed(cells[text_at])
        listed = "" if is_missing(LooseText(cells[images_at])) else cells[images_at]
        images = Counter(pictures_listed(listed))
        relevant = tuple(images)
        given_id = composed(cells[id_at]) if id_at is not None else ""
        if id_at is not None and not given_id:
            report(row.line, "has no query_id")
            continue
        if not text or not relevant:
            report(row.line, "names no image" if text else "has no query_text")
            continue
        if len(text) > MAX_QUERY_CHARACTERS:
            report(
                row.line,
                f"its text has {len(text):,} characters, at most {MAX_QUERY_CHARACTERS:,} are read",
            )
            continue
        grade = None
        if grade_at is not None:
            grade = _grade(cells[grade_at])
            if grade is None:
                report(
                    row.line, f"{shorten(cells[grade_at])} is no whole grade from 0 to {MAX_GRADE}"
                )
                continue
        key = given_id or text
        known = by_key.get(key)
        if known is None:
            known = by_key[key] = _QueryRows(given_id or f"q{len(by_key) + 1}", text, row.line)
        elif known.text != text:
            report(row.line, f"{given_id} has another text than on line {known.line}")
            continue
        elif all(image in known.images for image in relevant):
            report(row.line, f"repeats line {known.line}")
            continue
        twice = [image for image in relevant if images[image] > 1 or image in known.images]
        if twice:
            note(row.line, f"names {', '.join(twice[:3])} more than once; each counts once")
        for image in relevant:
            known.images.setdefault(image, grade)
    if not by_key:
        raise table.problems.nothing_usable("query")
    used = {id_at, text_at, images_at, grade_at}
    unused = (name for at, name in enumerate(names) if at not in used and name)
    queries = tuple(rows.query() for rows in by_key.values())
    return QueryFile(queries, tuple(table.problems), tuple(unused))


@dataclass
class _QueryRows:
    """A query while its rows are read: its pictures, with a grade or None."""

    query_id: str
    text: str
    line: int
    images: dict[str, int | None] = field(default_factory=dict)

    def query(self) -> Query:
        grades = {image: grade for image, grade in self.images.items() if grade is not None}
        return Query(self.query_id, self.text, tuple(self.images), grades, line=self.line)


def _grade(text: str) -> int | None:
    try:
        grade = float(text)
    except ValueError:
        return None
    return int(grade) if grade.is_integer() and 0 <= grade <= MAX_GRADE else None


def _column(names: Sequence[str], known: Sequence[str]) -> int | None:
    return next((names.index(name) for name in known if name in names), None)


def _repaired(
    row: Row, width: int, text_at: int, images_at: int, delimiter: str
) -> tuple[str, ...] | None:
    """The cells of a row, with unquoted separators put back into the text.

    That is only certain if the images come last, right after the text; otherwise None.
    """
    cells = row.cells
    extra = len(cells) - width
    if extra == 0:
        return cells
    if extra < 0 or images_at != width - 1 or text_at != width - 2:
        return None
    first_image = len(cells)
    while first_image > text_at + 1 and suffix_of(cells[first_image - 1]) in SUFFIXES:
        first_image -= 1
    if first_image == len(cells):
        return None
    text = delimiter.join(row.raw[text_at:first_image]).strip()
    return (*cells[:text_at], text, ",".join(cells[first_image:]))
