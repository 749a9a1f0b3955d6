"""What only the embedded home has: locks between processes, folders, crashes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from numpy.typing import NDArray

from scenesearch.store import edge_build, edge_turns
from scenesearch.store.ask import Ask
from scenesearch.store.base import (
    CollectionMissing,
    CollectionSpec,
    IndexBusy,
    Point,
    StoreError,
    StoreUnavailable,
)
from scenesearch.store.edge import EdgeStore
from scenesearch.store.edge_lock import HolderLock
from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import OneOf

SPEC = CollectionSpec(
    "photos", "tiny", "ab" * 32, 4, (PayloadField("folder", "keyword", "Folder"),)
)
NAME = "photos-tiny-1"
QUERY = np.array([1, 0, 0, 0], np.float32)

# A second process: takes the collection and keeps it, as when it optimizes, says so, writes while
# it can, and waits to be killed.
HOLDER = """
import sys
from pathlib import Path
import numpy as np
from scenesearch.store import edge, edge_turns
from scenesearch.store.base import Point

edge_turns._TURN_S = 600
store = edge.EdgeStore(Path(sys.argv[2]))
vector = np.array([1, 0, 0, 0], np.float32)
store.count("photos-tiny-1")
print("open", flush=True)
for n in range(int(sys.argv[3])):
    batch = [Point(f"{n}-{m}.jpg", vector, {"folder": str(n)}) for m in range(10)]
    store.upsert("photos-tiny-1", batch)
    print(n, flush=True)
sys.stdin.read()
"""


@contextmanager
def kept(root: Path, command: str) -> Iterator[HolderLock]:
    """The collection in the hands of somebody who cannot let it go."""
    lock = HolderLock(root / "locks" / f"{NAME}.lock", command)
    lock.acquire(0)
    yield lock
    lock.release()


def points(*names: str) -> list[Point]:
    return [Point(name, QUERY, {"folder": "a"}) for name in names]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store's folder with one collection of two pictures."""
    store = EdgeStore(tmp_path)
    store.create_collection(NAME, SPEC)
    store.upsert(NAME, points("a.jpg", "b.jpg"))
    store.close()
    return tmp_path


@contextmanager
def another_process(root: Path, *, batches: int = 0) -> Iterator["subprocess.Popen[str]"]:
    script = root / "ui.py"  # its name and first word are what it is called by
    script.write_text(HOLDER)
    process = subprocess.Popen(
        [sys.executable, str(script), "serve", str(root), str(batches)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_second_process_is_told_who_has_the_library(root: Path) -> None:
    store = EdgeStore(root, lock_wait_s=0.1)
    with another_process(root) as other, pytest.raises(IndexBusy) as busy:
        store.search(NAME, Ask(QUERY, limit=1))
    assert str(busy.value) == (
        f"library photos is in use by `ui serve` (process {other.pid}); close it or wait"
    )


def test_a_second_store_in_one_process_is_told_as_well(root: Path) -> None:
    second = EdgeStore(root, lock_wait_s=0.1)
    with (
        kept(root, "scenesearch ui"),
        pytest.raises(IndexBusy, match=rf"`scenesearch ui` \(process {os.getpid()}\)"),
    ):
        second.count(NAME)
    assert second.count(NAME) == 2
    second.close()


def test_looking_around_and_moving_aliases_needs_no_lock(root: Path) -> None:
    store = EdgeStore(root, lock_wait_s=0.1)
    with another_process(root):
        store.set_alias("photos", NAME)
        assert store.aliases() == {"photos": NAME}
        assert store.collections() == [NAME]
        assert store.describe("photos") == SPEC
        assert "1 collection in" in store.health()
        with pytest.raises(IndexBusy):
            store.delete_collection(NAME)
    assert store.count("photos") == 2
    store.close()


def test_a_killed_holder_blocks_nobody_and_loses_nothing_it_had_acknowledged(root: Path) -> None:
    with another_process(root, batches=10_000) as other:
        assert other.stdout is not None
        acknowledged = [int(other.stdout.readline()) for _ in range(30)]
        os.kill(other.pid, signal.SIGKILL)
        rest, _ = other.communicate()
        acknowledged += [int(line) for line in rest.split() if line.isdigit()]
    assert (root / "locks" / f"{NAME}.holder.json").exists()  # it had no time to tidy up

    store = EdgeStore(root, lock_wait_s=0.1)
    wanted = [f"{n}-{m}.jpg" for n in acknowledged[:-1] for m in range(10)]
    assert set(store.retrieve(NAME, wanted)) == set(wanted)
    assert store.count(NAME) >= 2 + len(wanted)
    assert store.count(NAME, where=(OneOf("folder", ("7",)),)) == 10
    store.close()
    assert not (root / "locks" / f"{NAME}.holder.json").exists()


def test_a_waiting_process_gets_the_collection_when_it_is_released(root: Path) -> None:
    first, second = EdgeStore(root), EdgeStore(root, lock_wait_s=20)
    first.count(NAME)
    counts: list[int] = []
    waiting = Thread(target=lambda: counts.append(second.count(NAME)))
    waiting.start()
    first.release(NAME)
    waiting.join(timeout=30)
    assert counts == [2]
    second.close()
    assert first.count(NAME) == 2  # taken up again by itself
    first.close()


def test_a_holder_note_that_is_no_json_still_gives_a_sentence(root: Path) -> None:
    with kept(root, "a search"):
        (root / "locks" / f"{NAME}.holder.json").write_text("{")
        with pytest.raises(IndexBusy, match="in use by another process; close it or wait"):
            EdgeStore(root, lock_wait_s=0).count(NAME)


def test_a_half_made_collection_is_not_listed_and_can_be_made(tmp_path: Path) -> None:
    for half in (f".new-{NAME}", NAME):  # before and after the folder got its name
        (tmp_path / "collections" / half / "shard").mkdir(parents=True)
        store = EdgeStore(tmp_path)
        assert store.collections() == []
        with pytest.raises(CollectionMissing):
            store.count(NAME)
        store.create_collection(NAME, SPEC)
        assert store.count(NAME) == 0
        store.delete_collection(NAME)
        store.close()
    assert list((tmp_path / "collections").iterdir()) == []


def test_a_crash_while_an_alias_is_written_leaves_the_old_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EdgeStore(root)
    store.create_collection("photos-tiny-2", SPEC)
    store.set_alias("photos", NAME)

    def crash(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        store.set_alias("photos", "photos-tiny-2")
    monkeypatch.undo()

    assert store.aliases() == {"photos": NAME}
    assert [path.name for path in (root / "aliases" / "photos").iterdir()] == ["CURRENT"]
    store.close()


def test_readers_of_an_alias_never_find_it_missing_while_it_moves(root: Path) -> None:
    store = EdgeStore(root)
    store.create_collection("photos-tiny-2", SPEC)
    store.set_alias("photos", NAME)
    seen: set[str] = set()
    failures: list[BaseException] = []
    done = False

    def read() -> None:
        try:
            while not done:
                seen.add(store.resolve("photos"))
        except BaseException as error:
            failures.append(error)

    reader = Thread(target=read)
    reader.start()
    for n in range(100):
        store.set_alias("photos", ("photos-tiny-2", NAME)[n % 2])
    done = True
    reader.join()
    assert failures == []
    assert seen <= {NAME, "photos-tiny-2"}
    store.close()


@pytest.mark.parametrize("current", ["", "gone-1", "../../etc", "a b"])
def test_an_alias_file_that_points_nowhere_is_no_alias(root: Path, current: str) -> None:
    (root / "aliases" / "photos").mkdir(parents=True)
    (root / "aliases" / "photos" / "CURRENT").write_text(current)
    store = EdgeStore(root)
    assert store.aliases() == {}
    with pytest.raises(CollectionMissing, match=NAME):
        store.count("photos")


def test_a_damaged_specification_is_named(root: Path) -> None:
    path = root / "collections" / NAME / "collection.json"
    path.write_text(json.dumps({"library": "photos"}))
    with pytest.raises(StoreError, match=r"collection\.json is damaged"):
        EdgeStore(root).describe(NAME)


def test_a_damaged_shard_is_one_sentence_and_can_be_replaced(root: Path) -> None:
    for segment in (root / "collections" / NAME / "shard" / "segments").iterdir():
        (segment / "segment.json").write_text("{")
    store = EdgeStore(root)
    with pytest.raises(StoreError, match=f"collection {NAME} is damaged .*copy .* elsewhere first"):
        store.count(NAME)
    store.delete_collection(NAME)
    store.create_collection(NAME, SPEC)
    assert store.count(NAME) == 0
    store.close()


def test_a_specification_of_a_later_version_can_be_read(root: Path) -> None:
    path = root / "collections" / NAME / "collection.json"
    recorded = json.loads(path.read_text())
    recorded["motto"] = "later"
    recorded["fields"][0]["colour"] = "later"
    path.write_text(json.dumps(recorded))
    assert EdgeStore(root).describe(NAME) == SPEC


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreUnavailable, match=f"{tmp_path}/file"):
        EdgeStore(tmp_path / "file").create_collection(NAME, SPEC)


def test_an_empty_or_absent_folder_is_an_empty_store(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path / "absent")
    assert store.collections() == []
    assert store.aliases() == {}
    assert not (tmp_path / "absent").exists()
    with pytest.raises(CollectionMissing, match="there are none yet"):
        store.count(NAME)


def test_points_survive_a_close_and_a_reopening(root: Path) -> None:
    store = EdgeStore(root)
    assert [hit.image_id for hit in store.search(NAME, Ask(QUERY, limit=5))] == ["a.jpg", "b.jpg"]
    store.close()


def test_a_shard_is_the_same_where_no_memory_folder_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_build, "MEMORY", tmp_path / "none")
    store = EdgeStore(tmp_path / "edge")
    store.create_collection(NAME, SPEC)
    store.upsert(NAME, points("a.jpg"))
    assert store.count(NAME, where=(OneOf("folder", ("a",)),)) == 1
    store.close()


def test_optimizing_a_large_collection_keeps_the_ranking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dimension, n = 256, 4000
    rng = np.random.default_rng(7)

    def unit(count: int) -> NDArray[np.float32]:
        raw = rng.standard_normal((count, dimension)).astype(np.float32)
        normed: NDArray[np.float32] = raw / np.linalg.norm(raw, axis=1, keepdims=True)
        return normed

    monkeypatch.setattr("scenesearch.store.edge._PLAIN_KB", 1000)  # 4000 x 256 are 4 MB
    store = EdgeStore(tmp_path)
    store.create_collection(NAME, CollectionSpec("photos", "tiny", "ab", dimension, SPEC.fields))
    vectors, queries = unit(n), unit(20)
    names = [f"{number:05}.jpg" for number in range(n)]
    store.upsert(
        NAME,
        [
            Point(name, vector, {"folder": name[-5]})
            for name, vector in zip(names, vectors, strict=True)
        ],
    )
    assert list((tmp_path / "collections").rglob("quantized.data")) == []

    store.optimize(NAME)

    assert list((tmp_path / "collections").rglob("quantized.data")) != []
    for query in queries:
        nearest = [names[i] for i in np.argsort(-(vectors @ query))]
        assert [hit.image_id for hit in store.search(NAME, Ask(query, limit=10))] == nearest[:10]
        sevens = [name for name in nearest if name[-5] == "7"]
        hits = store.search(NAME, Ask(query, limit=10, where=(OneOf("folder", ("7",)),)))
        assert [hit.image_id for hit in hits] == sevens[:10]
    store.close()


def test_above_its_size_a_collection_gets_a_graph_that_finds_the_nearest_and_takes_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scenesearch.store.edge._PLAIN_KB", 100)
    monkeypatch.setattr("scenesearch.store.edge._GRAPH_FROM", 1000)
    monkeypatch.setattr("scenesearch.store.edge._SCANNED", 100)
    rng = np.random.default_rng(7)
    raw = rng.standard_normal((3000, 24)).astype(np.float32)
    vectors = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    names = [f"{number:05}.jpg" for number in range(len(vectors))]
    store = EdgeStore(tmp_path)
    store.create_collection(NAME, CollectionSpec("photos", "tiny", "ab", 24, SPEC.fields))

    def write(start: int, end: int) -> None:
        part = zip(names[start:end], vectors[start:end], strict=True)
        store.upsert(NAME, [Point(name, vector, {"folder": name[-5]}) for name, vector in part])

    def graphs() -> list[Path]:
        return list((tmp_path / "collections").rglob("graph.bin"))

    write(0, 900)
    store.optimize(NAME)
    assert graphs() == []
    write(900, 2500)
    store.optimize(NAME)
    assert graphs() != []
    write(2500, 3000)  # not in the graph yet
    store.close()

    store = EdgeStore(tmp_path)
    found = behind_a_filter = 0
    for query in vectors[:50]:
        nearest = np.argsort(-(vectors @ query))[:10]
        hits = {hit.image_id for hit in store.search(NAME, Ask(query, limit=10))}
        found += len(hits & {names[number] for number in nearest})
        exact = [hit.image_id for hit in store.search(NAME, Ask(query, limit=10, exact=True))]
        assert exact == [names[number] for number in nearest]
        sevens = [names[n] for n in np.argsort(-(vectors @ query)) if names[n][-5] == "7"][:10]
        hits = store.search(NAME, Ask(query, limit=10, where=(OneOf("folder", ("7",)),)))
        behind_a_filter += len({hit.image_id for hit in hits} & set(sevens))
    assert found >= 0.98 * 500
    assert behind_a_filter >= 0.98 * 500
    store.close()


def test_who_has_a_collection_and_does_not_use_it_lets_it_go_to_who_waits(root: Path) -> None:
    holder, waiter = EdgeStore(root), EdgeStore(root)
    holder.count(NAME)
    assert not holder.release(NAME, if_wanted=True)
    assert waiter.count(NAME) == 2
    waiter.close()
    assert holder.count(NAME) == 2
    assert not holder.release(NAME, if_wanted=True)  # nobody waits any more
    holder.close()


def test_who_is_at_work_without_end_loses_its_turn_between_two_operations(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_turns, "_IDLE_CHECK_S", 600)  # idle or not is not the question here
    worker, waiter = EdgeStore(root), EdgeStore(root, lock_wait_s=60)
    worker.count(NAME)
    counted: list[int] = []

    def count() -> None:
        counted.append(waiter.count(NAME))
        waiter.close()

    waiting = Thread(target=count)
    waiting.start()
    while waiting.is_alive():
        worker.count(NAME)
    assert counted == [2]
    worker.close()


def test_two_that_each_want_what_the_other_has_both_get_it(root: Path) -> None:
    store = EdgeStore(root)
    store.create_collection("photos-tiny-2", SPEC)
    store.close()
    names, stores = (NAME, "photos-tiny-2"), (EdgeStore(root), EdgeStore(root))
    for name, own in zip(names, stores, strict=True):
        own.count(name)
    others = [
        Thread(target=own.count, args=(name,))
        for name, own in zip(reversed(names), stores, strict=True)
    ]
    for thread in others:
        thread.start()
    for thread in others:
        thread.join(60)
    assert not any(thread.is_alive() for thread in others)
    for own in stores:
        own.close()


def test_where_no_lock_can_be_made_work_goes_on_without(root: Path) -> None:
    store = EdgeStore(root)
    (root / "locks" / f"{NAME}.work.lock").mkdir()  # as on a full disk: no such file can be made
    with store.working_on(NAME):
        assert store.count(NAME) == 2
    store.close()


def test_what_another_process_works_on_can_be_read_and_not_deleted(root: Path) -> None:
    worker, other = EdgeStore(root, command="scenesearch ingest"), EdgeStore(root)
    with worker.working_on(NAME):
        worker.upsert(NAME, points("c.jpg"))
        assert other.count(NAME) == 3
        said = "photos is being worked on by `scenesearch ingest`"
        with pytest.raises(IndexBusy, match=said):
            other.delete_collection(NAME)
        with pytest.raises(IndexBusy, match=said), other.working_on(NAME, wait_s=0):
            pass
        worker.upsert(NAME, points("d.jpg"))
    assert other.count(NAME) == 4
    with other.working_on(NAME, wait_s=0):
        other.delete_collection(NAME)  # its own work is not in its way
    assert worker.collections() == []
    worker.close()
    other.close()
