"""The benches of the server path do what they say, small: over the double."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.search.searcher import Searcher
from scenesearch.store.edge import EdgeStore
from scenesearch.store.server import ServerStore
from tests import bench_load, server_report
from tests.integration.qdrant_loopback import QdrantLoopback
from tests.tiny_encoder import write_tiny_encoder

pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning")


@pytest.fixture
def server() -> Iterator[ServerStore]:
    double = QdrantLoopback()
    with closing(
        ServerStore(f"http://127.0.0.1:{double.rest_port}", grpc_port=double.port)
    ) as store:
        yield store
    double.close()


def test_a_server_is_measured_and_left_as_it_was(server: ServerStore) -> None:
    figures = server_report.measure(server, 120, queries=5, wait_s=0.4)
    assert figures.points == 120
    assert figures.recall == 1.0  # the double scans
    assert min(figures.points_per_s, figures.p50_ms, figures.filtered_p95_ms) > 0
    assert server.collections() == []


def test_the_report_names_what_failed_and_every_figure() -> None:
    figures = server_report.Figures(100_000, 5000, 3, 7, 2, 4, 0.995)
    text = server_report.report(
        "Qdrant server 1.19.0", {"passed": 90, "failed": 1, "skipped": 9}, ["a::b"], figures
    )
    assert "90 passed, 1 failed, 9 skipped" in text
    assert "- failed: `a::b`" in text
    assert "| recall@10 against exact | 0.995 |" in text


def test_mixed_load_counts_reads_writes_and_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_load, "PICTURES", 100)
    monkeypatch.setattr(bench_load, "PAUSE_S", 0.001)
    monkeypatch.setattr(bench_load, "WORDS", ("red", "green", "blue"))
    encoder = OnnxEncoder(write_tiny_encoder(tmp_path / "tiny"), threads=1)
    with closing(EdgeStore(tmp_path / "edge")) as store:
        load = bench_load.run(store, encoder, 1.5)
    assert not load.failures
    assert load.times_ms
    assert load.writes % bench_load.BATCH == 0
    line = bench_load.report("embedded", load)
    assert "  0 failed" in line
    assert "alias moves" in line


def test_mixed_load_sees_a_read_that_fails(
    server: ServerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_load, "PICTURES", 100)
    monkeypatch.setattr(bench_load, "READERS", 1)
    encoder = OnnxEncoder(write_tiny_encoder(tmp_path / "tiny"), threads=1)
    search, asked = Searcher.search, 0

    def sometimes(self: Searcher, *words: Any, **options: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked > 3:
            raise RuntimeError("no")
        return search(self, *words, **options)

    monkeypatch.setattr(Searcher, "search", sometimes)
    load = bench_load.run(server, encoder, 1.0)
    assert load.failures["RuntimeError: no"] > 0
