"""What `library doctor` finds wrong, and that what it says mends it."""

import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest
from PIL import Image

from ingest.doctor import Finding, examine, examine_store, is_well
from ingest.pipeline import ingest
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from scenesearch.encoder.base import EncoderError
from scenesearch.home.allowed_originals import AllowedOriginals
from scenesearch.home.rejects import FILE_NAME, Rejects
from scenesearch.home.roots import Root, read_roots, roots_json
from scenesearch.pictures.thumbnails import thumbnail_path
from scenesearch.store.base import CollectionSpec
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import BUILTIN_FIELDS, PayloadField
from tests.conftest import ColourEncoder


class World:
    """A library of the six photos, with its folder beside the store."""

    def __init__(self, store: EdgeStore, photos: Path, folder: Path) -> None:
        self.store, self.photos, self.folder = store, photos, folder
        self.ingest()

    def ingest(self) -> None:
        rejects = Rejects(self.folder / FILE_NAME)
        ingest(
            find_sources([self.photos], roots=Roots(self.folder / "sources.json")),
            library="pets",
            encoder=ColourEncoder(),
            store=self.store,
            thumbnails_dir=self.folder / "thumbnails",
            rejects=rejects,
        )
        rejects.close()

    def examine(
        self, *, mend: bool = False, find: Callable[[CollectionSpec], Path] = lambda spec: Path()
    ) -> list[Finding]:
        return examine(
            "pets",
            store=self.store,
            library_dir=self.folder,
            find_encoder=find,
            originals=AllowedOriginals([str(self.photos)]),
            mend=mend,
        )

    def thumbnail(self, image_id: str) -> Path:
        point = self.store.retrieve("pets", [image_id])[image_id]
        return thumbnail_path(self.folder / "thumbnails", point.payload["sha256"])


@pytest.fixture
def world(store: EdgeStore, photos: Path, tmp_path: Path) -> World:
    return World(store, photos, tmp_path / "library")


def told(findings: list[Finding]) -> list[tuple[str, str, str]]:
    return [(one.level, one.check, one.text) for one in findings]


def test_a_sound_library_is_well(world: World) -> None:
    assert world.examine() == []
    assert examine_store(world.store) == []


def test_missing_and_changed_originals_are_told_apart(world: World) -> None:
    (world.photos / "red.jpg").unlink()
    Image.new("RGB", (50, 50), "pink").save(world.photos / "green.jpg")
    found = world.examine()
    assert told(found) == [
        ("wrong", "missing", "originals that are not where they were: 1"),
        ("wrong", "changed", "originals that have changed since they were ingested: 1"),
    ]
    assert found[0].examples == [str(world.photos / "red.jpg")]
    assert found[1].mend == f"scenesearch ingest {world.photos} --library pets"
    assert not is_well(found)
    world.store.delete("pets", ["red.jpg"])
    world.thumbnail("green.jpg")
    world.ingest()
    assert [one.check for one in world.examine()] == ["thumbnails"]  # that of the red one


def test_pictures_in_an_archive_are_as_they_were_until_it_is_rewritten(world: World) -> None:
    def pack(*names: str) -> None:
        with tarfile.open(world.photos / "a.tar", "w") as archive:
            for name in names:
                archive.add(world.photos / name, f"packed/{name}")

    pack("red.jpg", "green.jpg")
    world.ingest()
    assert world.examine() == []
    pack("red.jpg")
    assert told(world.examine()) == [
        ("wrong", "missing", "originals that are not where they were: 1"),
        ("wrong", "changed", "originals that have changed since they were ingested: 1"),
    ]


def test_thumbnails_are_made_and_deleted_when_told_to_mend(world: World) -> None:
    world.thumbnail("red.jpg").unlink()
    orphan = world.folder / "thumbnails" / "ab" / f"{'ab' * 32}.jpg"
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"old")
    assert told(world.examine()) == [
        ("wrong", "thumbnails", "pictures without a thumbnail: 1"),
        ("wrong", "thumbnails", "thumbnails of no picture: 1"),
    ]
    assert orphan.exists() and not world.thumbnail("red.jpg").exists()
    mended = world.examine(mend=True)
    assert told(mended) == [
        ("mended", "thumbnails", "thumbnails made: 1"),
        ("mended", "thumbnails", "thumbnails of no picture deleted: 1"),
    ]
    assert is_well(mended)
    assert not orphan.exists() and world.thumbnail("red.jpg").exists()
    assert world.examine() == []


def test_rejects_that_are_of_the_past_are_wrong_and_others_advice(world: World) -> None:
    (world.photos / "cut.jpg").write_bytes((world.photos / "red.jpg").read_bytes()[:300])
    (world.photos / "gone.jpg").write_bytes(b"no picture")
    world.ingest()
    (world.photos / "gone.jpg").unlink()
    found = world.examine()
    assert told(found) == [
        ("wrong", "rejects", "rejects of files that are gone or in the library by now: 1"),
        ("advice", "rejects", "pictures that could not be ingested: 1"),
    ]
    assert "cut.jpg" in found[1].examples[0]
    assert [one.level for one in world.examine(mend=True)] == ["mended", "advice"]
    assert [one.level for one in world.examine()] == ["advice"]
    assert is_well(world.examine())


def test_pictures_that_nobody_has_ingested_are_advice(world: World) -> None:
    Image.new("RGB", (50, 50), "pink").save(world.photos / "new.jpg")
    (found,) = world.examine()
    assert (found.level, found.text) == (
        "advice",
        f"pictures under {world.photos} that are not in the library: 1",
    )
    assert found.mend == f"scenesearch ingest {world.photos} --library pets"


def test_a_folder_that_is_not_there_is_named(world: World, tmp_path: Path) -> None:
    world.photos.rename(tmp_path / "elsewhere")
    assert told(world.examine()) == [
        ("advice", "offline", "originals whose folder is away: 6"),
        ("wrong", "folders", f"{world.photos}, which the library was filled from, is not there"),
    ]


def test_a_folder_that_only_a_backup_names_is_neither_missed_nor_walked(
    world: World, tmp_path: Path
) -> None:
    Image.new("RGB", (50, 50), "pink").save(tmp_path / "secret.jpg")
    roots = read_roots(world.folder / "sources.json")
    for place in (tmp_path, tmp_path / "away"):
        roots[str(place)] = Root("", restored=True)
    (world.folder / "sources.json").write_bytes(roots_json(roots))
    assert world.examine() == []


def test_a_build_that_was_stopped_is_told_with_both_ways_on(world: World) -> None:
    spec = replace(world.store.describe("pets"), state="building")
    world.store.create_collection("pets-warm-1", spec)
    (found,) = world.examine()
    assert found.text == "pets-warm-1 is not complete (0 pictures)"
    assert "library build pets --encoder colour" in found.mend
    assert "library prune pets --unfinished" in found.mend


def test_a_build_that_is_at_work_is_none_that_was_stopped(world: World, tmp_path: Path) -> None:
    world.store.create_collection(
        "pets-other-1", replace(world.store.describe("pets"), state="building")
    )
    builder = EdgeStore(tmp_path / "edge")
    with builder.working_on("pets-other-1"):
        assert [one for one in world.examine() if one.check == "unfinished"] == []
    assert [one.check for one in world.examine()] == ["unfinished"]


def test_thumbnails_of_an_ingest_that_is_at_work_are_waited_for(
    world: World, tmp_path: Path
) -> None:
    """It writes them before their points: nobody may take them for those of no picture."""
    early = world.folder / "thumbnails" / "ab" / f"{'ab' * 32}.jpg"
    early.parent.mkdir(exist_ok=True)
    early.write_bytes(b"")
    world.store._turns.lock_wait_s = 0
    ingest, told = EdgeStore(tmp_path / "edge"), Event()

    def look() -> None:
        examine(
            "pets",
            store=world.store,
            library_dir=world.folder,
            find_encoder=lambda spec: Path(),
            originals=AllowedOriginals(()),
            mend=True,
            on_wait=lambda sentence: told.set(),
        )

    doctor = Thread(target=look)
    with ingest.working_on("pets"):
        doctor.start()
        assert told.wait(60)
        assert early.exists()
    doctor.join(60)
    assert not early.exists()
    ingest.close()


def test_an_encoder_that_is_not_here_is_told(world: World) -> None:
    def find(spec: CollectionSpec) -> Path:
        raise EncoderError(f"encoder {spec.encoder} is not on this machine")

    (found,) = world.examine(find=find)
    assert found.text == "pets-colour-1: encoder colour is not on this machine"


def test_fields_of_an_earlier_version_are_added_or_built_anew(store: EdgeStore) -> None:
    old = tuple(
        replace(one, type="integer") if one.name == "camera" else one
        for one in BUILTIN_FIELDS
        if one.name != "tags"
    )
    own = PayloadField("letters", "integer", "Letters")
    store.create_collection(
        "pets-colour-1", CollectionSpec("pets", "colour", "c", 4, (*old, own), words=False)
    )
    store.set_alias("pets", "pets-colour-1")

    def look(mend: bool = False) -> list[Finding]:
        return examine(
            "pets",
            store=store,
            library_dir=Path("nowhere"),
            find_encoder=lambda spec: Path(),
            originals=AllowedOriginals(()),
            mend=mend,
        )

    assert told(look()) == [
        (
            "wrong",
            "fields",
            "pets-colour-1 does not declare tags, which this version searches",
        ),
        ("wrong", "fields", "pets-colour-1 declares camera as integer, it is keyword"),
        (
            "advice",
            "words",
            "pets-colour-1 is from before captions and names were searched as words",
        ),
    ]
    assert look(mend=True)[0].level == "mended"
    assert [one.check for one in look()] == ["fields", "words"]


def test_what_killed_processes_left_is_removed_when_told_to(
    store: EdgeStore, tmp_path: Path
) -> None:
    root = tmp_path / "edge"
    (root / "collections" / ".new-pets-colour-7").mkdir(parents=True)
    (root / "locks").mkdir(exist_ok=True)
    note = root / "locks" / "pets-colour-1.holder.json"
    note.write_text(json.dumps({"pid": os.getpid(), "command": "x", "since": ""}))
    (root / "aliases" / "lost").mkdir(parents=True)
    (root / "aliases" / "lost" / "CURRENT").write_text("lost-lite-1\n")
    found = examine_store(store)
    assert {(one.level, one.check) for one in found} == {
        ("wrong", "alias"),
        ("wrong", "folder"),
        ("wrong", "lock"),
    }
    assert {one.level for one in examine_store(store, mend=True) if one.check != "alias"} == {
        "mended"
    }
    (left,) = examine_store(store)
    assert left.text == "library lost leads to no collection"
    assert not note.exists()


def test_nothing_is_said_of_a_collection_that_is_in_use(world: World) -> None:
    world.store.count("pets")  # holds its lock, with its note
    assert examine_store(world.store, mend=True) == []
    assert world.store.count("pets") == 6


def test_a_library_whose_alias_is_lost_is_told_what_brings_it_back(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "edge" / "aliases" / "pets" / "CURRENT").unlink()
    (found,) = world.examine()
    assert found.text == "library pets has collections (pets-colour-1) and none is live"
    assert found.mend == "scenesearch library promote pets"


@pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning")
def test_a_server_collection_that_was_never_finished_is_removed_when_told_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from qdrant_client import QdrantClient, models

    from scenesearch.store.server import ServerStore
    from scenesearch.store.server_nodes import Node, Nodes

    monkeypatch.setattr("scenesearch.store.server._CREATION_S", 0.0)
    client = QdrantClient(":memory:")
    client.create_collection(
        "pets-colour-1",
        models.VectorParams(size=4, distance=models.Distance.COSINE),
        metadata={"scenesearch": {"unfinished": "somebody"}},
    )
    server = ServerStore(Nodes([Node(client, "memory")]))
    (found,) = examine_store(server)
    assert (found.level, found.text) == (
        "wrong",
        "collection pets-colour-1 is unfinished: a stopped process began to make it",
    )
    assert examine_store(server, mend=True)[0].level == "mended"
    assert server.collections() == []
