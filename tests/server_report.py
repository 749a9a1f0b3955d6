"""Everything that can be said of a real Qdrant server, in one report; make test-server runs it.

    QDRANT_TEST_URL=http://localhost:6333 python -m tests.server_report

Runs the contract of the store and the ingest fault tests against the server (QDRANT_TEST_API_KEY,
QDRANT_TEST_GRPC_PORT), then measures it with 100,000 points, and writes out/server-report.md. Its
collections begin with 'test-' and are deleted again. Exits with 1 when a test fails.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from scenesearch.store.ask import Ask
from scenesearch.store.base import CollectionSpec, Point, VectorStore
from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Filter, OneOf
from scenesearch.store.server import ServerStore

SUITES = ("tests/integration/test_store_contract.py", "tests/integration/test_ingest_server.py")
DIMENSION = 384
CLUSTERS = 1_000


@dataclass(frozen=True)
class Figures:
    """Times in milliseconds; recall@10 against the exact ranking of the same server."""

    points: int
    points_per_s: float
    p50_ms: float
    p95_ms: float
    filtered_p50_ms: float
    filtered_p95_ms: float
    recall: float


def measure(store: VectorStore, points: int, *, queries: int = 200, wait_s: float = 120) -> Figures:
    """Fill a collection of clustered unit vectors, as pictures are, and ask it."""
    name = f"test-bench-{uuid.uuid4().hex[:8]}"
    fields = (PayloadField("folder", "keyword", "Folder"),)
    store.create_collection(name, CollectionSpec("bench", "none", "f00d", DIMENSION, fields))
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLUSTERS, DIMENSION))

    def near(count: int) -> np.ndarray:
        vectors = centres[rng.integers(0, CLUSTERS, count)]
        vectors = vectors + 0.7 * rng.standard_normal((count, DIMENSION))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors, np.float32)

    try:
        started = time.perf_counter()
        for first in range(0, points, 1000):
            vectors = near(min(1000, points - first))
            store.upsert(
                name,
                [
                    Point(f"{first + n}.jpg", vector, {"folder": f"f{(first + n) % 50}"})
                    for n, vector in enumerate(vectors)
                ],
            )
        took = time.perf_counter() - started
        asked = near(queries)
        _settle(store, name, asked[0], wait_s)
        plain, found = _ask(store, name, asked, ())
        filtered, _ = _ask(store, name, asked, (OneOf("folder", ("f7",)),))
        right = [
            {hit.image_id for hit in store.search(name, Ask(query, limit=10, exact=True))}
            for query in asked
        ]
        recall = statistics.mean(
            len(got & want) / len(want) for got, want in zip(found, right, strict=True)
        )
    finally:
        store.delete_collection(name)
    return Figures(
        points,
        points / took,
        *_middle_and_tail(plain),
        *_middle_and_tail(filtered),
        recall,
    )


def _settle(store: VectorStore, name: str, query: np.ndarray, wait_s: float) -> None:
    """Until two seconds of searches are no slower than the two before: indexes are then made."""
    end, before = time.monotonic() + wait_s, float("inf")
    while time.monotonic() < end:
        started, count = time.monotonic(), 0
        while time.monotonic() - started < min(2.0, wait_s / 4):
            store.search(name, Ask(query, limit=10))
            count += 1
        now = (time.monotonic() - started) / count
        if abs(now - before) < 0.2 * before:
            return
        before = now


def _ask(
    store: VectorStore, name: str, queries: np.ndarray, where: Filter
) -> tuple[list[float], list[set[str]]]:
    times, found = [], []
    for query in queries:
        started = time.perf_counter()
        hits = store.search(name, Ask(query, limit=10, where=where))
        times.append((time.perf_counter() - started) * 1000)
        found.append({hit.image_id for hit in hits})
    return times, found


def _middle_and_tail(times: list[float]) -> tuple[float, float]:
    return statistics.median(times), statistics.quantiles(times, n=20)[18]


def run_tests() -> tuple[dict[str, int], list[str]]:
    """Counts by outcome of the suites against the server, and what failed."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "junit.xml"
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-m",
                "",
                "-k",
                "real",
                f"--junit-xml={file}",
                *SUITES,
            ],
            check=False,
        )
        cases = list(ElementTree.parse(file).iter("testcase"))  # noqa: S314 - pytest's own file
    bad = {"failure": "failed", "error": "failed", "skipped": "skipped"}
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    failures = []
    for case in cases:
        outcome = next((bad[child.tag] for child in case if child.tag in bad), "passed")
        counts[outcome] += 1
        if outcome == "failed":
            failures.append(f"{case.get('classname')}::{case.get('name')}")
    return counts, failures


def report(server: str, counts: dict[str, int], failures: list[str], figures: Figures) -> str:
    lines = [
        f"# {server}",
        "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, `make test-server`, {os.cpu_count()} cores here.",
        "",
        f"Tests against it: {counts['passed']} passed, {counts['failed']} failed, "
        f"{counts['skipped']} skipped (troubles that only a double makes on request).",
        *(f"- failed: `{name}`" for name in failures),
        "",
        f"| {figures.points:,} points of {DIMENSION} dimensions, clustered | |",
        "|---|---|",
        f"| written, one stream | {figures.points_per_s:,.0f} points/s |",
        f"| search, p50 / p95 | {figures.p50_ms:.1f} / {figures.p95_ms:.1f} ms |",
        f"| with a filter (2 % pass), p50 / p95 | {figures.filtered_p50_ms:.1f} / "
        f"{figures.filtered_p95_ms:.1f} ms |",
        f"| recall@10 against exact | {figures.recall:.3f} |",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=Path("out/server-report.md"))
    options = parser.parse_args()
    port = os.environ.get("QDRANT_TEST_GRPC_PORT", "6334")
    store = ServerStore(
        os.environ["QDRANT_TEST_URL"],
        os.environ.get("QDRANT_TEST_API_KEY"),
        grpc_port=int(port) if port else None,
    )
    with closing(store):
        server = store.health()
        counts, failures = run_tests()
        text = report(server, counts, failures, measure(store, options.points))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)
    print(f"\n{text}\n{options.out}")
    sys.exit(1 if failures or not counts["passed"] else 0)


if __name__ == "__main__":
    main()
