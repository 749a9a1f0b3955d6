"""The task's own format: what is read, what is left out and why."""

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from scenesearch.datasets.queries import read_queries
from scenesearch.datasets.tables import DatasetError
from scenesearch.datasets.task import (
    Caption,
    CaptionPair,
    CaptionQuery,
    CrowdJudgment,
    ExpertJudgment,
    image_of,
    is_task_folder,
    read_captions,
    read_crowd,
    read_expert,
    read_task_folder,
    read_test_images,
    read_test_queries,
    read_train_pairs,
    texts_of,
)

TRAIN_HEADER = "image,query_id,query_text\n"


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def reasons(table) -> list[tuple[int, str]]:
    return [(problem.line, problem.reason) for problem in table.problems]


# --- train_dataset.csv -----------------------------------------------------------------------


def test_train_pairs_survive_mark_windows_line_ends_and_odd_quotes(tmp_path: Path) -> None:
    file = write(
        tmp_path / "train_dataset.csv",
        b"\xef\xbb\xbfimage,query_id,query_text\r\n"
        b'a.jpg,b.jpg#2,"A dog , running ."\r\n'
        b'c.jpg,d.jpg#2,A sign says " stop " .\r\n'
        b'c.jpg,e.jpg#2,"Stop" is on the sign\r\n'
        b" a.jpg , f.jpg#2 , Spaces around \r\n",
    )
    read = read_train_pairs(file)
    assert read.rows == (
        CaptionPair("a.jpg", "b.jpg#2", "A dog , running ."),
        CaptionPair("c.jpg", "d.jpg#2", 'A sign says " stop " .'),
        CaptionPair("c.jpg", "e.jpg#2", '"Stop" is on the sign'),
        CaptionPair("a.jpg", "f.jpg#2", "Spaces around"),
    )
    assert read.problems == ()


def test_unquoted_commas_belong_to_the_text(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", TRAIN_HEADER + "a.jpg,b.jpg#2,A dog , a cat , a bird\n")
    assert read_train_pairs(file).rows[0].query_text == "A dog , a cat , a bird"


def test_every_train_row_left_out_is_reported_with_its_line(tmp_path: Path) -> None:
    file = write(
        tmp_path / "t.csv",
        TRAIN_HEADER + "a.jpg,b.jpg#2,A dog\n"
        "\n"
        "a.jpg,b.jpg#2,A dog\n"
        "a.jpg,nonsense,A dog\n"
        "gone.jpg,b.jpg#2,A dog\n"
        "../a.jpg,b.jpg#2,A dog\n"
        "c.jpg,b.jpg#2,Another text\n"
        "c.jpg,d.jpg#2,\n"
        "c.jpg\n",
    )
    read = read_train_pairs(file, images={"a.jpg", "c.jpg"})
    assert read.rows == (CaptionPair("a.jpg", "b.jpg#2", "A dog"),)
    assert reasons(read) == [
        (4, "repeats line 2"),
        (5, "'nonsense' is not a query id, expected <image>#<n>"),
        (6, "the picture 'gone.jpg' is missing"),
        (7, "'../a.jpg' is not the name of a picture in the folder"),
        (8, "query b.jpg#2 has another text than on line 2"),
        (9, "the query has no text"),
        (10, "expected 3 columns, found 1"),
    ]


def test_an_index_column_added_by_pandas_is_ignored(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", ",image,query_id,query_text\n0,a.jpg,b.jpg#2,A dog\n")
    assert read_train_pairs(file).rows == (CaptionPair("a.jpg", "b.jpg#2", "A dog"),)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty: expected the header image,query_id,query_text"),
        ("a;b\n1;2\n", "not in the task's format: expected the header .* found 'a;b'"),
        (TRAIN_HEADER + "x\ny\n", r"holds no usable row \(line 2: expected 3 columns, found 1\)"),
    ],
)
def test_a_file_of_another_kind_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(DatasetError, match=sentence):
        read_train_pairs(write(tmp_path / "t.csv", text))


# --- judgments -------------------------------------------------------------------------------


def test_expert_grades_are_three_whole_numbers_from_1_to_4(tmp_path: Path) -> None:
    file = write(
        tmp_path / "e.tsv",
        "a.jpg\tb.jpg#2\t1\t2\t4\n"
        "a.jpg\tc.jpg#2\t1\t2\t5\n"
        "a.jpg\td.jpg#2\t0\t1\t1\n"
        "a.jpg\te.jpg#2\t1\t1\n"
        "a.jpg\tf.jpg#2\t1\tx\t1\n"
        "a.jpg\tg.jpg#2\t1\t1.5\t1\n"
        "a.jpg\tb.jpg#2\t3\t3\t3\n",
    )
    read = read_expert(file)
    assert read.rows == (ExpertJudgment("a.jpg", "b.jpg#2", (1, 2, 4)),)
    assert reasons(read) == [
        (2, "'5' is not a grade from 1 to 4"),
        (3, "'0' is not a grade from 1 to 4"),
        (4, "expected 5 columns, found 4"),
        (5, "'x' is not a grade from 1 to 4"),
        (6, "'1.5' is not a grade from 1 to 4"),
        (7, "repeats line 1"),
    ]


def test_crowd_shares_must_follow_from_the_votes(tmp_path: Path) -> None:
    file = write(
        tmp_path / "c.tsv",
        "a.jpg\tb.jpg#2\t0.333333333333333\t1\t2\n"
        "a.jpg\tc.jpg#2\t0.33\t1\t2\n"
        "a.jpg\td.jpg#2\t0.9\t1\t2\n"
        "a.jpg\te.jpg#2\t0\t0\t0\n"
        "a.jpg\tf.jpg#2\t1.5\t3\t0\n"
        "a.jpg\tg.jpg#2\tnan\t3\t0\n"
        "a.jpg\th.jpg#2\t1\t3\t-1\n",
    )
    read = read_crowd(file)
    assert read.rows == (
        CrowdJudgment("a.jpg", "b.jpg#2", 0.333333333333333, 1, 2),
        CrowdJudgment("a.jpg", "c.jpg#2", 0.33, 1, 2),
    )
    assert reasons(read) == [
        (3, "the share 0.9 does not follow from 1 yes and 2 no"),
        (4, "nobody has voted"),
        (5, "'1.5' is not a share from 0 to 1"),
        (6, "'nan' is not a share from 0 to 1"),
        (7, "'-1' is not a number of votes from 0 to 1000"),
    ]


def test_judgments_of_unknown_queries_are_kept_until_texts_are_asked_for(tmp_path: Path) -> None:
    file = write(tmp_path / "c.tsv", "a.jpg\tb.jpg#2\t1\t3\t0\na.jpg\tc.jpg#2\t0\t0\t3\n")
    assert len(read_crowd(file).rows) == 2
    read = read_crowd(file, texts={"b.jpg#2": "A dog"})
    assert [row.query_id for row in read.rows] == ["b.jpg#2"]
    assert reasons(read) == [(2, "query c.jpg#2 has no text")]


def test_an_empty_judgment_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is empty: expected 5 columns separated by tabs"):
        read_expert(write(tmp_path / "e.tsv", "\n"))


# --- test queries, images, captions ----------------------------------------------------------


def test_test_queries_with_and_without_index_column(tmp_path: Path) -> None:
    row = "b.jpg#0|A dog | and a cat|b.jpg\n"
    with_index = write(tmp_path / "a.csv", "|query_id|query_text|image\n0|" + row)
    without = write(tmp_path / "b.csv", "query_id|query_text|image\n" + row)
    expected = (CaptionQuery("b.jpg#0", "A dog | and a cat", "b.jpg"),)
    assert read_test_queries(with_index).rows == expected
    assert read_test_queries(without).rows == expected


def test_a_repeated_query_id_is_reported(tmp_path: Path) -> None:
    text = "|query_id|query_text|image\n0|b.jpg#0|A dog|b.jpg\n1|b.jpg#0|A cat|c.jpg\n"
    read = read_test_queries(write(tmp_path / "q.csv", text))
    assert reasons(read) == [(3, "repeats line 2")]


def test_test_images_are_checked_against_the_folder(tmp_path: Path) -> None:
    file = write(tmp_path / "i.csv", "image\na.jpg\ngone.jpg\na.jpg\n")
    read = read_test_images(file, images={"a.jpg"})
    assert read.rows == ("a.jpg",)
    assert reasons(read) == [(3, "the picture 'gone.jpg' is missing"), (4, "repeats line 2")]


def test_captions_keep_quotes_and_know_their_picture(tmp_path: Path) -> None:
    file = write(tmp_path / "captions.tsv", 'b.jpg#10\t" Stop " reads a sign .\nnonsense\n')
    read = read_captions(file)
    assert read.rows == (Caption("b.jpg#10", '" Stop " reads a sign .'),)
    assert read.rows[0].image == "b.jpg"
    assert reasons(read) == [(2, "expected a caption id, a tab and a caption")]


def test_texts_come_from_any_of_the_three_files(tmp_path: Path) -> None:
    files = (
        write(tmp_path / "train_dataset.csv", TRAIN_HEADER + "a.jpg,b.jpg#2,one\n"),
        write(tmp_path / "test_queries.csv", "|query_id|query_text|image\n0|c.jpg#0|two|c.jpg\n"),
        write(tmp_path / "captions.tsv", "b.jpg#2\tother\nd.jpg#1\tthree\n"),
    )
    assert texts_of(*files) == {"b.jpg#2": "one", "c.jpg#0": "two", "d.jpg#1": "three"}


# --- a whole folder --------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train_images/a.jpg", "train_images/b.jpg", "test_images/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    write(
        tmp_path / "train_dataset.csv",
        TRAIN_HEADER + "a.jpg,b.jpg#2,of b\nb.jpg,a.jpg#2,of a\ngone.jpg,a.jpg#2,of a\n",
    )
    write(
        tmp_path / "test_queries.csv",
        "|query_id|query_text|image\n0|c.jpg#10|tenth|c.jpg\n1|c.jpg#9|ninth|c.jpg\n",
    )
    return tmp_path


def test_a_folder_gives_every_picture_its_own_captions_in_order(folder: Path) -> None:
    read = read_task_folder(folder)
    assert [(r.image_id, r.captions) for r in read.records] == [
        ("train_images/a.jpg", ("of a",)),
        ("train_images/b.jpg", ("of b",)),
        ("test_images/c.jpg", ("ninth", "tenth")),
    ]
    assert reasons(read) == [(4, "the picture 'gone.jpg' is missing")]


def test_a_folder_takes_tags_and_columns_from_its_metadata(folder: Path) -> None:
    write(folder / "metadata.csv", 'image,tags,stars\ntest_images/c.jpg,"x,y",3\n')
    read = read_task_folder(folder)
    assert read.records[2].tags == ("x", "y")
    assert read.records[2].metadata == {"stars": 3}
    assert read.fields == {"stars": "integer"}


def test_listed_test_images_that_are_missing_are_reported(folder: Path) -> None:
    write(folder / "test_images.csv", "image\nc.jpg\nd.jpg\n")
    assert (3, "the picture 'd.jpg' is missing") in reasons(read_task_folder(folder))


def test_folders_of_other_kinds_are_not_the_tasks(tmp_path: Path) -> None:
    assert not is_task_folder(tmp_path)
    write(tmp_path / "train_dataset.csv", TRAIN_HEADER)
    assert not is_task_folder(tmp_path)
    (tmp_path / "train_images").mkdir()
    assert is_task_folder(tmp_path)


def test_reading_another_folder_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"expected train_dataset\.csv beside train_images/"):
        read_task_folder(tmp_path)


# --- the real files, counted -----------------------------------------------------------------


@pytest.mark.shared
def test_the_real_train_pairs_are_as_counted(shared_data: Path) -> None:
    practicum = shared_data / "data" / "practicum"
    names = {file.name for file in (practicum / "train_images").iterdir()}
    read = read_train_pairs(practicum / "train_dataset.csv", images=names)
    assert read.problems == ()
    assert len(read.rows) == 5822
    assert len({row.image for row in read.rows}) == len(names) == 1000
    assert len({row.query_id for row in read.rows}) == 977
    assert sum(image_of(row.query_id) == row.image for row in read.rows) == 158
    assert {row.query_id[-2:] for row in read.rows} == {"#2"}


@pytest.mark.shared
def test_the_real_expert_judgments_are_as_counted(shared_data: Path) -> None:
    practicum = shared_data / "data" / "practicum"
    read = read_expert(practicum / "ExpertAnnotations.tsv")
    assert read.problems == ()
    assert len(read.rows) == 5822
    votes = Counter(grade for row in read.rows for grade in row.grades)
    assert votes == {1: 9797, 2: 4997, 3: 1701, 4: 971}
    assert sum(len(set(row.grades)) == 1 for row in read.rows) == 3391
    assert sum(sum(row.grades) >= 9 for row in read.rows) == 623
    pairs = read_train_pairs(practicum / "train_dataset.csv").rows
    judged = {(row.image, row.query_id) for row in read.rows}
    assert judged == {(row.image, row.query_id) for row in pairs}


@pytest.mark.shared
def test_the_real_crowd_judgments_are_as_counted(shared_data: Path) -> None:
    practicum = shared_data / "data" / "practicum"
    read = read_crowd(practicum / "CrowdAnnotations.tsv")
    assert read.problems == ()
    assert len(read.rows) == 47830
    shares = Counter(
        (row.yes, row.no) if row.share not in (0, 1) else row.share for row in read.rows
    )
    assert (shares[0], shares[1]) == (41970, 1323)
    assert (shares[1, 2] + shares[2, 4], shares[2, 1] + shares[4, 2]) == (3000, 1360)
    assert sum(image_of(row.query_id) == row.image for row in read.rows) == 721
    assert {row.yes + row.no for row in read.rows} == {3, 4, 5, 6}
    expert = read_expert(practicum / "ExpertAnnotations.tsv")
    crowd_pairs = {(row.image, row.query_id) for row in read.rows}
    expert_pairs = {(row.image, row.query_id) for row in expert.rows}
    assert len(crowd_pairs & expert_pairs) == 2329
    assert len(crowd_pairs | expert_pairs) == 51323


@pytest.mark.shared
def test_1109_real_crowd_rows_find_their_text_only_in_the_captions(shared_data: Path) -> None:
    data = shared_data / "data"
    crowd = data / "practicum" / "CrowdAnnotations.tsv"
    pairs = data / "practicum" / "train_dataset.csv"
    assert len(read_crowd(crowd, texts=texts_of(pairs)).problems) == 1109
    everything = texts_of(pairs, data / "flickr8k" / "captions.tsv")
    assert read_crowd(crowd, texts=everything).problems == ()


@pytest.mark.shared
def test_the_real_test_files_are_as_counted(shared_data: Path) -> None:
    practicum = shared_data / "data" / "practicum"
    names = {file.name for file in (practicum / "test_images").iterdir()}
    queries = read_test_queries(practicum / "test_queries.csv", images=names)
    images = read_test_images(practicum / "test_images.csv", images=names)
    assert queries.problems == images.problems == ()
    assert (len(queries.rows), len(images.rows)) == (500, 100)
    assert {row.image for row in queries.rows} == set(images.rows) == names


@pytest.mark.shared
def test_the_real_folder_is_recognised_and_read(shared_data: Path) -> None:
    practicum = shared_data / "data" / "practicum"
    assert is_task_folder(practicum)
    read = read_task_folder(practicum)
    assert read.problems == ()
    assert Counter(len(record.captions) for record in read.records) == {1: 977, 5: 100, 0: 23}


def test_texts_of_more_characters_than_a_request_has_are_left_out(tmp_path: Path) -> None:
    long = "dog " * 501
    reason = "has 2,003 characters, at most 2,000 are read"
    pairs = f"{TRAIN_HEADER}a.jpg,b.jpg#1,{long}\na.jpg,b.jpg#2,A dog\n"
    assert reasons(read_train_pairs(write(tmp_path / "t.csv", pairs))) == [
        (2, f"the query {reason}")
    ]


def test_a_long_caption_is_one_as_in_a_manifest_and_no_query(tmp_path: Path) -> None:
    lines = (f"a.jpg#{n}\t{'x' * length}\n" for n, length in ((1, 5000), (2, 5001), (3, 2000)))
    file = write(tmp_path / "c.tsv", "".join(lines))
    captions = read_captions(file)
    assert [len(row.text) for row in captions.rows] == [5000, 2000]
    assert reasons(captions) == [(2, "the caption has 5,001 characters, at most 5,000 are read")]
    queries = read_queries(file)
    assert [len(query.text) for query in queries.queries] == [2000]
    assert [problem.line for problem in queries.problems] == [1, 2]
