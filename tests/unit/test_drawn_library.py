"""The drawn library on disk: the task's format, EXIF, safe to repeat."""

from datetime import timedelta
from pathlib import Path

import pytest

from scenesearch.datasets.queries import read_queries
from scenesearch.datasets.tables import DatasetError
from scenesearch.datasets.task import (
    CAPTIONS,
    CROWD,
    EXPERT,
    TRAIN_PAIRS,
    image_of,
    read_captions,
    read_crowd,
    read_expert,
    read_task_folder,
    read_test_images,
    read_test_queries,
    read_train_pairs,
    texts_of,
)
from scenesearch.pictures.opening import open_image
from scenesearch.sample.captions import captions_of
from scenesearch.sample.library import QUERIES_ALL, DrawnLibrary, write_library
from scenesearch.sample.scenes import compose

SEED = 3


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> DrawnLibrary:
    return write_library(tmp_path_factory.mktemp("drawn"), size=45, seed=SEED)


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(file.relative_to(folder)): (file.stat().st_mtime_ns, file.read_bytes())
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_a_third_of_the_pictures_are_for_testing(drawn: DrawnLibrary) -> None:
    assert len(list(drawn.train_images.iterdir())) == 30
    assert len(list(drawn.test_images.iterdir())) == 15
    assert [file.name for file in drawn.pictures()] == [f"drawn_{n:04}.jpg" for n in range(45)]


def test_all_files_are_in_the_tasks_format_without_a_problem(drawn: DrawnLibrary) -> None:
    train = {file.name for file in drawn.train_images.iterdir()}
    test = {file.name for file in drawn.test_images.iterdir()}
    pairs = read_train_pairs(drawn.folder / TRAIN_PAIRS, images=train)
    texts = texts_of(drawn.folder / CAPTIONS)
    expert = read_expert(drawn.folder / EXPERT, images=train, texts=texts)
    crowd = read_crowd(drawn.folder / CROWD, images=train, texts=texts)
    queries = read_test_queries(drawn.test_queries, images=test)
    listed = read_test_images(drawn.folder / "test_images.csv", images=test)
    for read in (pairs, expert, crowd, queries, listed, read_captions(drawn.folder / CAPTIONS)):
        assert read.problems == ()
    assert [(row.image, row.query_id) for row in pairs.rows] == [
        (row.image, row.query_id) for row in expert.rows
    ]
    assert set(listed.rows) == {row.image for row in queries.rows} == test
    assert len(queries.rows) == 5 * 15
    assert {row.query_id[-2:] for row in (*expert.rows, *crowd.rows)} == {"#2"}


def test_own_captions_are_judged_best_and_most_pairs_do_not_match(drawn: DrawnLibrary) -> None:
    expert, crowd = read_expert(drawn.folder / EXPERT).rows, read_crowd(drawn.folder / CROWD).rows
    own = [row.grades for row in expert if image_of(row.query_id) == row.image]
    assert own
    assert set(own) == {(4, 4, 4)}
    assert {row.share for row in crowd if image_of(row.query_id) == row.image} == {1.0}
    assert sum(row.share == 0 for row in crowd) > len(crowd) / 2
    assert {grade for row in expert for grade in row.grades} == {1, 2, 3, 4}


def test_some_captions_are_judged_by_the_crowd_alone(tmp_path: Path) -> None:
    drawn = write_library(tmp_path, size=42, test_size=1, seed=SEED)
    left_out = read_crowd(drawn.folder / CROWD, texts=texts_of(drawn.folder / TRAIN_PAIRS)).problems
    assert len({problem.reason for problem in left_out}) == 1


def test_captions_of_the_files_are_those_of_the_scenes(drawn: DrawnLibrary) -> None:
    records = {record.path.name: record for record in read_task_folder(drawn.folder).records}
    assert len(records) == 45
    for index in (0, 17, 44):
        record = records[f"drawn_{index:04}.jpg"]
        scene = compose(SEED, index)
        assert record.captions == tuple(dict.fromkeys(captions_of(scene, SEED, index)))
        assert record.metadata["setting"] == scene.setting
        assert record.metadata["place"] == scene.place.name
        assert scene.main.kind in record.tags


def test_exif_says_when_where_and_with_what(drawn: DrawnLibrary) -> None:
    for index, file in enumerate(drawn.pictures()):
        scene, opened = compose(SEED, index), open_image(file)
        assert opened.image.size == scene.size
        assert opened.metadata.taken == scene.taken
        assert opened.metadata.taken is not None
        assert opened.metadata.taken.utcoffset() == timedelta(hours=scene.place.utc_offset_h)
        assert opened.metadata.camera is not None
        assert scene.camera.model in opened.metadata.camera
        assert opened.metadata.location is not None
        assert opened.metadata.location.latitude == pytest.approx(scene.place.latitude, abs=1e-5)
        assert opened.metadata.location.longitude == pytest.approx(scene.place.longitude, abs=1e-5)


def test_all_queries_ask_for_every_picture(drawn: DrawnLibrary) -> None:
    queries = read_queries(drawn.folder / QUERIES_ALL)
    assert queries.problems == ()
    assert len(queries.queries) == 5 * 45
    assert {query.relevant for query in queries.queries} == {
        (file.name,) for file in drawn.pictures()
    }


def test_the_example_is_a_plain_query_about_a_test_picture(drawn: DrawnLibrary) -> None:
    texts = [query.text for query in read_queries(drawn.test_queries).queries]
    assert drawn.example_query in [text.rstrip(" .").lower() for text in texts]


def test_writing_it_again_changes_nothing(drawn: DrawnLibrary) -> None:
    before = state(drawn.folder)
    calls: list[int] = []
    again = write_library(drawn.folder, size=45, seed=SEED, progress=calls.append)
    assert again == drawn
    assert calls == [45]
    assert state(drawn.folder) == before


def test_an_interrupted_library_is_drawn_again(tmp_path: Path) -> None:
    def stop(done: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_library(tmp_path, size=9, seed=SEED, progress=stop)
    drawn = write_library(tmp_path, size=9, seed=SEED)
    assert len(drawn.pictures()) == 9
    assert len(read_captions(drawn.folder / CAPTIONS).rows) == 45


def test_a_lost_picture_is_drawn_again(tmp_path: Path) -> None:
    drawn = write_library(tmp_path, size=6, seed=SEED)
    lost = drawn.pictures()[2]
    content = lost.read_bytes()
    lost.unlink()
    write_library(tmp_path, size=6, seed=SEED)
    assert lost.read_bytes() == content


def test_a_smaller_library_leaves_nothing_of_the_larger_one(tmp_path: Path) -> None:
    write_library(tmp_path, size=9, seed=SEED)
    assert len(write_library(tmp_path, size=6, seed=SEED).pictures()) == 6


def test_pictures_of_somebody_else_are_never_touched(tmp_path: Path) -> None:
    theirs = tmp_path / "train_images" / "holiday.jpg"
    theirs.parent.mkdir()
    theirs.write_bytes(b"theirs")
    with pytest.raises(DatasetError, match=r"holds holiday\.jpg, which was not drawn here"):
        write_library(tmp_path, size=6)
    assert theirs.read_bytes() == b"theirs"


def test_no_picture_left_to_train_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="6 test pictures do not leave one of 6"):
        write_library(tmp_path, size=6, test_size=6)
