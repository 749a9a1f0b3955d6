"""`scenesearch feedback`: from a mark to another order and to a folder to train on."""

from pathlib import Path

import pytest
from PIL import Image

from scenesearch.datasets.task import read_task_folder
from tests.cli import CommandLine

SHADES = {"red.png": (200, 10, 10), "orange.png": (200, 90, 10), "pink.png": (200, 10, 90)}


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    """A library of three shades of red."""
    command_line = CommandLine.in_new_home(tmp_path, monkeypatch, capsys)
    (tmp_path / "photos").mkdir()
    for name, colour in SHADES.items():
        Image.new("RGB", (8, 8), colour).save(tmp_path / "photos" / name)
    assert command_line("ingest", tmp_path / "photos").status == 0
    return command_line


def test_what_is_marked_ranks_again_and_is_exported(run: CommandLine, tmp_path: Path) -> None:
    def order(*options: str) -> list[str]:
        found = run("search", "red", "--all", "--json", "--copies", *options).document
        return [hit["image_id"] for hit in found["hits"]]

    assert (
        run("feedback", "right", "red", "pink.png").sentence == "1 marked right in library photos"
    )
    assert run("feedback", "wrong", "red", "red.png").status == 0
    assert set(order()) == set(SHADES)
    assert order("--feedback") == ["pink.png", "orange.png"]
    marks = run("feedback", "list", "--json").document
    assert [(m["image_id"], m["mark"]) for m in marks] == [
        ("pink.png", "right"),
        ("red.png", "wrong"),
    ]

    ran = run("feedback", "export", tmp_path / "judged")
    assert "2 judged pairs of 1 texts and 2 pictures" in ran.err
    captions = [record.captions for record in read_task_folder(tmp_path / "judged").records]
    assert captions == [("red",), ()]
    assert "not empty" in run("feedback", "export", tmp_path / "judged").sentence

    assert run("feedback", "forget", "red").sentence == "2 marks of library photos taken back"
    assert set(order("--feedback")) == set(SHADES)


def test_a_picture_is_marked_as_search_lists_it(run: CommandLine, tmp_path: Path) -> None:
    (hit,) = run("search", "red", "--all", "-k", "1", "--json").document["hits"]
    assert hit["path"] != hit["image_id"]
    assert run("feedback", "right", "red", hit["path"]).status == 0
    marks = run("feedback", "list", "--json").document
    assert [mark["image_id"] for mark in marks] == [hit["image_id"]]
    ran = run("feedback", "right", "red", f"/elsewhere/{hit['image_id']}")
    assert ran.sentence == f"library photos has no picture /elsewhere/{hit['image_id']}"


def test_only_pictures_of_the_library_can_be_marked(run: CommandLine, tmp_path: Path) -> None:
    ran = run("feedback", "right", "red", "blue.png")
    assert (ran.status, ran.sentence) == (2, "library photos has no picture blue.png")
    ran = run("feedback", "export", tmp_path / "judged")
    assert ran.status == 2
    assert "has no marks yet" in ran.sentence


@pytest.mark.slow
def test_marks_refine_the_relevance_of_an_encoder(run: CommandLine, tmp_path: Path) -> None:
    tiny = tmp_path / "tiny"
    assert "refining needs 10" in run("models", "calibrate", tiny, "--library", "photos").sentence
    for text in ("red", "a red thing", "red red", "the red", "red things"):
        assert run("feedback", "right", text, "red.png").status == 0
        assert run("feedback", "wrong", text, "orange.png").status == 0

    def relevance() -> dict[str, float]:
        found = run("search", "red", "--all", "--json", "--copies").document
        return {hit["image_id"]: hit["relevance"] for hit in found["hits"]}

    before = relevance()
    assert (
        "10 marks of library photos" in run("models", "calibrate", tiny, "--library", "photos").out
    )
    after = relevance()
    assert after["orange.png"] < before["orange.png"]
    assert after["red.png"] > after["orange.png"]
    shown = run("models", "show", tiny, "--json").document["calibration"]
    assert shown["refined"]["marks"] == 10
    assert shown["refined"]["library"] == "photos"
    both = run("models", "calibrate", tiny, "--library", "photos", "--data", tmp_path)
    assert "give one of them" in both.sentence
