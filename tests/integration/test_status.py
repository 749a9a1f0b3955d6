"""`scenesearch status`, as a probe reads it; shares of workers; metrics of a real ingest."""

import json
import socket
from pathlib import Path

import pytest

from ingest.shards import Shard, ShardError, held_shard
from scenesearch.store.edge import EdgeStore
from scenesearch.store.edge_lock import HolderLock
from tests.cli import CommandLine
from tests.tiny_encoder import write_tiny_encoder


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SCENESEARCH_ENCODER", str(write_tiny_encoder(tmp_path / "tiny")))
    return CommandLine(monkeypatch, capsys)


def test_a_filled_library_is_ready(run: CommandLine, photos: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"no picture")
    assert run("ingest", photos).status == 0
    ran = run("status", "--json")
    report = ran.document
    assert ran.status == 0
    assert report["ready"] is True
    assert report["problems"] == []
    assert (report["pictures"], report["rejects"]) == (6, 1)
    assert report["encoder"]["name"] == "tiny"
    assert report["encoder"]["here"] is True
    assert "Qdrant Edge" in report["store"]
    assert report["disk"]["free_bytes"] > 0
    assert report["versions"]["scenesearch"]


def test_without_a_library_it_is_not_ready(run: CommandLine) -> None:
    ran = run("status", "--json", "--library", "nope")
    assert ran.status == 1
    assert ran.document["ready"] is False
    assert "no library 'nope'" in ran.document["problems"][0]


def test_without_its_encoder_it_is_not_ready(
    run: CommandLine, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("ingest", photos)
    for part in (tmp_path / "tiny").iterdir():
        part.unlink()
    monkeypatch.setenv("SCENESEARCH_ENCODER", "lite")
    ran = run("status", "--json")
    assert ran.status == 1
    assert ran.document["encoder"]["here"] is False


def test_a_damaged_table_of_rejects_is_a_problem_and_no_more(
    run: CommandLine, photos: Path, tmp_path: Path
) -> None:
    run("ingest", photos)
    table = tmp_path / "data" / "libraries" / "photos" / "rejects.sqlite"
    table.write_bytes(b"no database, and long enough to be told" * 40)
    ran = run("status", "--json")
    assert ran.status == 1
    assert (ran.document["pictures"], ran.document["rejects"]) == (6, None)
    assert "copy it elsewhere" in ran.document["problems"][0]


def test_a_server_that_is_away_is_status_2(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENESEARCH_QDRANT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("SCENESEARCH_QDRANT_GRPC_PORT", "")
    monkeypatch.setenv("SCENESEARCH_QDRANT_TIMEOUT_S", "1")
    ran = run("status", "--json")
    assert ran.status == 2
    assert "cannot use Qdrant at http://127.0.0.1:1" in ran.document["problems"][0]


def test_a_full_disk_is_not_ready(run: CommandLine, photos: Path) -> None:
    run("ingest", photos)
    ran = run("status", "--least-free", "10000000")
    assert ran.status == 1
    assert "less than 1e+07" in ran.out
    assert ran.out.endswith("not ready\n")


@pytest.mark.usefixtures("impatient")
def test_a_library_at_work_elsewhere_is_ready_and_said_to_be_busy(
    run: CommandLine, photos: Path, tmp_path: Path
) -> None:
    run("ingest", photos)
    edge = tmp_path / "data" / "edge"
    lock = HolderLock(edge / "locks" / f"{EdgeStore(edge).resolve('photos')}.lock", "a restore")
    lock.acquire(0)
    try:
        ran = run("status", "--json")
    finally:
        lock.release()
    assert ran.status == 0
    assert "busy" in ran.document


def test_automatic_shares_never_overlap_and_are_free_again_afterwards(tmp_path: Path) -> None:
    with held_shard("auto/2", tmp_path) as first:
        with held_shard("auto/2", tmp_path) as second:
            assert {first, second} == {Shard(1, 2), Shard(2, 2)}
            with (
                pytest.raises(ShardError, match="all 2 shares are other workers'"),
                held_shard("auto/2", tmp_path),
            ):
                pass
        with held_shard("auto/2", tmp_path) as again:
            assert again == Shard(2, 2)
    with held_shard("1/2", tmp_path) as named:
        assert named == Shard(1, 2)


def test_workers_with_automatic_shares_bring_in_everything_together(
    run: CommandLine, photos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data" / "libraries" / "photos" / "shards"
    assert run("ingest", photos, "--shard", "auto/2", "--json").document["written"] < 6
    with held_shard("auto/2", folder):  # another worker has the first
        assert run("ingest", photos, "--shard", "auto/2", "--json").status == 0
    assert run("status", "--json").document["pictures"] == 6


def test_ingest_refuses_a_taken_metrics_address_before_it_starts(
    run: CommandLine, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("SCENESEARCH_METRICS_ADDRESS", f"127.0.0.1:{taken.getsockname()[1]}")
        ran = run("ingest", photos)
    assert ran.status == 2
    assert ran.sentence.startswith("SCENESEARCH_METRICS_ADDRESS: cannot listen at 127.0.0.1:")


def test_ingest_logs_its_counts_as_one_json_line_without_names_of_pictures(
    run: CommandLine, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENESEARCH_LOG_FORMAT", "json")
    ran = run("ingest", photos)
    entries = [json.loads(line) for line in ran.err.splitlines()]
    (told,) = [entry for entry in entries if entry["event"] == "ingest"]
    assert (told["seen"], told["written"], told["rejected"]) == (6, 6, 0)
    assert ".jpg" not in ran.err
