"""`scenesearch tag`: tags by hand, which stay, and can be undone."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scenesearch.home import tag_changes
from scenesearch.pictures.xmp_keywords import keywords_of, with_keywords
from tests.cli import CommandLine
from tests.tiny_encoder import declare, write_tiny_encoder

COLOURS = {
    "red.png": (200, 10, 10),
    "trip/orange.png": (200, 60, 10),
    "green.png": (10, 200, 10),
    "blue.png": (10, 10, 200),
}


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    """A library of two red pictures, a green and a blue one."""
    command_line = CommandLine.in_new_home(tmp_path, monkeypatch, capsys)
    for name, colour in COLOURS.items():
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), colour).save(file)
    assert command_line("ingest", tmp_path / "photos").status == 0
    return command_line


def tagged(run: CommandLine, tag: str, *options: str) -> set[str]:
    found = run("search", f"tag:{tag}", "--json", "-k", "100", "--copies", *options).document
    return {hit["image_id"] for hit in found["hits"]}


def shown(run: CommandLine, image: str) -> Any:
    return run("library", "show", image, "--json").document


@pytest.mark.slow
def test_all_that_match_are_tagged_and_untagged(run: CommandLine) -> None:
    ran = run("tag", "red", "--add", "warm", "--min-relevance", "0.5")
    assert ran.status == 0
    what = "+warm for the pictures of: red (at least 50% relevant)"
    assert ran.out == f"photos: {what}: 2 of 2 pictures changed\n"
    assert tagged(run, "warm") == {"red.png", "trip/orange.png"}
    assert run("tag", "-w", "folder:trip", "--remove", "Warm").status == 0
    assert tagged(run, "warm") == {"red.png"}
    (fact,) = [one for one in shown(run, "red.png")["facts"] if one["field"] == "tags"]
    assert (fact["value"], fact["source"]) == (["warm"], "by hand")


def test_a_second_run_changes_nothing(run: CommandLine) -> None:
    run("tag", "-w", "width:8", "--add", "small")
    ran = run("tag", "-w", "width:8", "--add", "Small", "--json")
    assert (ran.document["pictures"], ran.document["changed"]) == (4, 0)


def test_a_dry_run_only_lists(run: CommandLine, tmp_path: Path) -> None:
    ran = run("tag", "-w", "folder:trip", "--add", "warm", "--dry-run")
    assert ran.out == f"{tmp_path / 'photos' / 'trip' / 'orange.png'}\n"
    assert ran.sentence == "1 of 1 matching pictures would be changed; nothing was changed"
    assert tagged(run, "warm") == set()
    assert run("tag", "--undo").status == 2


def test_the_best_are_tagged(run: CommandLine) -> None:
    run("tag", "red", "--add", "best", "-k", "1", "--min-relevance", "0")
    assert tagged(run, "best") == {"red.png"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["red"], "nothing to change: give --add TAG or --remove TAG"),
        (["red", "--add", "a", "--remove", "A"], "a: both added and removed"),
        (["red", "--add", " "], "' ' is no tag"),
        (["--add", "a"], "the query is empty: describe a scene in words"),
        (["--undo", "--add", "a"], "--undo and --list take no request and no tags"),
        (["--undo"], "library photos has no change of tags to undo"),
    ],
)
def test_what_makes_no_sense_is_refused(run: CommandLine, words: list[str], sentence: str) -> None:
    ran = run("tag", *words)
    assert (ran.status, ran.sentence) == (2, sentence)


def test_nothing_that_matches_is_status_1(run: CommandLine) -> None:
    assert run("tag", "-w", "width:9", "--add", "a").status == 1


@pytest.mark.slow
def test_changes_are_undone_one_after_the_other(run: CommandLine) -> None:
    run("tag", "-w", "width:8", "--add", "one")
    run("tag", "-w", "folder:trip", "--add", "two", "--remove", "one")
    listed = run("tag", "--list", "--json").document
    assert [one["change"].partition(" for ")[0] for one in listed] == ["+two, -one", "+one"]
    assert run("tag", "--undo").status == 0
    assert (tagged(run, "two"), len(tagged(run, "one"))) == (set(), 4)
    assert run("tag", "--undo").status == 0
    assert tagged(run, "one") == set()
    assert "tags" not in {one["field"] for one in shown(run, "red.png")["facts"]}


@pytest.mark.slow
def test_tags_stay_when_a_table_says_others(run: CommandLine, tmp_path: Path) -> None:
    def ingest(tags: str) -> None:
        with (tmp_path / "about.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("image", "tags"), ("red.png", tags)])
        ran = run("ingest", tmp_path / "photos", "--manifest", tmp_path / "about.csv")
        assert ran.status == 0

    def tags() -> list[str]:
        facts = shown(run, "red.png")["facts"]
        return next((one["value"] for one in facts if one["field"] == "tags"), [])

    ingest("a, b")
    run("tag", "-w", "image_id:red.png", "--add", "mine", "--remove", "a")
    assert tags() == ["b", "mine"]
    ingest("a, b")
    assert tags() == ["b", "mine"]
    ingest("a, c")
    assert tags() == ["c", "mine"]
    run("tag", "--undo")
    assert tags() == ["a", "c"]


def test_an_unchanged_picture_with_tags_of_a_table_and_by_hand_is_skipped(
    run: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "about.csv").write_text("image,tags\nred.png,a\n")
    words = ("ingest", tmp_path / "photos", "--manifest", tmp_path / "about.csv")
    run(*words)
    run("tag", "-w", "image_id:red.png", "--add", "mine", "--remove", "a")
    assert "0 written, 1 skipped" in run(*words).out


def test_tags_follow_a_picture_that_is_changed_or_renamed(run: CommandLine, tmp_path: Path) -> None:
    run("tag", "-w", "image_id:red.png", "--add", "mine")
    Image.new("RGB", (9, 9), (190, 0, 0)).save(tmp_path / "photos" / "red.png")
    run("ingest", tmp_path / "photos")
    assert tagged(run, "mine") == {"red.png"}
    (tmp_path / "photos" / "red.png").rename(tmp_path / "photos" / "trip" / "scarlet.png")
    run("ingest", tmp_path / "photos")
    assert tagged(run, "mine") == {"trip/scarlet.png"}
    run("tag", "--undo")
    assert tagged(run, "mine") == set()


@pytest.mark.slow
def test_tags_survive_a_build_and_a_rollback(run: CommandLine, tmp_path: Path) -> None:
    run("tag", "-w", "image_id:red.png", "--add", "early")
    other = write_tiny_encoder(tmp_path / "other")
    declare(other, name="other", text={"context_length": 6})
    assert run("library", "build", "photos", "--encoder", other).status == 0
    run("tag", "-w", "image_id:red.png", "--add", "late")
    assert run("library", "promote", "photos", "--force").status == 0
    assert tagged(run, "early", "-e", str(other)) == {"red.png"}
    assert tagged(run, "late", "-e", str(other)) == {"red.png"}
    run("tag", "--undo")
    assert run("library", "rollback", "photos").status == 0
    assert (tagged(run, "early"), tagged(run, "late")) == ({"red.png"}, set())


@pytest.mark.slow
def test_tags_come_back_with_a_backup(run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "about.csv").write_text("image,tags\nred.png,a\n")
    run("ingest", tmp_path / "photos", "--manifest", tmp_path / "about.csv")
    run("tag", "-w", "image_id:red.png", "--add", "mine", "--remove", "a")
    assert run("library", "backup", "--out", tmp_path / "b.zip").status == 0
    assert run("library", "restore", tmp_path / "b.zip", "--library", "second").status == 0
    assert tagged(run, "mine", "--library", "second") == {"red.png"}
    run("tag", "-w", "image_id:red.png", "--add", "a", "--library", "second")
    assert tagged(run, "a", "--library", "second") == {"red.png"}


@pytest.mark.slow
def test_a_copy_that_stays_takes_the_tags_of_one_that_is_gone(
    run: CommandLine, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    shutil.copy(photos / "red.png", photos / "trip" / "copy.png")
    run("ingest", photos)
    run("tag", "-w", "image_id:red.png", "--add", "mine")
    (photos / "red.png").unlink()
    run("ingest", photos, "--prune")
    assert tagged(run, "mine") == {"trip/copy.png"}


# --- side files ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_side_files_are_written_and_taken_back(run: CommandLine, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    before = with_keywords(None, add=["old"]).replace(b"<rdf:li>", b"<!-- mine --><rdf:li>")
    (photos / "red.xmp").write_bytes(before)
    (photos / "red.xmp").chmod(0o640)
    pictures = {name: (photos / name).read_bytes() for name in COLOURS}
    ran = run("tag", "red", "--add", "warm", "--min-relevance", "0.5", "--write-xmp")
    assert "2 side files written" in ran.out
    assert {name: (photos / name).read_bytes() for name in COLOURS} == pictures
    assert keywords_of((photos / "red.xmp").read_bytes()) == ("old", "warm")
    assert b"<!-- mine -->" in (photos / "red.xmp").read_bytes()
    assert (photos / "red.xmp").stat().st_mode & 0o777 == 0o640
    assert keywords_of((photos / "trip" / "orange.png.xmp").read_bytes()) == ("warm",)
    assert run("ingest", photos).status == 0
    assert tagged(run, "warm") == {"red.png", "trip/orange.png"}

    assert "2 side files written" in run("tag", "--undo").out
    assert (photos / "red.xmp").read_bytes() == before
    assert not (photos / "trip" / "orange.png.xmp").exists()
    run("ingest", photos)
    assert (tagged(run, "warm"), tagged(run, "old")) == (set(), {"red.png"})


def test_a_side_file_that_two_pictures_share_is_left_alone(
    run: CommandLine, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    Image.new("RGB", (8, 8), (200, 0, 0)).save(photos / "red.jpg")
    shared = with_keywords(None, add=["both"])
    (photos / "red.xmp").write_bytes(shared)
    run("ingest", photos)
    run("tag", "-w", "image_id:red.jpg", "--add", "one", "--write-xmp")
    assert (photos / "red.xmp").read_bytes() == shared
    assert keywords_of((photos / "red.jpg.xmp").read_bytes()) == ("both", "one")


def test_a_side_file_that_was_edited_since_keeps_the_edit(run: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "photos" / "blue.png.xmp"
    run("tag", "-w", "image_id:blue.png", "--add", "cold", "--write-xmp")
    file.write_bytes(with_keywords(file.read_bytes(), add=["lake"]))
    run("tag", "--undo")
    assert keywords_of(file.read_bytes()) == ("lake",)


def test_side_files_that_cannot_be_written_are_named(run: CommandLine, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "red.xmp").write_bytes(b"no XMP")
    elsewhere = tmp_path / "elsewhere.xmp"
    elsewhere.write_bytes(with_keywords(None, add=["x"]))
    (photos / "blue.png.xmp").symlink_to(elsewhere)
    (photos / "green.png").unlink()
    ran = run("tag", "-w", "width:8", "--add", "all", "--write-xmp")
    assert ran.status == 0
    assert "1 side files written" in ran.out
    assert "red.png: it is damaged" in ran.err
    assert "blue.png: blue.png.xmp is no regular file" in ran.err
    assert "green.png: " in ran.err
    assert keywords_of(elsewhere.read_bytes()) == ("x",)
    assert len(tagged(run, "all")) == 4


# --- stopped in the middle -----------------------------------------------------------------------


@pytest.fixture
def stopped(run: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The library after a change that was stopped when one of its four pictures was written."""
    monkeypatch.setattr("ingest.tagging._BATCH", 1)
    mark = tag_changes.TagChanges.have_changed
    calls: list[int] = []

    def stop(self: tag_changes.TagChanges, number: int, ids: Any) -> None:
        calls.append(number)
        if len(calls) == 2:  # its point is written, and nobody knows
            raise KeyboardInterrupt
        mark(self, number, ids)

    with monkeypatch.context() as patch:
        patch.setattr(tag_changes.TagChanges, "have_changed", stop)
        ran = run("tag", "-w", "width:8", "--add", "all", "--write-xmp")
    assert ran.status == 130
    assert "the same command continues" in ran.err
    assert len(tagged(run, "all")) == 2
    return run


@pytest.mark.slow
def test_the_same_command_finishes_it_as_one_change(stopped: CommandLine, tmp_path: Path) -> None:
    ran = stopped("tag", "-w", "width:8", "--add", "all", "--write-xmp", "--json")
    assert (ran.document["pictures"], ran.document["changed"]) == (4, 2)
    assert len(tagged(stopped, "all")) == 4
    stopped("tag", "--undo")
    assert tagged(stopped, "all") == set()
    assert not list((tmp_path / "photos").rglob("*.xmp"))


def test_it_is_undone(stopped: CommandLine, tmp_path: Path) -> None:
    assert stopped("tag", "--undo").status == 0
    assert tagged(stopped, "all") == set()
    assert not list((tmp_path / "photos").rglob("*.xmp"))


@pytest.mark.slow
def test_an_undo_that_was_stopped_goes_on(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("tag", "-w", "width:8", "--add", "all")
    monkeypatch.setattr("ingest.tagging._BATCH", 1)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tag_changes.TagChanges, "have_been_undone", stop)
        assert run("tag", "--undo").status == 130
    assert len(tagged(run, "all")) == 3
    assert run("tag", "--undo").status == 0
    assert tagged(run, "all") == set()
