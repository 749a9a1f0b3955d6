"""Query files for evaluation: texts, and the pictures that should be found for them.

The task's `test_queries.csv`, and any table with a header that has `query_text` and `images`
(one picture, or several between commas) and perhaps `query_id` and `grade`; separated by commas,
semicolons, tabs or `|`. A file of captions (`captions.tsv`, `<image>#<n>`, a tab and the caption)
is a query file too: each caption asks for its own picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from scenesearch.datasets.tables import (
    DatasetError,
    Row,
    RowProblem,
    TableFile,
    numbered_lines,
    open_text,
    shorten,
    split_cells,
)
from scenesearch.datasets.task import is_query_id, read_captions
from scenesearch.pictures.formats import SUFFIXES
from scenesearch.pictures.records import MAX_QUERY_CHARACTERS

_ID, _TEXT, _IMAGES = ("query_id",), ("query_text", "query", "text"), ("images", "image")
_GRADE = ("grade", "relevance")
MAX_GRADE = 100


@dataclass(frozen=True)
class Query:
    """A text and the pictures that are relevant to it.

    `grades` say how relevant, from 0 (judged, and not relevant); 1 where they say nothing. `line`
    is where the file first names the query, 0 for one of no file.
    """

    query_id: str
    text: str
    relevant: tuple[str, ...]
    grades: Mapping[str, int] = field(default_factory=dict)
    line: int = field(default=0, compare=False)


@dataclass(frozen=True)
class QueryFile:
    """The queries of a file in its order, and the rows that were left out.

    `unused` are the columns that nothing was read from.
    """

    queries: tuple[Query, ...]
    problems: tuple[RowProblem, ...]
    unused: tuple[str, ...] = ()


def read_queries(path: Path) -> QueryFile:
    """Queries with their relevant pictures; rows of one query are merged.

    Rows belong together by `query_id`, or without that column by their text; queries without an
    id are numbered q1, q2 ... Raises DatasetError when the file is no query file.
    """
    if _holds_captions(path):
        captions = read_captions(path, most_chars=MAX_QUERY_CHARACTERS)
        return QueryFile(
            tuple(Query(row.query_id, row.text, (row.image,)) for row in captions.rows),
            captions.problems,
        )
    delimiter, names = _header(path)
    table = TableFile(path, delimiter, columns=len(names))
    by_key: dict[str, _Asked] = {}
    lines = table.rows()
    next(lines, None)
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
            table.report(row.line, f"expected {len(names)} columns, found {len(row.cells)}")
            continue
        text = cells[text_at]
        images = dict.fromkeys(part.strip() for part in cells[images_at].split(","))
        relevant = tuple(image for image in images if image)
        given_id = cells[id_at] if id_at is not None else ""
        if id_at is not None and not given_id:
            table.report(row.line, "has no query_id")
            continue
        if not text or not relevant:
            table.report(row.line, "names no image" if text else "has no query_text")
            continue
        if len(text) > MAX_QUERY_CHARACTERS:
            table.report(
                row.line,
                f"its text has {len(text):,} characters, at most {MAX_QUERY_CHARACTERS:,} are read",
            )
            continue
        grade = None
        if grade_at is not None:
            grade = _grade(cells[grade_at])
            if grade is None:
                table.report(
                    row.line, f"{shorten(cells[grade_at])} is no whole grade from 0 to {MAX_GRADE}"
                )
                continue
        key = given_id or text
        known = by_key.get(key)
        if known is None:
            known = by_key[key] = _Asked(given_id or f"q{len(by_key) + 1}", text, row.line)
        elif known.text != text:
            table.report(row.line, f"{given_id} has another text than on line {known.line}")
            continue
        elif all(image in known.images for image in relevant):
            table.report(row.line, f"repeats line {known.line}")
            continue
        for image in relevant:
            known.images.setdefault(image, grade)
    if not by_key:
        why = f" (line {p.line}: {p.reason})" if (p := next(iter(table.problems), None)) else ""
        raise DatasetError(f"{path} holds no usable query{why}")
    used = {id_at, text_at, images_at, grade_at}
    unused = (name for at, name in enumerate(names) if at not in used and name)
    queries = tuple(asked.query() for asked in by_key.values())
    return QueryFile(queries, tuple(table.problems), tuple(unused))


@dataclass
class _Asked:
    """A query while its rows are being read: its pictures, with their grades where there are."""

    query_id: str
    text: str
    line: int
    images: dict[str, int | None] = field(default_factory=dict)

    def query(self) -> Query:
        grades = {image: grade for image, grade in self.images.items() if grade is not None}
        return Query(self.query_id, self.text, tuple(self.images), grades, line=self.line)


def _holds_captions(path: Path) -> bool:
    """Whether the first line is a caption with its id, which no header is."""
    with open_text(path) as file:
        first = next((text for _, text in numbered_lines(file, path) if text.strip()), "")
    query_id, tab, caption = first.partition("\t")
    return bool(tab and caption.strip() and is_query_id(query_id.strip()))


def _grade(text: str) -> int | None:
    try:
        grade = float(text)
    except ValueError:
        return None
    return int(grade) if grade.is_integer() and 0 <= grade <= MAX_GRADE else None


def _header(path: Path) -> tuple[str, list[str]]:
    """The separator under which the header makes most sense, and its column names."""
    with open_text(path) as file:
        first = next((text for _, text in numbered_lines(file, path) if text.strip()), "")
    if not first:
        raise DatasetError(f"{path} is empty: expected a header with query_text and images")
    best: tuple[str, list[str]] = ("\t", [first.strip()])
    for delimiter in ("|", "\t", ";", ","):
        names = [name.strip().lower() for name in split_cells(first, delimiter)[0]]
        if _column(names, _TEXT) is not None and len(names) > len(best[1]):
            best = delimiter, names
    return best


def _column(names: Sequence[str], known: Sequence[str]) -> int | None:
    return next((names.index(name) for name in known if name in names), None)


def _repaired(
    row: Row, width: int, text_at: int, images_at: int, delimiter: str
) -> tuple[str, ...] | None:
    """The cells of a row, with separators that nobody quoted put back where they belong.

    Only when the images come last, right after the text, is it certain what belongs where.
    """
    cells = row.cells
    extra = len(cells) - width
    if extra == 0:
        return cells
    if extra < 0 or images_at != width - 1 or text_at != width - 2:
        return None
    first_image = len(cells)
    while first_image > text_at + 1 and _is_picture(cells[first_image - 1]):
        first_image -= 1
    if first_image == len(cells):
        return None
    text = delimiter.join(row.raw[text_at:first_image]).strip()
    return (*cells[:text_at], text, ",".join(cells[first_image:]))


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES
