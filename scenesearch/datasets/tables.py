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

# Said once of a file that is no UTF-8.
WESTERN: Final = (
    "is not UTF-8 and was read as Windows-1252, like other such lines; save the table as UTF-8 if "
    "its letters are wrong"
)
_ALPHABET = re.compile("[\udc80-\udcff]{4}")
# How Excel is told of a separator.
_SEPARATOR_LINE = re.compile(r'"?sep=([,;|\t])"?[,;|\t ]*', re.IGNORECASE)

T = TypeVar("T")


class DatasetError(SceneSearchError):
    """The file is not of the expected kind; the message is one sentence for the user."""


@dataclass(frozen=True)
class RowProblem:
    """A row or value that was left out; `line` counts from 1 (in Parquet it counts rows).

    With `is_note`, nothing was left out, but something is to be known of the line.
    """

    file: Path
    line: int
    reason: str
    is_note: bool = False

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


class Problems(list[RowProblem]):
    """What was left out of a file; the last of 10,000 says that there is more."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def report(self, line: int, reason: str) -> None:
        self._add(RowProblem(self.file, line, reason))

    def note(self, line: int, text: str) -> None:
        """Say something about the line that leaves nothing out."""
        self._add(RowProblem(self.file, line, text, is_note=True))

    def _add(self, problem: RowProblem) -> None:
        if len(self) == _MAX_PROBLEMS - 1:
            reason = "and what is left out from here on, which is not listed"
            problem = RowProblem(self.file, problem.line, reason)
        if len(self) < _MAX_PROBLEMS:
            self.append(problem)

    def nothing_usable(self, what: str) -> DatasetError:
        """The error for a file of which everything was left out."""
        left_out = [problem for problem in self if not problem.is_note]
        first = f" (line {left_out[0].line}: {left_out[0].reason})" if left_out else ""
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
    read. It decides whether an open quote spans lines or is just a character. Unless the table
    `has_header`, its first line is a row like any other.
    """

    def __init__(
        self,
        path: Path,
        delimiter: str,
        *,
        columns: int | None = None,
        problems: Problems | None = None,
        has_header: bool = True,
    ) -> None:
        self.path = path
        self.delimiter = delimiter
        self.columns = columns
        self.problems = Problems(path) if problems is None else problems
        self._has_header = has_header
        self._searched_chars = 0
        self._is_western = False

    def rows(self) -> Iterator[Row]:
        """Every row that is not blank; raises DatasetError when the file is not text, and for a
        header that cannot be read."""
        with open_text(self.path) as file:
            lines = numbered_lines(file, self.path)
            ahead: deque[tuple[int, str]] = deque()
            first = True
            while True:
                number, text = ahead.popleft() if ahead else next(lines, (0, ""))
                if not number:
                    return
                if not text or text.isspace():
                    continue
                is_header, first = first and self._has_header, False
                if is_header and (declared := _SEPARATOR_LINE.fullmatch(text)):
                    first = True
                    self.delimiter = declared[1]
                    continue
                if not is_unicode(text):
                    decoded = western(text)
                    if decoded is None and is_header:
                        raise unreadable_header(self.path, number)
                    if decoded is None:
                        self.problems.report(number, "is not valid UTF-8")
                        continue
                    text = decoded
                    self._note_western(number)
                cells, is_open = split_cells(text, self.delimiter)
                if is_open:
                    cells = self._joined(text, ahead, lines) or cells
                yield Row(number, tuple(cell.strip() for cell in cells), tuple(cells))

    def _note_western(self, line: int) -> None:
        if not self._is_western:
            self._is_western = True
            self.problems.note(line, WESTERN)

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
            if not is_unicode(text):
                text = western(text) or text
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
    """The file as text: UTF-8, or UTF-16 or UTF-32 if it begins so.

    Invalid bytes are kept as surrogates, so that they can be reported with their line, or read by
    `western`.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4096)
        return path.open(encoding=_encoding(path, start), errors="surrogateescape")
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist") from None
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from None


def _encoding(path: Path, start: bytes) -> str:
    """By the byte order mark; without one, text of UTF-16 has a zero in every second byte."""
    if start.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\0" not in start:
        return "utf-8-sig"
    even, odd = start[::2], start[1::2]
    if len(start) < 4:  # a single character shows no pattern
        raise DatasetError(f"{path} is not a text file")
    for zeros, others, encoding in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if b"\0" not in others and zeros.count(0) > 0.7 * len(zeros):
            return encoding
    raise DatasetError(f"{path} is not a text file")


def western(text: str) -> str | None:
    """The line in Windows-1252, as Excel saves CSV in Western Europe, or None if it is not that.

    `text` has its bytes beyond ASCII as surrogates. A line with valid UTF-8 in it is a damaged one
    of a file in UTF-8. Many such bytes in a row are another alphabet in another encoding.
    """
    if any("\x80" <= char < "\ud800" or char > "\udfff" for char in text):
        return None
    if _ALPHABET.search(text):
        return None
    try:
        return text.encode("utf-8", "surrogateescape").decode("cp1252")
    except UnicodeError:
        return None


def unreadable_header(path: Path, line: int) -> DatasetError:
    return DatasetError(
        f"{path}:{line}: the header is neither UTF-8 nor Windows-1252: save the table as UTF-8 "
        "(in Excel, 'CSV UTF-8')"
    )


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
    """The first line that is not blank, usually the header; empty if there is none.

    Raises DatasetError when it cannot be read.
    """
    return _head(path)[0]


def _head(path: Path) -> tuple[str, str]:
    """The first line with text after a line `sep=;`, and the separator that such a line names."""
    declared = ""
    with open_text(path) as file:
        for number, text in numbered_lines(file, path):
            if not text.strip():
                continue
            if not declared and (separator := _SEPARATOR_LINE.fullmatch(text)):
                declared = separator[1]
                continue
            if not is_unicode(text):
                decoded = western(text)
                if decoded is None:
                    raise unreadable_header(path, number)
                text = decoded
            return text, declared
    return "", declared


def find_delimiter(
    path: Path, candidates: Sequence[str], is_header: Callable[[list[str]], bool]
) -> str:
    """The delimiter that a line `sep=;` names, else the candidate that gives the most columns
    among those accepted by `is_header`, else the first."""
    header, declared = _head(path)
    return declared or _sniff_delimiter(header, candidates, is_header)


def _sniff_delimiter(
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
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shorten(text: str, most: int = 60) -> str:
    """The text as one quoted line for a message."""
    return repr(text if len(text) <= most else f"{text[: most - 1]}…")
