"""Whole ingests into a server, and every trouble a server can make: over gRPC and REST.

    pytest tests/integration/test_ingest_server.py
    QDRANT_TEST_URL=http://localhost:6333 pytest tests/integration/test_ingest_server.py

The server is the loopback double, behind a cable that can be pulled. With QDRANT_TEST_URL the same
tests run over that server too (QDRANT_TEST_GRPC_PORT, QDRANT_TEST_API_KEY as for the contract
tests), but for the troubles that only a double makes when asked to.
"""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ingest.pipeline import IngestOptions, ingest
from ingest.relocate import relocate
from ingest.report import IngestReport
from ingest.shards import Shard
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from scenesearch.commands.app import app
from scenesearch.store.base import CollectionMissing, StoreError, StoreUnavailable, VectorStore
from scenesearch.store.edge import EdgeStore
from scenesearch.store.edge_lock import HolderLock
from scenesearch.store.server import ServerStore
from tests.conftest import ColourEncoder
from tests.integration.qdrant_loopback import QdrantLoopback, Trouble
from tests.integration.tcp_proxy import TcpProxy
from tests.tiny_encoder import write_tiny_encoder

pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning")

PICTURES = 150
WRITE_BATCH = 64


class Server:
    """One server behind a cable; `double` is None when it is a real one."""

    def __init__(self, kind: str) -> None:
        self.rest = kind.endswith("rest")
        self.double = None if kind.startswith("real") else QdrantLoopback(api_key="key")
        self.library = f"test-{uuid.uuid4().hex[:8]}"
        if self.double is not None:
            self.key: str | None = "key"
            upstream = self.double.rest_port if self.rest else self.double.port
            self.cable = TcpProxy(upstream)
            upstream_rest = self.double.rest_port
        else:
            url = urlsplit(os.environ["QDRANT_TEST_URL"])
            self.key = os.environ.get("QDRANT_TEST_API_KEY")
            grpc = int(os.environ.get("QDRANT_TEST_GRPC_PORT", "6334"))
            port = (url.port or 6333) if self.rest else grpc
            self.cable = TcpProxy(port, url.hostname or "127.0.0.1")
            upstream_rest = url.port or 6333
        rest_port = self.cable.port if self.rest else upstream_rest
        self.url = f"http://127.0.0.1:{rest_port}"
        self.grpc_port = None if self.rest else self.cable.port

    def store(
        self, *, key: str | None = None, timeout_s: float = 20, patience_s: float = 20
    ) -> ServerStore:
        return ServerStore(
            self.url,
            api_key=key or self.key,
            grpc_port=self.grpc_port,
            timeout_s=timeout_s,
            patience_s=patience_s,
        )

    def trouble(self, call: str, *troubles: Trouble) -> None:
        if self.double is None:
            pytest.skip("a real server makes no trouble on request")
        self.double.troubles[call] = list(troubles)

    def close(self) -> None:
        with suppress(StoreError), closing(self.store(patience_s=1)) as store:
            for name in store.collections():
                if name.startswith(self.library):
                    store.delete_collection(name)
        self.cable.stop()
        if self.double is not None:
            self.double.close()


KINDS = ["grpc", "rest", *(["real-grpc", "real-rest"] if "QDRANT_TEST_URL" in os.environ else [])]


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    server = Server(request.param)
    yield server
    server.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return folder


def run(
    server: Server,
    pictures: Path,
    encoder: ColourEncoder,
    *,
    store: VectorStore | None = None,
    patience_s: float = 20,
    timeout_s: float = 20,
    on_progress: object = None,
) -> IngestReport:
    with closing(store or server.store(patience_s=patience_s, timeout_s=timeout_s)) as home:
        return ingest(
            find_sources([pictures], roots=Roots()),
            library=server.library,
            encoder=encoder,
            store=home,
            options=IngestOptions(batch_size=8),
            on_progress=on_progress,  # type: ignore[arg-type]
        )


def count(server: Server) -> int:
    with closing(server.store()) as store:
        return store.count(server.library)


@pytest.mark.slow
def test_a_renamed_picture_moves_and_a_run_of_rejects_makes_no_collection(
    server: Server, photos: Path, tmp_path: Path
) -> None:
    encoder, broken = ColourEncoder(), tmp_path / "broken"
    broken.mkdir()
    (broken / "a.jpg").write_text("no picture")
    assert run(server, broken, encoder).collection == ""
    with closing(server.store()) as store:
        assert not [name for name in store.collections() if name.startswith(server.library)]
        assert server.library not in store.aliases()
    run(server, photos, encoder)
    one, other = photos / "red.jpg", photos / "blue.jpg"
    one.rename(photos / "between")
    other.rename(one)
    (photos / "between").rename(other)
    (photos / "trip").rename(photos / "journey")
    report = run(server, photos, encoder)
    assert (report.written, report.encoded, report.moved) == (5, 0, 5)
    assert count(server) == 6


@pytest.mark.slow
def test_counts_payloads_and_vectors_are_those_of_the_embedded_store(
    server: Server, pictures: Path, tmp_path: Path
) -> None:
    with closing(EdgeStore(tmp_path / "edge")) as edge, closing(server.store()) as store:
        there = run(server, pictures, ColourEncoder(), store=server.store())
        here = run(server, pictures, ColourEncoder(), store=EdgeStore(tmp_path / "edge"))
        assert (there.written, there.encoded) == (here.written, here.encoded) == (PICTURES,) * 2
        ours, theirs = (
            {p.image_id: p for p in home.scroll(server.library, with_vectors=True)}
            for home in (edge, store)
        )
        assert ours.keys() == theirs.keys()
        for image_id, point in ours.items():
            assert dict(point.payload) == dict(theirs[image_id].payload)
            assert np.allclose(point.vector, theirs[image_id].vector, atol=1e-6)


def test_a_library_on_a_server_is_re_pointed(server: Server, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    for number in range(5):
        Image.new("RGB", (9, 9), (number * 40, 80, 90)).save(old / f"{number}.png")
    with closing(server.store()) as store:
        ingest(
            find_sources([old], roots=Roots(tmp_path / "own" / "sources.json")),
            library=server.library,
            encoder=ColourEncoder(),
            store=store,
        )
        old.rename(new)
        library_dir = tmp_path / "own"
        relocate(server.library, str(old), str(new), store=store, library_dir=library_dir)
        points = store.scroll(server.library, with_vectors=True)
        found = {point.image_id: (point.payload["path"], point.vector) for point in points}
    assert {name: path for name, (path, _) in found.items()} == {
        f"{number}.png": str(new / f"{number}.png") for number in range(5)
    }
    assert all(vector is not None for _, vector in found.values())


def test_second_run_skips_everything(server: Server, pictures: Path) -> None:
    encoder = ColourEncoder()
    run(server, pictures, encoder)
    again = run(server, pictures, encoder)
    assert (again.skipped, again.written, encoder.encoded) == (PICTURES, 0, PICTURES)


def test_server_that_comes_up_late_is_waited_for(server: Server, pictures: Path) -> None:
    server.cable.stop()
    server.cable.start_after(0.7)
    report = run(server, pictures, ColourEncoder())
    assert report.written == PICTURES
    assert count(server) == PICTURES


def test_server_that_stays_away_is_one_sentence_before_any_picture(
    server: Server, pictures: Path
) -> None:
    encoder = ColourEncoder()
    server.cable.stop()
    with pytest.raises(StoreUnavailable, match=r"cannot use Qdrant at http://127\.0\.0\.1:\d+: "):
        run(server, pictures, encoder, patience_s=0.5)
    assert encoder.encoded == 0
    server.cable.start()


@pytest.mark.slow
def test_server_that_goes_and_comes_back_costs_only_time(server: Server, pictures: Path) -> None:
    encoder, pulled = ColourEncoder(), []

    def pull(report: IngestReport) -> None:
        if report.written and not pulled:
            pulled.append(report.written)
            server.cable.stop()
            server.cable.start_after(0.7)

    report = run(server, pictures, encoder, on_progress=pull)
    assert (report.written, encoder.encoded) == (PICTURES, PICTURES)
    assert report.retries > 0
    assert count(server) == PICTURES


def test_server_that_goes_for_good_keeps_what_was_written_and_the_next_run_goes_on(
    server: Server, pictures: Path
) -> None:
    encoder, done = ColourEncoder(), []

    def pull(report: IngestReport) -> None:
        done.append(report.written)
        if report.written:
            server.cable.stop()

    with pytest.raises(StoreUnavailable, match="cannot use Qdrant at"):
        run(server, pictures, encoder, patience_s=0.5, on_progress=pull)
    server.cable.start()
    assert count(server) == max(done) > 0
    report = run(server, pictures, encoder)
    assert (report.skipped, report.written) == (max(done), PICTURES - max(done))
    assert encoder.encoded - PICTURES <= WRITE_BATCH
    assert count(server) == PICTURES


@pytest.mark.parametrize("trouble", ["busy", "unavailable"])
def test_server_that_asks_for_patience_gets_it(
    server: Server, pictures: Path, trouble: Trouble
) -> None:
    """429 with a retry-after of a second; 503."""
    server.trouble("Upsert", *[trouble] * (1 if trouble == "busy" else 3))
    encoder = ColourEncoder()
    report = run(server, pictures, encoder)
    assert (report.written, encoder.encoded) == (PICTURES, PICTURES)
    assert report.retries == (1 if trouble == "busy" else 3)
    assert count(server) == PICTURES


def test_server_that_stays_busy_is_one_sentence(server: Server, pictures: Path) -> None:
    server.trouble("Upsert", *["busy"] * 100)
    with pytest.raises(StoreUnavailable, match="it limits requests"):
        run(server, pictures, ColourEncoder(), patience_s=2.5)


@pytest.mark.slow
def test_answer_that_comes_too_late_doubles_nothing(server: Server, pictures: Path) -> None:
    """The write was done, its answer lost: it is repeated under the same ids."""
    server.trouble("Upsert", "slow")
    report = run(server, pictures, ColourEncoder(), timeout_s=1)
    assert report.retries >= 1  # on a busy machine other answers may take over a second too
    assert count(server) == PICTURES


def test_wrong_key_is_one_sentence_before_any_picture(server: Server, pictures: Path) -> None:
    if server.key is None:
        pytest.skip("this server takes any key")
    encoder = ColourEncoder()
    with pytest.raises(StoreUnavailable, match="refused the API key"):
        run(server, pictures, encoder, store=server.store(key="wrong"))
    assert encoder.encoded == 0


def test_lost_answer_to_the_making_of_the_collection_leaves_one(
    server: Server, pictures: Path
) -> None:
    server.trouble("Create", "slow")
    report = run(server, pictures, ColourEncoder(), timeout_s=1)
    assert report.collection == f"{server.library}-colour-1"
    assert report.written == PICTURES


def test_collection_deleted_beneath_is_one_sentence_and_the_next_run_makes_it_again(
    server: Server, pictures: Path
) -> None:
    deleted = []

    def delete(report: IngestReport) -> None:
        if report.written and not deleted:
            with closing(server.store()) as other:
                deleted.append(report.collection)
                other.delete_collection(report.collection)

    with pytest.raises(CollectionMissing, match="no library"):
        run(server, pictures, ColourEncoder(), on_progress=delete)
    assert run(server, pictures, ColourEncoder()).written == PICTURES
    assert count(server) == PICTURES


def test_full_disk_of_the_server_is_one_sentence_and_the_next_run_goes_on(
    server: Server, pictures: Path
) -> None:
    def fill(report: IngestReport) -> None:
        if report.written and "Upsert" not in (server.double.troubles if server.double else {}):
            server.trouble("Upsert", "full")

    encoder = ColourEncoder()
    if server.double is None:
        pytest.skip("a real server makes no trouble on request")
    with pytest.raises(StoreUnavailable, match="No space left on device"):
        run(server, pictures, encoder, on_progress=fill)
    kept = count(server)
    report = run(server, pictures, encoder)
    assert (report.skipped, report.written) == (kept, PICTURES - kept)
    assert count(server) == PICTURES
    assert encoder.encoded - PICTURES <= WRITE_BATCH


@pytest.mark.slow
def test_two_processes_at_once_share_out_one_collection(
    server: Server, pictures: Path, tmp_path: Path
) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SCENESEARCH_")} | {
        "SCENESEARCH_ENCODER": str(write_tiny_encoder(tmp_path / "tiny")),
        "SCENESEARCH_QDRANT_URL": server.url,
        "SCENESEARCH_QDRANT_GRPC_PORT": str(server.grpc_port or ""),
        "SCENESEARCH_QDRANT_API_KEY": server.key or "",
    }
    words = [sys.executable, "-m", "scenesearch.cli", "ingest", pictures]
    shards = [Shard(1, 2), Shard(2, 2)]
    workers = [
        subprocess.Popen(
            [*words, "--library", server.library, "--shard", str(shard)],
            env=environment | {"SCENESEARCH_DATA_DIR": str(tmp_path / f"data{shard.number}")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for shard in shards
    ]
    for shard, worker in zip(shards, workers, strict=True):
        out, err = worker.communicate(timeout=120)
        share = sum(shard.holds(f"{number:03}.png") for number in range(PICTURES))
        assert worker.returncode == 0, err
        assert f"{share} seen, {share} written, 0 skipped" in out
    assert count(server) == PICTURES
    with closing(server.store()) as store:
        assert store.collections() == [f"{server.library}-tiny-1"] or server.double is None


@pytest.mark.slow
def test_second_ingest_into_a_servers_library_hears_who_is_at_it(
    server: Server, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "DATA_DIR": tmp_path / "data",
        "ENCODER": write_tiny_encoder(tmp_path / "tiny"),
        "QDRANT_URL": server.url,
        "QDRANT_GRPC_PORT": server.grpc_port or "",
        "QDRANT_API_KEY": server.key or "",
    }.items():
        monkeypatch.setenv(f"SCENESEARCH_{name}", str(value))
    words = ["ingest", str(pictures), "--library", server.library]
    folder = tmp_path / "data" / "libraries" / server.library
    folder.mkdir(parents=True)
    first = HolderLock(folder / "ingest.lock", "scenesearch ingest")
    first.acquire(0)
    second = CliRunner().invoke(app, words)
    assert second.exit_code == 2
    assert f"is being filled by `scenesearch ingest` (process {os.getpid()})" in second.stderr
    assert CliRunner().invoke(app, [*words, "--shard", "1/2"]).exit_code == 0
    first.release()
    assert CliRunner().invoke(app, words).exit_code == 0
    assert count(server) == PICTURES
