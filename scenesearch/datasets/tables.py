"""Reads delimited text from strangers: true line numbers, any line ending, tolerant of quotes.

The csv module is not used: a caption that begins with a stray quote makes it swallow the rows that
follow, and it cannot tell on which physical line a row began.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final, Generic, TextIO, TypeVar

from scenesearch.errors import SceneSearchError
from scenesearch.runtime.cancel import check_cancelled

# Enough for a million pictures with five captions each, one row per caption.
MAX_ROWS: Final = 5_000_000
# Each column becomes a field of the library, with an index.
MAX_COLUMNS: Final = 200
# A longer line is not a table, and reading it could take all memory.
MAX_LINE_CHARS: Final = 1 << 20
# A quoted cell may contain line breaks, but not a whole file.
MAX_CELL_LINES: Final = 50
# Characters searched for the end of a quote without finding it. A file beyond that has stray
# quotes, and from there on it is read line by line.
_MAX_SEARCHED_CHARS: Final = 64 * 1024 * 1024
# Nobody reads more, and a file of nothing but problems must not take all memory.
_MAX_PROBLEMS: Final = 10_000

T = TypeVar("T")


class DatasetError(SceneSearchError):
    """The file is not of the expected kind; the message is one sentence for the user."""


@dataclass(frozen=True)
class RowProblem:
    """A row or value that was left out; `line` counts from 1 (in Parquet it counts rows)."""

    file: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


class Problems(list[RowProblem]):
    """What was left out of a file; the last of 10,000 says that there is more."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def report(self, line: int, reason: str) -> None:
        if len(self) == _MAX_PROBLEMS - 1:
            reason = "and what is left out from here on, which is not listed"
        if len(self) < _MAX_PROBLEMS:
            self.append(RowProblem(self.file, line, reason))

    def nothing_usable(self, what: str) -> DatasetError:
        """The error for a file of which everything was left out."""
        first = f" (line {self[0].line}: {self[0].reason})" if self else ""
        return DatasetError(f"{self.file} holds no usable {what}{first}")


@dataclass(frozen=True)
class Table(Generic[T]):
    """The usable rows of a file, and what was left out."""

    rows: tuple[T, ...]
    problems: tuple[RowProblem, ...]


@dataclass(frozen=True)
class Row:
    """Stripped cells and the physical line on which they begin; `raw` cells keep their spaces."""

    line: int
    cells: tuple[str, ...]
    raw: tuple[str, ...] = field(default=(), compare=False)


class TableFile:
    """A text file with one row per line; rows that cannot be read are reported to `problems`.

    `columns` is the number of cells of a row, known from the format or set when the header has been
    read. It decides whether an open quote spans lines or is just a character.
    """

    def __init__(
        self,
        path: Path,
        delimiter: str,
        *,
        columns: int | None = None,
        problems: Problems | None = None,
    ) -> None:
        self.path = path
        self.delimiter = delimiter
        self.columns = columns
        self.problems = Problems(path) if problems is None else problems
        self._searched_chars = 0

    def rows(self) -> Iterator[Row]:
        """Every row that is not blank; raises DatasetError when the file is not text."""
        with open_text(self.path) as file:
            lines = numbered_lines(file, self.path)
            ahead: deque[tuple[int, str]] = deque()
            while True:
                number, text = ahead.popleft() if ahead else next(lines, (0, ""))
                if not number:
                    return
                if not text or text.isspace():
                    continue
                if not is_unicode(text):
                    self.problems.report(number, "is not valid UTF-8")
                    continue
                cells, is_open = split_cells(text, self.delimiter)
                if is_open:
                    cells = self._joined(text, ahead, lines) or cells
                yield Row(number, tuple(cell.strip() for cell in cells), tuple(cells))

    def _joined(
        self, text: str, ahead: deque[tuple[int, str]], lines: Iterator[tuple[int, str]]
    ) -> list[str] | None:
        """The cells of a row whose open quote closes on a later line, or None if it never does.

        Lines that were read but do not belong to the row stay in `ahead`.
        """
        if self._searched_chars > _MAX_SEARCHED_CHARS:
            return None
        for count in range(1, MAX_CELL_LINES):
            if len(ahead) < count:
                following = next(lines, None)
                if following is None:
                    return None
                ahead.append(following)
            text = f"{text}\n{ahead[count - 1][1]}"
            self._searched_chars += len(text)
            if len(text) > MAX_LINE_CHARS:
                return None
            cells, is_open = split_cells(text, self.delimiter)
            if not is_open and is_unicode(text):
                # Closed, but is it a row? Two stray quotes would make a longer or shorter one.
                if len(cells) != (self.columns or len(cells)) or "\n" not in "".join(cells):
                    return None
                for _ in range(count):
                    ahead.popleft()
                self._searched_chars -= len(text)
                return cells
        return None


def open_text(path: Path) -> TextIO:
    """The file as text: UTF-8, or UTF-16 if a byte order mark says so.

    Invalid bytes are kept as surrogates, so that they can be reported with their line.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4096)
        if start.startswith((b"\xff\xfe", b"\xfe\xff")):
            return path.open(encoding="utf-16", errors="surrogateescape")
        if b"\0" in start:
            raise DatasetError(f"{path} is not a text file")
        return path.open(encoding="utf-8-sig", errors="surrogateescape")
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist") from None
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from None


def numbered_lines(file: TextIO, path: Path) -> Iterator[tuple[int, str]]:
    """Physical lines, counted from 1, without their line ends (of any of the three kinds).

    Raises DatasetError for a line that is too long, and when there are more than `MAX_ROWS`.
    """
    number = 0
    try:
        while line := file.readline(MAX_LINE_CHARS + 1):
            number += 1
            check_cancelled()
            if number > MAX_ROWS:
                raise too_many_rows(path)
            if len(line) > MAX_LINE_CHARS:
                raise DatasetError(
                    f"{path}:{number}: the line is longer than 1 MiB; is it a table?"
                )
            yield number, line.rstrip("\n")
    except UnicodeError:
        raise DatasetError(f"{path} is not a text file in UTF-8 or UTF-16") from None
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from None


def first_text_line(path: Path) -> str:
    """The first line that is not blank; empty if there is none."""
    with open_text(path) as file:
        return next((text for _, text in numbered_lines(file, path) if text.strip()), "")


def sniff_delimiter(
    header: str, candidates: Sequence[str], is_header: Callable[[list[str]], bool]
) -> str:
    """The candidate that gives the most columns among those accepted by `is_header`, else the
    first."""
    best, most = candidates[0], 0
    for delimiter in candidates:
        names = [name.strip() for name in split_cells(header, delimiter)[0]]
        if len(names) > most and is_header(names):
            best, most = delimiter, len(names)
    return best


def too_many_rows(path: Path) -> DatasetError:
    return DatasetError(f"{path} has more than {MAX_ROWS:,} rows, which is the limit: split it")


def split_cells(text: str, delimiter: str) -> tuple[list[str], bool]:
    """The cells of a line, and whether one opens a quote that is not closed.

    A cell counts as quoted only if it ends with the closing quote: `"Stop" says a sign` does not.
    """
    if '"' not in text:
        return text.split(delimiter), False
    quoted = _quoted_cell(delimiter)
    cells: list[str] = []
    is_open = False
    position = 0
    while True:
        match = quoted.match(text, position)
        if match:
            cells.append(match[1].replace('""', '"'))
            position = match.end()
        else:
            end = text.find(delimiter, position)
            cell = text[position:] if end < 0 else text[position:end]
            is_open = is_open or (cell.lstrip(" ").startswith('"') and cell.count('"') % 2 == 1)
            cells.append(cell)
            position = len(text) if end < 0 else end
        if position >= len(text):
            return cells, is_open
        position += len(delimiter)
        if position == len(text):
            return [*cells, ""], is_open


@lru_cache(maxsize=8)
def _quoted_cell(delimiter: str) -> re.Pattern[str]:
    # Possessive: otherwise a long line of quotes takes quadratic time to fail.
    return re.compile(rf' *"((?:[^"]|"")*+)" *(?={re.escape(delimiter)}|\Z)')


def is_unicode(text: str) -> bool:
    """Whether the text was valid in its file: invalid bytes are kept as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shorten(text: str, most: int = 60) -> str:
    """The text as one quoted line for a message."""
    return repr(text if len(text) <= most else f"{text[: most - 1]}…")
