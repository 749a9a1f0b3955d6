"""An embedded library that cannot be read or written, and whether it is called damaged."""

import errno
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from scenesearch.errors import FULL, READ_ONLY
from scenesearch.home.feedback import Feedback
from scenesearch.home.rejects import Reject, Rejects, RejectsError
from scenesearch.store import edge_copy, edge_room, edge_turns
from scenesearch.store.ask import Ask
from scenesearch.store.base import CollectionSpec, NoRoom, Point, StoreError, StoreUnavailable
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import PayloadField

SPEC = CollectionSpec(
    "photos", "tiny", "ab" * 32, 4, (PayloadField("folder", "keyword", "Folder"),)
)
NAME = "photos-tiny-1"
QUERY = np.array([1, 0, 0, 0], np.float32)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store's folder with one collection of two pictures."""
    with closing(EdgeStore(tmp_path / "edge")) as store:
        store.create_collection(NAME, SPEC)
        store.upsert(NAME, [Point(name, QUERY, {}) for name in ("a.jpg", "b.jpg")])
    return tmp_path / "edge"


@pytest.fixture
def full(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's disk has no byte free, the one of temporary files has."""
    monkeypatch.setattr(
        edge_room, "free_bytes", lambda at: 0 if root in (at, *at.parents) else 2**40
    )


def state_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_full_disk_is_read_from_a_copy_that_goes_with_the_store(
    root: Path, full: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(edge_copy.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    before = state_of(root / "collections")
    with closing(EdgeStore(root)) as store:
        assert {hit.image_id for hit in store.search(NAME, Ask(QUERY, limit=2))} == {
            "a.jpg",
            "b.jpg",
        }
        assert len(list((tmp_path / "temporary").iterdir())) == 1
    assert list((tmp_path / "temporary").iterdir()) == []
    assert state_of(root / "collections") == before


def test_what_is_read_from_a_copy_is_not_written(root: Path, full: None) -> None:
    with closing(EdgeStore(root)) as store:
        for write in (
            lambda: store.upsert(NAME, [Point("c.jpg", QUERY, {})]),
            lambda: store.delete(NAME, ["a.jpg"]),
            lambda: store.record(NAME, state="building"),
            lambda: store.add_fields(NAME, [PayloadField("price", "float", "Price")]),
            lambda: store.optimize(NAME),
        ):
            with pytest.raises(StoreUnavailable, match=r"cannot write .*the disk is full"):
                write()
        assert store.count(NAME) == 2


def test_a_writer_elsewhere_goes_on_while_a_copy_is_read(root: Path, full: None) -> None:
    with closing(EdgeStore(root)) as reader:
        assert reader.count(NAME) == 2
        with closing(EdgeStore(root)) as writer:
            opened = writer._turns._open_in_place(NAME)  # as from a mount that can be written
            writer._turns._close(opened)


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EMFILE, errno.EIO])
def test_an_obstacle_is_not_called_damage(
    root: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(folder: Path) -> None:
        raise Exception(f"failed to load segment: {os.strerror(number)} (os error {number})")

    monkeypatch.setattr(edge_turns, "load_shard", fails)
    with pytest.raises(StoreUnavailable) as caught, closing(EdgeStore(root)) as store:
        store.count(NAME)
    assert "damaged" not in str(caught.value)
    assert "delete" not in str(caught.value)


def test_a_read_only_engine_falls_back_on_a_copy(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = edge_turns.load_shard

    def refuses(folder: Path) -> object:
        if root in folder.parents:
            raise Exception("failed to load segment: Read-only file system (os error 30)")
        return load(folder)

    monkeypatch.setattr(edge_turns, "load_shard", refuses)
    with closing(EdgeStore(root)) as store:
        assert store.count(NAME) == 2
        with pytest.raises(StoreUnavailable, match=READ_ONLY):
            store.delete(NAME, ["a.jpg"])


def test_damage_is_called_so_and_a_copy_is_advised_first(root: Path) -> None:
    (tracker,) = root.rglob("payload_storage/tracker.dat")
    tracker.write_bytes(b"")
    with (
        pytest.raises(StoreError, match=r"is damaged .*; copy .* elsewhere first, then restore"),
        closing(EdgeStore(root)) as store,
    ):
        store.count(NAME)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs limits of Unix")
def test_a_limit_on_the_size_of_files_is_named(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from scenesearch.store.edge import EdgeStore\n"
        "from tests.integration.test_store_faults import NAME, SPEC\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000,) * 2)\n"
        "try: EdgeStore(Path(sys.argv[1])).create_collection(NAME, SPEC)\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False
    )
    assert ran.stdout.startswith("StoreUnavailable"), ran
    assert "ulimit -f" in ran.stdout


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs permissions of Unix")
def test_a_file_without_permission_is_named_whichever_it_is(root: Path) -> None:
    without_rights = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root reads every file, and there is no setpriv to prevent it")
        without_rights = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    code = (
        "import sys; from pathlib import Path; from scenesearch.store.edge import EdgeStore\n"
        f"try: EdgeStore(Path(sys.argv[1])).count({NAME!r}); print('read')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    (segment,) = root.rglob("segments/*")
    told: dict[str, str] = {}
    for name in ("version.info", "segment.json", "payload_storage/page_0.dat"):
        file = segment / name
        file.chmod(0)
        ran = subprocess.run(
            [*without_rights, sys.executable, "-c", code, root],
            capture_output=True,
            text=True,
            check=False,
        )
        file.chmod(0o644)
        told[name] = ran.stdout
        assert ran.stdout.startswith("StoreUnavailable"), ran
        assert str(file) in ran.stdout
        assert "permission is denied" in ran.stdout
        assert "damaged" not in ran.stdout
    print(told)


def test_room_to_optimize_is_what_the_collection_needs(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what its files take: on a disk in memory most of that is holes."""
    (shard,) = root.rglob("shard")
    needed = edge_room.to_optimize(shard, points=300, dimension=384)
    assert needed - edge_room.to_write(shard) < 3 * 2**20
    million = edge_room.to_optimize(shard, points=10**6, dimension=384)
    assert million <= edge_room.to_write(shard) + 2 * edge_room.allocated_bytes(shard)
    monkeypatch.setattr(edge_room, "free_bytes", lambda at: edge_room.to_open(shard, shard))
    with closing(EdgeStore(root)) as store, pytest.raises(NoRoom, match="MiB needed"):
        store.optimize(NAME)


def test_tables_on_a_disk_that_cannot_be_written_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also rows that a killed process left in the log beside the file."""
    from scenesearch.home import database

    file = tmp_path / "rejects.sqlite"
    open_still = Rejects(file)
    open_still.add([Reject("/a.jpg", "damaged")])
    with closing(Feedback(tmp_path / "feedback.sqlite")) as feedback:
        feedback.mark("a dog", ["a.jpg"], right=True)
    connect = database._connect

    def unwritable(at: Path) -> object:
        if at.parent == tmp_path:
            raise OSError(errno.ENOSPC, "No space left on device")
        return connect(at)

    monkeypatch.setattr(database, "_connect", unwritable)
    with closing(Rejects(file)) as rejects:
        assert [row.path for row in rejects.all()] == ["/a.jpg"]
        with pytest.raises(RejectsError, match=f"cannot be written: {FULL}"):
            rejects.add([Reject("/b.jpg", "damaged")])
    with closing(Feedback(tmp_path / "feedback.sqlite")) as feedback:
        assert feedback.of("a dog") == (("a.jpg",), ())
    open_still.close()
