"""Query files: the task's own and anyone's."""

from pathlib import Path

import pytest

from scenesearch.datasets.queries import Query, read_queries
from scenesearch.datasets.tables import DatasetError


def read(path: Path, text: str):
    path.write_text(text, encoding="utf-8")
    return read_queries(path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "queries.csv"


def test_the_tasks_file(file: Path) -> None:
    text = "|query_id|query_text|image\n0|a.jpg#0|A dog , running|a.jpg\n1|a.jpg#1|A dog|a.jpg\n"
    assert read(file, text).queries == (
        Query("a.jpg#0", "A dog , running", ("a.jpg",)),
        Query("a.jpg#1", "A dog", ("a.jpg",)),
    )


def test_several_relevant_pictures_between_commas(file: Path) -> None:
    text = "query_text\timages\ntwo boats\ta.jpg, b.jpg\n"
    assert read(file, text).queries == (Query("q1", "two boats", ("a.jpg", "b.jpg")),)


def test_commas_nobody_quoted_are_told_apart_by_the_pictures(file: Path) -> None:
    text = "query_text,images\na dog, wet and black,a.jpg,b.jpg\n"
    assert read(file, text).queries == (Query("q1", "a dog, wet and black", ("a.jpg", "b.jpg")),)


def test_rows_of_one_query_are_merged(file: Path) -> None:
    text = "query_text;images\na dog;a.jpg\na cat;c.jpg\na dog;b.jpg\n"
    found = read(file, text)
    assert found.queries == (
        Query("q1", "a dog", ("a.jpg", "b.jpg")),
        Query("q2", "a cat", ("c.jpg",)),
    )
    assert found.problems == ()


def test_same_text_under_two_ids_stays_two_queries(file: Path) -> None:
    text = "query_id,query_text,images\n1,a dog,a.jpg\n2,a dog,b.jpg\n"
    assert [query.query_id for query in read(file, text).queries] == ["1", "2"]


def test_what_is_left_out_is_reported_with_its_line(file: Path) -> None:
    text = (
        "query_id,query_text,images\n"
        "1,a dog,a.jpg\n"
        "1,a dog,a.jpg\n"
        "1,a cat,b.jpg\n"
        "\n"
        "2,,b.jpg\n"
        "3,a cat,\n"
        ",a cat,b.jpg\n"
        "4,a cat\n"
    )
    found = read(file, text)
    assert [query.query_id for query in found.queries] == ["1"]
    assert [(p.line, p.reason) for p in found.problems] == [
        (3, "repeats line 2"),
        (4, "1 has another text than on line 2"),
        (6, "has no query_text"),
        (7, "names no image"),
        (8, "has no query_id"),
        (9, "expected 3 columns, found 2"),
    ]


def test_grades_say_how_relevant_a_picture_is(file: Path) -> None:
    text = (
        "query_text,image,grade,note\na dog,a.jpg,3,x\na dog,b.jpg,0,\na dog,c.jpg,good,\n"
        "a dog,d.jpg,-1,\n"
    )
    found = read(file, text)
    (query,) = found.queries
    assert (query.relevant, query.grades) == (("a.jpg", "b.jpg"), {"a.jpg": 3, "b.jpg": 0})
    assert query.line == 2
    assert found.unused == ("note",)
    assert [(p.line, p.reason) for p in found.problems] == [
        (4, "'good' is no whole grade from 0 to 100"),
        (5, "'-1' is no whole grade from 0 to 100"),
    ]


def test_a_file_of_captions_asks_each_for_its_own_picture(file: Path) -> None:
    text = "a.jpg#0\tA dog , running\na.jpg#1\tA dog\nb.jpg#0\tA boat\n"
    assert read(file, text).queries == (
        Query("a.jpg#0", "A dog , running", ("a.jpg",)),
        Query("a.jpg#1", "A dog", ("a.jpg",)),
        Query("b.jpg#0", "A boat", ("b.jpg",)),
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty: expected a header with query_text and images"),
        ("image\na.jpg\n", "is no query file: expected a header with query_text and images"),
        ("query_text,images\n", "holds no usable query"),
        ("query_text,images\na dog\n", r"holds no usable query \(line 2: expected 2 columns"),
    ],
)
def test_another_file_is_one_sentence(file: Path, text: str, sentence: str) -> None:
    with pytest.raises(DatasetError, match=sentence):
        read(file, text)


@pytest.mark.shared
def test_the_shared_query_files_are_read_whole(shared_data: Path) -> None:
    practicum = read_queries(shared_data / "data" / "practicum" / "test_queries.csv")
    assert (len(practicum.queries), practicum.problems) == (500, ())
    folder = shared_data / "data" / "open-world"
    world = read_queries(folder / "queries.tsv")
    assert (len(world.queries), world.problems) == (35, ())
    assert all((folder / "images" / name).exists() for q in world.queries for name in q.relevant)


def test_a_query_of_more_characters_than_a_request_has_is_left_out(file: Path) -> None:
    text = f"query_text,images\n{'dog ' * 501},a.jpg\na cat,b.jpg\n"
    found = read(file, text)
    assert [query.text for query in found.queries] == ["a cat"]
    assert [str(problem.reason) for problem in found.problems] == [
        "its text has 2,003 characters, at most 2,000 are read"
    ]


def test_a_query_of_very_many_rows_keeps_their_order_and_its_first_grades(file: Path) -> None:
    rows = "".join(f"a dog\tp{number}.jpg\t{number % 3}\n" for number in range(20_000))
    (found,) = read(
        file, "query_text\timages\tgrade\n" + rows + "a dog\tp0.jpg, q.jpg\t2\n"
    ).queries
    assert found.relevant == (*(f"p{number}.jpg" for number in range(20_000)), "q.jpg")
    assert (found.grades["p0.jpg"], found.grades["q.jpg"]) == (0, 2)
