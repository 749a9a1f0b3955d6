"""What users say of hits is kept, ranks again, and becomes judgments in the task's format."""

import json
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from scenesearch.datasets.task import CROWD, MARKED, TRAIN_PAIRS, read_crowd, read_task_folder
from scenesearch.home.feedback import Feedback, FeedbackError, Mark, export
from scenesearch.pictures.originals import LocalFile
from scenesearch.search.grammar import scene_of
from scenesearch.store.fields import BUILTIN_FIELDS


def scene(text: str) -> str | None:
    return scene_of(text, BUILTIN_FIELDS)


@pytest.fixture
def feedback(tmp_path: Path) -> Feedback:
    return Feedback(tmp_path / "library" / "feedback.sqlite")


def test_the_last_word_on_a_picture_counts(feedback: Feedback) -> None:
    feedback.mark("a red  boat", ["b.jpg", "a.jpg"], right=True)
    feedback.mark("a red boat", ["b.jpg"], right=False)
    feedback.mark("a kite", ["a.jpg"], right=False)

    assert feedback.of("a red boat ") == (("a.jpg",), ("b.jpg",))
    assert feedback.of("something else") == ((), ())
    assert [(m.text, m.image_id, m.right) for m in feedback.all()] == [
        ("a kite", "a.jpg", False),
        ("a red boat", "a.jpg", True),
        ("a red boat", "b.jpg", False),
    ]


def test_marks_of_elsewhere_do_not_overrule_what_was_said_here(feedback: Feedback) -> None:
    feedback.mark("snow", ["a.jpg"], right=True)
    elsewhere = [
        Mark("snow", name, right=False, marked="2026-01-01") for name in ("a.jpg", "b.jpg")
    ]
    assert feedback.take_over(elsewhere) == 1
    assert feedback.of("snow") == (("a.jpg",), ("b.jpg",))


def test_marks_are_kept_when_the_table_is_opened_again(tmp_path: Path) -> None:
    first, second = Feedback(tmp_path / "f.sqlite"), Feedback(tmp_path / "f.sqlite")
    first.mark("snow", ["a.jpg"], right=True)
    second.mark("snow", ["b.jpg"], right=False)
    first.close()
    assert second.of("snow") == (("a.jpg",), ("b.jpg",))
    second.close()
    assert Feedback(tmp_path / "f.sqlite").count() == 2


def test_what_was_said_can_be_taken_back(feedback: Feedback) -> None:
    feedback.mark("snow", ["a.jpg", "b.jpg", "c.jpg"], right=True)
    assert feedback.forget("snow", ["a.jpg", "unknown.jpg"]) == 1
    assert feedback.forget("snow") == 2
    assert feedback.all() == []


def test_feedback_without_a_text_or_a_table_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FeedbackError, match="this one is empty"):
        Feedback(tmp_path / "f.sqlite").mark("  ", ["a.jpg"], right=True)
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"this is no database, and long enough to be told" * 40)
    with pytest.raises(FeedbackError, match=r"broken\.sqlite cannot be used: damaged"):
        Feedback(broken)


def test_marks_become_judgments_that_training_reads(tmp_path: Path) -> None:
    paths = {}
    for name in ("sea/boat.png", "kite.png", "hill.png"):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(file)
        paths[name] = LocalFile(file)
    paths["lost.png"] = LocalFile(tmp_path / "photos" / "lost.png")
    marks = [
        Mark("a boat, red", "hill.png", False, ""),
        Mark("a boat, red", "sea/boat.png", True, ""),
        Mark("the sea", "sea/boat.png", True, ""),
        Mark("the sea", "lost.png", False, ""),
        Mark("nothing of it", "kite.png", False, ""),
    ]

    written = export(marks, paths, tmp_path / "out", scene)

    assert (written.pairs, written.pictures, written.texts) == (3, 2, 2)
    assert written.texts_left_out == {"nothing of it": "no picture of it is marked right"}
    assert set(written.pictures_left_out) == {"lost.png"}
    table = (tmp_path / "out" / TRAIN_PAIRS).read_text()
    assert table.splitlines() == [
        "image,query_id,query_text",
        '000000.png,000002.png#0,"a boat, red"',
        '000002.png,000002.png#0,"a boat, red"',
        "000002.png,000002.png#1,the sea",
    ]
    assert json.loads((tmp_path / "out" / MARKED).read_text())["pairs"] == 3
    folder = read_task_folder(tmp_path / "out")
    assert folder.problems == ()
    assert {r.image_id: r.captions for r in folder.records} == {
        "train_images/000000.png": (),
        "train_images/000002.png": ("a boat, red", "the sea"),
    }
    crowd = read_crowd(tmp_path / "out" / CROWD, images={"000000.png", "000002.png"})
    assert crowd.problems == ()
    assert [(r.image, r.share, r.yes, r.no) for r in crowd.rows] == [
        ("000000.png", 0.0, 0, 1),
        ("000002.png", 1.0, 1, 0),
        ("000002.png", 1.0, 1, 0),
    ]


def test_an_export_that_is_cut_short_leaves_nothing_in_the_way_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = tmp_path / "a.png", tmp_path / "out"
    Image.new("RGB", (8, 8)).save(file)
    marks, originals = [Mark("a boat", "a.png", True, "")], {"a.png": LocalFile(file)}

    def crash(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("scenesearch.home.feedback.json.dumps", crash)
    with pytest.raises(KeyboardInterrupt):
        export(marks, originals, out, scene)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    (tmp_path / ".out.unfinished").mkdir()  # a killed one tidies nothing up
    (tmp_path / ".out.unfinished" / "half.jpg").write_text("")
    assert export(marks, originals, out, scene).pairs == 1
    assert not (tmp_path / ".out.unfinished").exists()
    assert not list(out.rglob("half.jpg"))


@pytest.fixture
def three(tmp_path: Path) -> dict[str, LocalFile]:
    """Originals of a.png, b.png and c.png by their ids."""
    originals = {name: LocalFile(tmp_path / name) for name in ("a.png", "b.png", "c.png")}
    for number, original in enumerate(originals.values()):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(original.path)
    return originals


def test_a_text_is_a_caption_of_every_picture_it_is_right_for(
    three: dict[str, LocalFile], tmp_path: Path
) -> None:
    said = (("a.png", True), ("b.png", True), ("c.png", False))
    marks = [Mark("a boat", image_id, right, "") for image_id, right in said]

    assert export(marks, three, tmp_path / "out", scene).pairs == 3

    captions = {r.image_id: r.captions for r in read_task_folder(tmp_path / "out").records}
    assert captions == {
        "train_images/000000.png": ("a boat",),
        "train_images/000001.png": ("a boat",),
        "train_images/000002.png": (),
    }
    crowd = read_crowd(tmp_path / "out" / CROWD).rows
    assert [(r.image, r.query_id, r.share) for r in crowd] == [
        ("000000.png", "000000.png#0", 1.0),
        ("000001.png", "000001.png#0", 1.0),
        ("000002.png", "000000.png#0", 0.0),
    ]


def test_filters_are_no_part_of_a_caption_and_the_last_word_on_a_scene_counts(
    three: dict[str, LocalFile], tmp_path: Path
) -> None:
    marks = [
        Mark("a dog^2 tag:sea taken:2019", "a.png", True, "2026-01-01"),
        Mark('"a dog"', "b.png", True, "2026-01-03"),
        Mark("a dog", "b.png", False, "2026-01-02"),
    ]
    assert export(marks, three, tmp_path / "out", scene).texts == 1
    rows = (tmp_path / "out" / TRAIN_PAIRS).read_text().splitlines()[1:]
    assert rows == ["000000.png,000000.png#0,a dog", "000001.png,000001.png#0,a dog"]


@pytest.mark.parametrize("text", ["dog - people", "dog + snow", "dog like:b", "tag:sea", "-dog"])
def test_what_is_more_than_a_scene_in_words_is_no_caption(
    text: str, three: dict[str, LocalFile], tmp_path: Path
) -> None:
    written = export([Mark(text, "a.png", True, "")], three, tmp_path / "out", scene)
    assert written.pairs == 0
    assert written.texts_left_out == {
        text: "it is not one scene in words, which is all that can be trained on"
    }


def test_an_export_never_mixes_with_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "train_images").mkdir()
    with pytest.raises(FeedbackError, match="not empty"):
        export([], {}, tmp_path, scene)


def test_marks_follow_pictures_that_exchange_their_names_once(tmp_path: Path) -> None:
    with closing(Feedback(tmp_path / "feedback.sqlite")) as feedback:
        feedback.mark("a", ["one.jpg"], right=True)
        feedback.mark("b", ["other.jpg"], right=False)
        names = {"one.jpg": "other.jpg", "other.jpg": "one.jpg"}
        for _ in range(2):  # told again, because the first may have been cut short
            feedback.rename(names, str, once=7)
        assert [(m.text, m.image_id, m.right) for m in feedback.all()] == [
            ("a", "other.jpg", True),
            ("b", "one.jpg", False),
        ]
        feedback.rename(names, str.upper, once=8)
        assert [(m.text, m.image_id) for m in feedback.all()] == [
            ("A", "one.jpg"),
            ("B", "other.jpg"),
        ]


@pytest.mark.parametrize(("old", "new"), [("2020", "2021"), ("2021", "2020")])
def test_of_two_marks_that_become_one_the_later_counts(tmp_path: Path, old: str, new: str) -> None:
    marks = [
        Mark("dog", "old.jpg", True, f"{old}-01-01T00:00:00Z"),
        Mark("dog", "new.jpg", False, f"{new}-01-01T00:00:00Z"),
    ]
    with closing(Feedback(tmp_path / "feedback.sqlite")) as feedback:
        feedback.take_over(marks)
        feedback.rename({"old.jpg": "new.jpg"}, str, once=1)
        (mark,) = feedback.all()
    assert (mark.image_id, mark.right) == ("new.jpg", old > new)
