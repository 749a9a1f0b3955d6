"""The whole system on one server: workers that write while page and evaluation read, keys that
allow reading alone, an alias that moves under load. Over the loopback double, gRPC and REST."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.home.installation import Installation
from scenesearch.home.settings import Settings
from scenesearch.notebook import open_library
from scenesearch.search.searcher import Searcher
from scenesearch.store import server
from scenesearch.store.ask import Ask
from scenesearch.store.base import CollectionSpec, Point, StoreError, StoreUnavailable
from scenesearch.store.fields import BUILTIN_FIELDS
from scenesearch.store.server import ServerStore
from tests.cli import CommandLine
from tests.integration.qdrant_loopback import QdrantLoopback
from tests.tiny_encoder import write_tiny_encoder

pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning")

WRITER, READER = "key-that-writes", "key-that-reads"
PICTURES = 60


class Served:
    """The double, and the settings that a process needs to reach it."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.double = QdrantLoopback(api_key=WRITER, read_only_api_key=READER)
        self.url = f"http://127.0.0.1:{self.double.rest_port}"
        self.grpc_port = None if kind == "rest" else self.double.port
        self.encoder = write_tiny_encoder(folder / "tiny")
        self.environment = {
            "SCENESEARCH_DATA_DIR": str(folder / "data"),
            "SCENESEARCH_ENCODER": str(self.encoder),
            "SCENESEARCH_QDRANT_URL": self.url,
            "SCENESEARCH_QDRANT_GRPC_PORT": str(self.grpc_port or ""),
            "SCENESEARCH_QDRANT_TIMEOUT_S": "20",
            "OMP_NUM_THREADS": "1",
        }

    def store(self, key: str) -> ServerStore:
        return ServerStore(self.url, key, grpc_port=self.grpc_port, timeout_s=20)


@pytest.fixture(params=["grpc", "rest"])
def served(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    monkeypatch.chdir(tmp_path)
    one = Served(request.param, tmp_path)
    for name, value in one.environment.items():
        monkeypatch.setenv(name, value)
    yield one
    one.double.close()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys)


class Readers:
    """Threads that read until told to stop; what fails is kept."""

    def __init__(self, read: Callable[[], None], count: int) -> None:
        self.failures: list[BaseException] = []
        self.reads = 0
        self._read, self._stop, self._guard = read, threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._go) for _ in range(count)]

    def __enter__(self) -> "Readers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _go(self) -> None:
        while not self._stop.is_set():
            try:
                self._read()
            except BaseException as error:
                self.failures.append(error)
                return
            with self._guard:
                self.reads += 1


@pytest.mark.slow
def test_two_workers_fill_a_library_while_a_page_and_an_evaluation_read(
    served: Served, pictures: Path, run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENESEARCH_QDRANT_API_KEY", WRITER)
    first = sorted(pictures.iterdir())[:2]
    assert run("ingest", *first).status == 0
    queries = pictures.parent / "queries.csv"
    queries.write_text(f"query_text,images\nred,{first[0].name}\nblue,{first[1].name}\n")

    # From here on this process only reads, with the key for it, as the page does.
    monkeypatch.delenv("SCENESEARCH_QDRANT_API_KEY")
    monkeypatch.setenv("SCENESEARCH_QDRANT_READ_ONLY_API_KEY", READER)
    writing = {**served.environment, "SCENESEARCH_QDRANT_API_KEY": WRITER, "PATH": ""}
    command = [
        sys.executable,
        "-m",
        "scenesearch.cli",
        "ingest",
        str(pictures),
        "--batch-size",
        "2",
    ]
    workers = [
        subprocess.Popen(
            [*command, "--shard", "auto/2"],
            env={**writing, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    counts: list[int] = []
    with open_library("photos", installation=Installation(Settings())) as library:
        store = served.store(READER)
        searcher = Searcher(OnnxEncoder(served.encoder, threads=1), store, "photos")

        def read() -> None:
            assert searcher.search("red", min_relevance=0.0).hits
            counts.append(store.count("photos"))

        with closing(store), Readers(read, 2) as readers:
            evaluated = run("evaluate", "--library", "photos", "--queries", queries, "--json")
            said = [worker.communicate(timeout=120)[0] for worker in workers]
        assert [worker.returncode for worker in workers] == [0, 0], said
        assert evaluated.status == 0, evaluated.err
        assert readers.failures == []
        assert readers.reads > 2
        assert min(counts) >= 2
        # The last count may be from before the last batch.
        assert len(library.search("red", k=100, min_relevance=0.0).hits) == PICTURES
    status = run("status", "--json")
    assert (status.status, status.document["pictures"]) == (0, PICTURES)


def test_the_alias_moves_under_load_and_no_read_fails(served: Served) -> None:
    spec = CollectionSpec("photos", "tiny", "f00d", 2, ())
    vector = np.array([1, 0], np.float32)
    writer = served.store(WRITER)
    for number in (1, 2):
        writer.create_collection(f"photos-tiny-{number}", spec)
        writer.upsert(f"photos-tiny-{number}", [Point("a.jpg", vector, {"from": str(number)})])
    writer.set_alias("photos", "photos-tiny-1")
    seen: set[str] = set()
    reading = served.store(READER)

    def read() -> None:
        (hit,) = reading.search("photos", Ask(vector, limit=1))
        seen.add(hit.payload["from"])
        assert reading.count("photos") == 1

    with Readers(read, 4) as readers:
        for swap in range(30):
            writer.set_alias("photos", f"photos-tiny-{1 + (swap + 1) % 2}")
    reading.close()
    writer.close()
    assert readers.failures == []
    assert readers.reads > 4
    assert seen == {"1", "2"}


def test_the_read_only_key_searches_and_backs_up_but_writes_nothing(
    served: Served, pictures: Path, run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENESEARCH_QDRANT_API_KEY", WRITER)
    assert run("ingest", pictures).status == 0
    monkeypatch.delenv("SCENESEARCH_QDRANT_API_KEY")
    monkeypatch.setenv("SCENESEARCH_QDRANT_READ_ONLY_API_KEY", READER)

    assert run("search", "red", "--all").status == 0
    assert run("library", "list").status == 0
    assert run("library", "backup", "--out", "saved.zip").status == 0

    (pictures / "00.png").unlink()
    for command in (
        ("ingest", pictures, "--prune"),
        ("library", "restore", "saved.zip", "--library", "other"),
        ("ingest", pictures, "--library", "third"),
    ):
        ran = run(*command)
        assert ran.status == 2, command
        assert "this API key may only read; set SCENESEARCH_QDRANT_API_KEY" in ran.sentence
        assert " 0/" not in ran.err  # no bar that never moved
        assert READER not in ran.err
    with closing(served.store(WRITER)) as store:
        assert len(store.collections()) == 1
        assert store.count("photos") == PICTURES


def test_with_both_keys_readers_never_show_the_one_that_writes(
    served: Served, pictures: Path, run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENESEARCH_QDRANT_API_KEY", WRITER)
    assert run("ingest", pictures).status == 0
    monkeypatch.setenv("SCENESEARCH_QDRANT_API_KEY", "leaked-and-changed")
    monkeypatch.setenv("SCENESEARCH_QDRANT_READ_ONLY_API_KEY", READER)
    assert run("search", "red", "--all").status == 0
    assert run("status").status == 0
    assert run("ingest", pictures, "--library", "more").status == 2


def test_what_a_killed_client_began_to_make_is_unfinished_to_every_command(
    served: Served, run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENESEARCH_QDRANT_API_KEY", WRITER)
    monkeypatch.setattr(server, "_CREATION_S", 0.2)  # so long another process might be at it
    spec = CollectionSpec("photos", "tiny", "ab", 2, BUILTIN_FIELDS)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with (
        closing(served.store(WRITER)) as store,
        monkeypatch.context() as patch,
        suppress(KeyboardInterrupt),
    ):
        patch.setattr(store, "_create_index", killed)
        store.create_collection("photos-tiny-1", spec)

    listed = run("library", "list")
    assert listed.status == 0
    assert "unfinished: photos-tiny-1" in listed.err
    assert json.loads(run("library", "list", "--json").out) == {
        "collections": [],
        "foreign": [],
        "unfinished": ["photos-tiny-1"],
    }
    assert "photos-tiny-1 is unfinished" in run("library", "doctor", "photos").out
    kept = run("library", "prune", "photos", "--yes")
    assert kept.status == 2  # it has no collection but the unfinished one
    deleted = run("library", "prune", "photos", "--unfinished", "--yes")
    assert deleted.status == 0
    assert deleted.out == "deleted: photos-tiny-1; kept: nothing\n"
    with closing(served.store(WRITER)) as store:
        assert store.collections() == []


@pytest.mark.parametrize("key", [None, "wrong"])
def test_without_the_right_key_every_command_says_so_at_once(
    served: Served,
    pictures: Path,
    run: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    key: str | None,
) -> None:
    if key is not None:
        monkeypatch.setenv("SCENESEARCH_QDRANT_API_KEY", key)
    served.double.calls.clear()
    for command in (("ingest", pictures), ("search", "red"), ("status", "--json")):
        ran = run(*command)
        assert ran.status == 2
        assert "refused the API key" in ran.out + ran.err
    # Each at first contact, over gRPC for version and both ports; and nobody tried again.
    assert len(served.double.calls) == (9 if served.grpc_port else 3)


def test_a_reader_outlives_a_moment_without_the_server_and_names_a_longer_one(
    served: Served,
) -> None:
    writer = served.store(WRITER)
    writer.create_collection("photos-tiny-1", CollectionSpec("photos", "tiny", "f00d", 2, ()))
    with closing(served.store(READER)) as reader:
        served.double.troubles["Count"] = ["unavailable", "busy"]
        assert reader.count("photos-tiny-1") == 0
        served.double.troubles["Count"] = ["unavailable"] * 50
        with pytest.raises(StoreUnavailable, match="cannot use Qdrant"):
            reader.count("photos-tiny-1")
    writer.close()


def test_a_failed_write_by_a_reader_is_the_stores_own_error(served: Served) -> None:
    with closing(served.store(READER)) as reader, pytest.raises(StoreError, match="may only read"):
        reader.create_collection("x-tiny-1", CollectionSpec("x", "tiny", "f00d", 2, ()))
