"""`library duplicates --keep best --move-to FOLDER`: copies go to another folder, and come back."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scenesearch.pictures.best_copy import Quality, best_first, why_best
from scenesearch.pictures.xmp_keywords import with_keywords
from scenesearch.runtime import move_file as moving
from tests.cli import CommandLine, Ran

PLAN = ("library", "duplicates", "photos", "--keep", "best", "--move-to")


class World:
    """A library of a picture in three sizes, one of them twice, and of another picture."""

    def __init__(self, run: CommandLine, folder: Path) -> None:
        self.run, self.folder = run, folder
        self.photos, self.away = folder / "photos", folder / "away"

    def move(self, *options: object, to: Path | None = None) -> Ran:
        return self.run(*PLAN, to or self.away, *options)

    def undo(self) -> Ran:
        (file,) = self.away.glob("scenesearch-moved-*.jsonl")
        return self.run("library", "duplicates", "photos", "--undo", file)

    def in_library(self) -> set[str]:
        found = self.run("search", "width:>0", "--json", "-k", "100", "--copies").document
        return {hit["image_id"] for hit in found["hits"]}

    def contents(self, folder: Path) -> dict[str, bytes]:
        return {
            str(file.relative_to(folder)): file.read_bytes()
            for file in sorted(folder.rglob("*"))
            if file.is_file() and not file.name.startswith("scenesearch-moved-")
        }


def draw(file: Path, side: int) -> None:
    """A drawing that looks the same in every size, and not like a plain surface."""
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.radial_gradient("L").resize((128, 128)).convert("RGB")
    picture.paste((200, 20, 20), (10, 20, 60, 50))
    picture.paste((20, 20, 200), (70, 70, 120, 90))
    picture.resize((side, side), Image.Resampling.LANCZOS).save(file)


@pytest.fixture
def world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> World:
    command_line = CommandLine.in_new_home(tmp_path, monkeypatch, capsys)
    photos = tmp_path / "photos"
    draw(photos / "large.png", 128)
    draw(photos / "trip/small.png", 96)
    shutil.copy(photos / "large.png", photos / "trip" / "copy.png")
    Image.linear_gradient("L").save(photos / "other.png")
    run = command_line
    assert run("ingest", photos).status == 0
    return World(run, tmp_path)


ALL = {"large.png", "other.png", "trip/copy.png", "trip/small.png"}


def test_without_yes_the_plan_is_only_shown(world: World) -> None:
    before = world.contents(world.photos)
    ran = world.move()
    assert ran.status == 0
    trip = world.photos / "trip"
    assert ran.out.splitlines() == [
        "keep  large.png  (the shorter name, all else is equal)",
        f"  move  {trip / 'copy.png'} -> {world.away / 'trip/copy.png'}",
        f"  move  {trip / 'small.png'} -> {world.away / 'trip/small.png'}",
    ]
    assert "kept of each group: the most pixels" in ran.err
    assert ran.sentence.endswith("nothing was moved; --yes moves them")
    assert world.contents(world.photos) == before
    assert not world.away.exists()


@pytest.mark.slow
def test_copies_are_moved_leave_the_library_and_come_back(world: World) -> None:
    before = world.contents(world.photos)
    (world.photos / "trip" / "small.xmp").write_bytes(with_keywords(None, add=["tiny"]))
    world.run("ingest", world.photos)
    before = world.contents(world.photos)
    world.run("tag", "image_id:trip/small.png", "--add", "mine")
    ran = world.move("--yes")
    assert ran.out.splitlines()[-1] == (
        f"photos: 2 pictures moved to {world.away}, with 1 side files"
    )
    assert set(world.contents(world.away)) == {
        "trip/copy.png",
        "trip/small.png",
        "trip/small.xmp",
    }
    assert world.in_library() == {"large.png", "other.png"}
    found = world.run("search", "tag:mine", "--json").document
    assert [hit["image_id"] for hit in found["hits"]] == ["large.png"]
    assert "0 written, 2 skipped" in world.run("ingest", world.photos).out

    assert world.undo().out == "photos: 2 pictures moved back, with 1 side files\n"
    assert world.contents(world.photos) == before
    assert world.contents(world.away) == {}
    assert world.in_library() == ALL
    found = world.run("search", "tag:tiny", "--json").document
    assert [hit["image_id"] for hit in found["hits"]] == ["trip/small.png"]
    assert "0 written, 4 skipped" in world.run("ingest", world.photos).out


def test_collections_get_what_is_kept_and_lose_nothing_that_was_left_out_as_a_copy(
    world: World,
) -> None:
    run = world.run
    run("collections", "save", "Chosen")
    run("collections", "add", "Chosen", "trip/small.png", "trip/copy.png", "other.png")
    run("collections", "picture", "Chosen", "trip/small.png")
    run("collections", "save", "All", "-w", "width:>0")
    run("collections", "exclude", "All", "trip/copy.png", "trip/small.png")
    assert world.move("--yes").status == 0
    chosen = run("collections", "show", "Chosen", "--json").document
    assert (chosen["added"], chosen["picture"]) == (["large.png", "other.png"], "large.png")
    shown = run("collections", "show", "All", "--json").document
    assert [hit["image_id"] for hit in shown["hits"]] == ["large.png", "other.png"]
    world.undo()
    again = run("collections", "show", "All", "--json").document
    assert [hit["image_id"] for hit in again["hits"]] == ["large.png", "other.png"]


def test_nothing_is_overwritten(world: World) -> None:
    (world.away / "trip").mkdir(parents=True)
    (world.away / "trip" / "small.png").write_bytes(b"mine")
    (world.away / "trip" / "copy.png.xmp").write_bytes(b"mine too")
    (world.photos / "trip" / "copy.png.xmp").write_bytes(with_keywords(None, add=["x"]))
    world.move("--yes")
    there = world.contents(world.away)
    assert there["trip/small.png"] == b"mine"
    assert there["trip/copy.png.xmp"] == b"mine too"
    assert {"trip/small-2.png", "trip/copy-2.png", "trip/copy-2.png.xmp"} <= set(there)


@pytest.mark.parametrize("place", ["photos", "photos/trip/deeper", "."])
def test_a_folder_of_the_library_is_refused(world: World, place: str) -> None:
    ran = world.move("--yes", to=world.folder / place)
    assert ran.status == 2
    assert "which is ingested" in ran.sentence
    assert world.in_library() == ALL


def test_a_link_into_the_library_is_refused(world: World) -> None:
    world.away.symlink_to(world.photos / "trip")
    assert "which is ingested" in world.move("--yes").sentence


def test_a_picture_that_changed_since_stays(world: World) -> None:
    draw(world.photos / "trip/small.png", 90)
    ran = world.move("--yes")
    assert "not moved: trip/small.png: it has changed since it was ingested" in ran.err
    assert (world.photos / "trip" / "small.png").exists()
    assert not (world.photos / "trip" / "copy.png").exists()


def test_where_the_best_has_changed_all_stay(world: World) -> None:
    (world.photos / "large.png").write_bytes(b"broken")
    before = world.contents(world.photos)
    ran = world.move("--yes")
    assert "large.png, which would be kept: it has changed" in ran.err
    assert world.contents(world.photos) == before


def test_where_the_best_is_away_the_next_one_is_kept(world: World) -> None:
    (world.photos / "large.png").unlink()
    ran = world.move("--yes")
    assert "keep  trip/copy.png  (more pixels: 128 x 128, not 96 x 96)" in ran.out
    assert "stay  large.png: " in ran.out
    assert (world.photos / "trip" / "copy.png").exists()


def test_two_names_of_one_file_are_no_copies(world: World) -> None:
    os.link(world.photos / "large.png", world.photos / "hard.png")
    (world.photos / "soft.png").symlink_to(world.photos / "trip" / "copy.png")
    world.run("ingest", world.photos)
    ran = world.move("--yes")
    assert (world.photos / "hard.png").exists()
    assert (world.photos / "large.png").exists()
    assert (world.photos / "soft.png").is_symlink()
    assert "it is the same file under another name" in ran.out
    assert "only a file in a folder can be moved" in ran.out


@pytest.mark.parametrize("options", [("--keep", "best"), ("--move-to", "x"), ("--yes",)])
def test_options_that_belong_together(world: World, options: tuple[str, ...]) -> None:
    assert world.run("library", "duplicates", "photos", *options).status == 2


def test_a_folder_that_cannot_be_written_is_one_sentence(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = world.contents(world.photos)
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    ran = world.move("--yes")
    assert ran.status == 2
    assert ran.sentence == (
        f"{world.photos / 'trip'} may not be written, so no picture can be moved out of it; "
        "nothing was moved"
    )
    assert world.contents(world.photos) == before


def refuse_after(count: int, error: int) -> Callable[[Path, Path], None]:
    """`move_file` that works so many times, and then gives this error."""
    calls: list[Path] = []

    def move(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) > count:
            raise OSError(error, os.strerror(error), str(source))
        moving.move_file(source, target)

    return move


@pytest.mark.parametrize("error", [errno.EROFS, errno.ENOSPC])
def test_a_disk_that_stops_is_one_sentence_and_keeps_no_ghost(
    world: World, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("ingest.set_aside.move_file", refuse_after(1, error))
        ran = world.move("--yes")
    assert ran.status == 2
    assert "what was moved before stands in" in ran.sentence
    assert world.in_library() == ALL - {"trip/copy.png"}
    assert world.undo().status == 0
    assert world.in_library() == ALL


def test_ctrl_c_keeps_what_is_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ingest.set_aside.move_file", stop)
        ran = world.move("--yes")
    assert ran.status == 130
    assert world.in_library() == ALL
    assert world.undo().status == 0
    assert world.in_library() == ALL


def test_a_killed_run_is_finished_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies when both pictures are moved, one side file is not, and the library knows
    nothing of it."""

    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    side = world.photos / "trip" / "small.png.xmp"
    side.write_bytes(with_keywords(None, add=["tiny"]))
    world.run("ingest", world.photos)
    with monkeypatch.context() as patch:
        patch.setattr("ingest.set_aside.SetAside._remove", die)
        patch.setattr("ingest.set_aside._move_side", lambda *_: None)
        with pytest.raises(Killed):
            world.move("--yes")
    assert world.in_library() == ALL
    assert side.exists()
    assert world.move("--yes").status == 0
    assert world.in_library() == {"large.png", "other.png"}
    assert not side.exists()
    (file,) = world.away.glob("scenesearch-moved-*.jsonl")
    with file.open("a") as out:
        out.write('{"cut short')
    assert world.undo().status == 0
    assert world.in_library() == ALL
    assert side.exists()


# --- to another disk -----------------------------------------------------------------------------


@pytest.fixture
def other_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files cannot be renamed from one folder into another."""
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if self.parent != Path(target).parent:
            raise OSError(errno.EXDEV, "other disk")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)


@pytest.mark.usefixtures("other_disk")
def test_copies_go_to_another_disk_and_back(world: World) -> None:
    before = world.contents(world.photos)
    times = {name: (world.photos / name).stat().st_mtime_ns for name in before}
    assert world.move("--yes").status == 0
    assert set(world.contents(world.away)) == {"trip/copy.png", "trip/small.png"}
    assert world.undo().status == 0
    assert world.contents(world.photos) == before
    assert {name: (world.photos / name).stat().st_mtime_ns for name in before} == times


@pytest.mark.usefixtures("other_disk")
def test_a_copy_that_differs_is_not_taken_for_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "a" / "x", tmp_path / "b" / "x"
    source.parent.mkdir()
    target.parent.mkdir()
    source.write_bytes(b"content")
    monkeypatch.setattr(moving, "hash_file", lambda path: str(path))
    with pytest.raises(OSError, match="the copy differs"):
        moving.move_file(source, target)
    assert source.read_bytes() == b"content"
    assert list(target.parent.iterdir()) == []


# --- lists of strangers --------------------------------------------------------------------------


def test_a_forged_list_moves_nothing_elsewhere(world: World) -> None:
    world.away.mkdir()
    (world.away / "evil").write_bytes(b"evil")
    sha256 = moving.hash_file(world.away / "evil")
    head = {"format": "scenesearch-moved", "version": 1, "library": "photos", "fingerprint": "x"}
    row = {"image_id": "a", "sha256": sha256, "side_files": [], "payload": {}, "vector": None}

    def undo(**changes: Any) -> Ran:
        file = world.away / "scenesearch-moved-1.jsonl"
        rows = [head, row | {"from": str(world.folder / "elsewhere"), "to": "evil"} | changes]
        file.write_text("".join(json.dumps(one) + "\n" for one in rows))
        return world.undo()

    assert "it came from no folder of this library" in undo().err
    assert "it came from no folder" in undo(**{"from": f"{world.photos}/../elsewhere"}).err
    assert "damaged or forged" in undo(to="../photos/large.png").sentence
    assert "damaged or forged" in undo(to="/etc/hostname").sentence
    assert "damaged or forged" in undo(**{"from": "relative"}).sentence
    sides = [{"from": str(world.folder / "elsewhere"), "to": "evil"}]
    undo(**{"from": str(world.photos / "new.png"), "side_files": sides})
    assert not (world.folder / "elsewhere").exists()
    assert world.in_library() == ALL


def test_a_list_of_another_library_is_refused(world: World) -> None:
    world.move("--yes")
    (file,) = world.away.glob("scenesearch-moved-*.jsonl")
    file.write_text(file.read_text().replace('"library": "photos"', '"library": "others"', 1))
    assert "a list of library others" in world.undo().sentence
    (world.folder / "no-list").write_text("nothing\n")
    ran = world.run("library", "duplicates", "photos", "--undo", world.folder / "no-list")
    assert "is no list of moved pictures" in ran.sentence


# --- which is the best ---------------------------------------------------------------------------


def test_the_best_has_the_most_pixels_then_bytes_then_metadata() -> None:
    def quality(name: str, width: int = 10, size: int = 100, **payload: Any) -> Quality:
        return Quality.of(name, {"width": width, "height": 10, "size_bytes": size, **payload})

    large, heavy = quality("large", 20), quality("heavy", size=200)
    told, plain = quality("told", tags=["a"], camera="x"), quality("plain")
    shorter = quality("a")
    order = best_first([plain, shorter, told, heavy, large])
    assert [one.image_id for one in order] == ["large", "heavy", "told", "a", "plain"]
    reasons = [why_best(best, other) for best, other in pairwise(order)]
    assert reasons == [
        "more pixels: 20 x 10, not 10 x 10",
        "the larger file: 200 bytes, not 100",
        "more metadata: 2 values, not 0",
        "the shorter name, all else is equal",
    ]
