"""Delimited text: line numbers, line endings, quotes, hostile files."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenesearch.datasets.tables import (
    MAX_LINE_CHARS,
    DatasetError,
    Row,
    TableFile,
    split_cells,
)


def rows_of(path: Path, text: str | bytes, columns: int | None = None) -> list[Row]:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(TableFile(path, ",", columns=columns).rows())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_as_an_editor_counts_them(file: Path, end: str) -> None:
    text = end.join(["a,b", "", "c,d", ""])
    assert rows_of(file, text) == [Row(1, ("a", "b")), Row(3, ("c", "d"))]


def test_byte_order_mark_and_spaces_are_no_part_of_a_cell(file: Path) -> None:
    assert rows_of(file, b"\xef\xbb\xbf a , b \n") == [Row(1, ("a", "b"))]


def test_utf16_with_its_mark_is_read(file: Path) -> None:
    assert rows_of(file, "é,b\n".encode("utf-16")) == [Row(1, ("é", "b"))]


def test_quoted_cell_keeps_separators_and_doubled_quotes(file: Path) -> None:
    assert rows_of(file, '"a, ""b""",c\n') == [Row(1, ('a, "b"', "c"))]


def test_quotes_inside_a_text_are_taken_as_they_are(file: Path) -> None:
    assert rows_of(file, '"Stop" says a sign,a "b" c\n') == [
        Row(1, ('"Stop" says a sign', 'a "b" c'))
    ]


def test_stray_quote_does_not_swallow_the_following_rows(file: Path) -> None:
    text = 'x,"a dog\ny,two "cats"\nz,"a bird\n'
    assert [row.line for row in rows_of(file, text, columns=2)] == [1, 2, 3]


def test_quoted_cell_may_hold_line_breaks_and_lines_stay_true(file: Path) -> None:
    text = 'x,"a dog\non a beach"\ny,b\n'
    assert rows_of(file, text, columns=2) == [
        Row(1, ("x", "a dog\non a beach")),
        Row(3, ("y", "b")),
    ]


def test_wrong_bytes_cost_their_line_alone(file: Path) -> None:
    file.write_bytes(b"a,b\nc,\x81\ne,f\n")
    table = TableFile(file, ",")
    assert [row.line for row in table.rows()] == [1, 3]
    assert [str(problem) for problem in table.problems] == [f"{file}:2: is not valid UTF-8"]


def test_a_picture_is_no_table(file: Path) -> None:
    with pytest.raises(DatasetError, match="is not a text file"):
        rows_of(file, b"\xff\xd8\xff\xe0\0\x10JFIF\0")


def test_an_endless_line_stops_the_reading(file: Path) -> None:
    with pytest.raises(DatasetError, match=r"table.csv:2: the line is longer than 1 MiB"):
        rows_of(file, "a\n" + "b" * (MAX_LINE_CHARS + 1))


def test_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none.csv does not exist"):
        list(TableFile(tmp_path / "none.csv", ",").rows())


def test_a_line_of_quotes_is_split_in_no_time() -> None:
    cells, is_open = split_cells('"' * 200_001 + "x,y", ",")
    assert (len(cells), is_open) == (2, True)


_cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12)


@given(st.lists(st.lists(_cell, min_size=3, max_size=3), min_size=1, max_size=6))
def test_whatever_csv_writes_is_read_back(tmp_path_factory, rows: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    file = tmp_path_factory.mktemp("csv") / "table.csv"
    read = rows_of(file, text.getvalue(), columns=3)
    assert [list(row.cells) for row in read] == [[cell.strip() for cell in row] for row in rows]


@given(st.text(alphabet='a,"\n', max_size=60))
def test_no_line_is_lost_whatever_the_quotes(tmp_path_factory, text: str) -> None:
    file = tmp_path_factory.mktemp("csv") / "table.csv"
    read = rows_of(file, text, columns=2)
    kept = "".join("".join(row.cells) for row in read).count("a")
    assert kept == text.count("a")
