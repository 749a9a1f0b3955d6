"""What an ingest leaves behind: no thumbnail of no picture, no library of nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from ingest.build import BuildOptions, build
from ingest.doctor import examine, is_well
from ingest.first_run import FirstRun
from ingest.journal import Journal
from scenesearch.home.allowed_originals import AllowedOriginals
from scenesearch.pictures.thumbnails import thumbnail_path
from scenesearch.store.base import Point
from scenesearch.store.catalog import promote
from scenesearch.store.edge import EdgeStore
from tests.cli import CommandLine
from tests.conftest import ColourEncoder
from tests.integration.test_ingest_moves import Killed, World
from tests.tiny_encoder import write_tiny_encoder


@pytest.fixture
def world(photos: Path, store: EdgeStore, tmp_path: Path) -> World:
    world = World(photos, store, tmp_path / "libraries" / "photos")
    world.run()
    return world


def edit(path: Path, colour: tuple[int, int, int] = (1, 2, 3)) -> None:
    Image.new("RGB", (30, 30), colour).save(path)


def test_an_edited_picture_takes_its_old_thumbnail_along_and_doctor_is_content(
    world: World,
) -> None:
    edit(world.photos / "red.jpg")
    world.run()
    assert world.thumbnails() == 6
    findings = examine(
        "photos",
        store=world.store,
        library_dir=world.own,
        find_encoder=lambda spec: Path(),
        originals=AllowedOriginals([str(world.photos)]),
    )
    assert is_well(findings), findings


def test_a_thumbnail_stays_while_another_picture_shows_it(world: World) -> None:
    shutil.copyfile(world.photos / "red.jpg", world.photos / "copy.jpg")
    world.run()
    edit(world.photos / "red.jpg")
    world.run()
    assert world.thumbnails() == 7
    edit(world.photos / "copy.jpg", (4, 5, 6))
    world.run()
    assert world.thumbnails() == 7


@pytest.mark.slow
@pytest.mark.parametrize("how", ["prune", "edit"])
def test_a_thumbnail_stays_while_a_rollback_leads_to_it(world: World, how: str) -> None:
    red = thumbnail_of(world, "red.jpg")
    second = ColourEncoder("second", "5ec0nd")
    new = build(
        "photos",
        encoder=second,
        store=world.store,
        originals=AllowedOriginals([str(world.photos)]),
        options=BuildOptions(),
    ).collection
    promote(world.store, "photos", new)
    world.encoder = second
    if how == "prune":
        (world.photos / "red.jpg").unlink()
        world.run(prune=True)
    else:
        edit(world.photos / "red.jpg")
        world.run()
    assert red.exists()
    # When the collection that a rollback led to is no more, the next run finds it free.
    world.store.delete_collection("photos-colour-1")
    world.run()
    assert not red.exists()


@pytest.mark.slow
def test_a_collection_that_is_pruned_takes_the_thumbnails_along_that_it_alone_held(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: CommandLine
) -> None:
    assert command("ingest", str(photos)).status == 0
    assert command("library", "build").status == 0
    assert command("library", "promote", "--force").status == 0
    (photos / "red.jpg").unlink()
    # What an earlier version had left: nothing has noted the content of the picture that goes.
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "loosen", lambda self, hashes: None)
        assert command("ingest", str(photos), "--prune").status == 0
    thumbnails = tmp_path / "data" / "libraries" / "photos" / "thumbnails"
    assert len(list(thumbnails.glob("??/*.jpg"))) == 6
    assert command("library", "prune", "--previous", "--yes").status == 0
    assert len(list(thumbnails.glob("??/*.jpg"))) == 5
    assert command("library", "doctor").status == 0


def thumbnail_of(world: World, image_id: str) -> Path:
    (point,) = world.store.retrieve("photos", [image_id]).values()
    return thumbnail_path(world.own / "thumbnails", str(point.payload["sha256"]))


@pytest.mark.parametrize("place", ["clear_moves", "loose", "tied", "loosen"])
def test_thumbnails_that_a_killed_run_left_are_found_by_the_next(
    world: World, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(world.photos / "red.jpg")
    (world.photos / "blue.jpg").unlink()

    def dying(*args: object, **options: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Journal, place, dying)
        with pytest.raises(Killed):
            world.run(prune=True)
    world.run(prune=True)
    assert world.thumbnails() == 5


def test_a_hostile_content_deletes_nothing_outside_the_thumbnails(
    world: World, tmp_path: Path
) -> None:
    victim = tmp_path / "victim.jpg"
    victim.touch()
    (red,) = world.store.retrieve("photos", ["red.jpg"], with_vectors=True).values()
    for number, sha256 in enumerate([str(victim.with_suffix("")), "../../victim", "", "A" * 64]):
        gone = world.photos / f"gone{number}.jpg"
        payload = dict(red.payload) | {"sha256": sha256, "path": str(gone)}
        world.store.upsert("photos", [Point(gone.name, red.vector, payload)])
    assert world.run(prune=True).removed == 4
    assert victim.exists()
    assert world.thumbnails() == 6


def test_a_content_that_the_engine_finds_in_a_hostile_list_stops_nothing(world: World) -> None:
    """A move, an edited picture and one that is pruned while a copy stays look for their hash."""
    shutil.copyfile(world.photos / "green.jpg", world.photos / "copy.jpg")
    world.run()
    found = world.store.retrieve("photos", ["red.jpg", "blue.jpg", "green.jpg"], with_vectors=True)
    hostile = [
        Point(f"hostile-{name}", p.vector, dict(p.payload) | {"sha256": [p.payload["sha256"]]})
        for name, p in found.items()
    ]
    world.store.upsert("photos", hostile)
    (world.photos / "red.jpg").rename(world.photos / "crimson.jpg")
    edit(world.photos / "blue.jpg")
    (world.photos / "green.jpg").unlink()
    report = world.run(prune=True)
    assert report.moved == 1
    assert "green.jpg" in report.removals and "copy.jpg" in world.ids()
    assert world.thumbnails() == 6


def test_what_a_killed_process_had_begun_to_write_is_mended_by_doctor(world: World) -> None:
    left = thumbnail_of(world, "red.jpg").with_name(".tmp-0123")
    left.touch()
    os.utime(left, (1, 1))
    fresh = left.with_name(".tmp-4567")
    fresh.touch()
    for _ in range(2):
        found = examine(
            "photos",
            store=world.store,
            library_dir=world.own,
            find_encoder=lambda spec: Path(),
            originals=AllowedOriginals([str(world.photos)]),
            mend=True,
        )
    assert found == []
    assert (left.exists(), fresh.exists()) == (False, True)


# --- a first ingest that can use nothing -------------------------------------------------------


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    folder = tmp_path / "broken"
    folder.mkdir()
    for name in ("a.jpg", "b.png"):
        (folder / name).write_text("no picture")
    return folder


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SCENESEARCH_ENCODER", str(write_tiny_encoder(tmp_path / "tiny")))
    return CommandLine(monkeypatch, capsys)


def made(tmp_path: Path) -> list[str]:
    """What of a library there is in the data folder."""
    data = tmp_path / "data"
    places = ("libraries/*", "edge/collections/*", "edge/aliases/*")
    return sorted(str(path.relative_to(data)) for place in places for path in data.glob(place))


def test_a_first_ingest_that_can_use_nothing_leaves_no_library_and_exits_with_1(
    broken: Path, tmp_path: Path, command: CommandLine
) -> None:
    run = command("ingest", broken)
    assert run.status == 1, run
    for name in ("a.jpg", "b.png"):
        assert f"rejected: {broken / name}: not a picture, or of an unknown format" in run.err
    assert run.sentence.endswith("so there is no library photos yet")
    assert made(tmp_path) == []
    again = command("ingest", broken, "--json")
    assert again.status == 1
    counts = again.document
    assert (counts["collection"], counts["rejected"], len(counts["rejects"])) == (None, 2, 2)
    assert made(tmp_path) == []
    edit(broken / "good.jpg")
    assert command("ingest", broken).status == 0
    assert made(tmp_path)
    # A library that is there stays, whatever a run finds.
    (broken / "good.jpg").unlink()
    assert command("ingest", broken, "--prune").status == 0
    assert made(tmp_path)


def test_what_others_keep_in_the_folder_stays(tmp_path: Path) -> None:
    own = tmp_path / "photos"
    (own / "uploads").mkdir(parents=True)
    (own / "rejects.sqlite").touch()
    folder = FirstRun(own)
    for name in ("sources.json", "feedback.sqlite", "tidying-1-of-2.sqlite-wal", "ingest.lock"):
        (own / name).touch()
    (own / "thumbnails" / "ab").mkdir(parents=True)
    folder.discard()
    assert sorted(path.name for path in own.iterdir()) == [
        "feedback.sqlite",
        "rejects.sqlite",
        "uploads",
    ]


@pytest.mark.slow
def test_a_watch_that_has_found_nothing_usable_makes_its_library_when_a_picture_comes(
    broken: Path, tmp_path: Path
) -> None:
    environment = os.environ | {
        "SCENESEARCH_DATA_DIR": str(tmp_path / "data"),
        "SCENESEARCH_ENCODER": str(write_tiny_encoder(tmp_path / "tiny")),
    }
    words = [sys.executable, "-m", "scenesearch.cli", "ingest", str(broken), "--watch", "--json"]
    for comes in (False, True):
        with subprocess.Popen(
            words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as watch:
            assert watch.stderr is not None
            assert any("watching" in line for line in watch.stderr)
            (broken / "a.jpg").unlink(missing_ok=True)
            (broken / "c.jpg").write_text("no picture")
            time.sleep(0.1)
            assert not list((tmp_path / "data").glob("edge/collections/*"))
            if comes:
                edit(broken / "good.jpg")
                assert any("1 written" in line for line in watch.stderr)
            watch.send_signal(signal.SIGINT)
            out, err = watch.communicate(timeout=30)
        assert watch.returncode == (0 if comes else 1), err
        assert json.loads(out)["written"] == int(comes)
        assert bool(made(tmp_path)) == comes


def test_a_share_of_the_pictures_that_holds_none_makes_no_library_and_is_no_failure(
    photos: Path, tmp_path: Path, command: CommandLine
) -> None:
    for path in photos.rglob("*.jpg"):
        if path.name != "red.jpg":
            path.unlink()
    runs = [command("ingest", photos, "--shard", f"{n}/3") for n in (1, 2, 3)]
    assert [run.status for run in runs] == [0, 0, 0]
    with closing(EdgeStore(tmp_path / "data" / "edge")) as store:
        assert store.count("photos") == 1
