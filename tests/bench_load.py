"""Mixed load: eight readers search while one writer changes the library; make bench-load runs it.

    python -m tests.bench_load                    a minute embedded, a minute over the loopback
    python -m tests.bench_load --minutes 30       a soak: are memory and file handles flat?
    python -m tests.bench_load --minutes 30 --rest 0.5       the same beside other work

Readers ask with the bundled encoder through the Searcher, as page and command line do; the writer
replaces pictures and moves the alias between two collections. Prints reads, failed reads, p50 and
p95, memory and open files at the beginning and the end. Exits with 1 when a read has failed. The
server is the double that tests use, in a process of its own: its figures say what the client's side
costs, nothing of Qdrant.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ingest.collection import new_spec
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.registry import find_encoder
from scenesearch.search.searcher import Searcher
from scenesearch.store.base import Point, VectorStore
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import STANDARD_FIELDS
from scenesearch.store.server import ServerStore
from tests.bench import _cpu_model
from tests.process_memory import status_mb

READERS = 8
PICTURES = 2_000
BATCH = 64
PAUSE_S = 0.1
WORDS = tuple(
    "dog cat boat house snow beach child red blue night mountain bicycle tree sea".split()  # noqa: SIM905
)


@dataclass
class Load:
    """What a run of the load has seen; times in milliseconds."""

    times_ms: "array[float]" = field(default_factory=lambda: array("d"))  # memory is measured
    failures: Counter[str] = field(default_factory=Counter)
    writes: int = 0
    swaps: int = 0
    memory_mb: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def points(encoder: OnnxEncoder, rng: np.random.Generator, ids: range) -> list[Point]:
    vectors = rng.standard_normal((len(ids), encoder.info.dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        Point(f"{number}.jpg", vector, {"captions": [f"a {WORDS[number % len(WORDS)]}"]})
        for number, vector in zip(ids, vectors, strict=True)
    ]


def run(store: VectorStore, encoder: OnnxEncoder, seconds: float, rest_s: float = 0.0) -> Load:
    rng, load = np.random.default_rng(0), Load()
    for number in (1, 2):
        store.create_collection(
            f"load-lite-{number}", new_spec("load", encoder.info, STANDARD_FIELDS)
        )
        for start in range(0, PICTURES, 500):
            store.upsert(f"load-lite-{number}", points(encoder, rng, range(start, start + 500)))
    store.set_alias("load", "load-lite-1")
    searcher, guard = Searcher(encoder, store, "load"), threading.Lock()
    searcher.search("warm up", min_relevance=0.0)
    stop = time.monotonic() + seconds

    def read(seed: int) -> None:
        words = random.Random(seed)
        while time.monotonic() < stop:
            text = " ".join(words.sample(WORDS, 3))
            started = time.perf_counter()
            try:
                found = searcher.search(text, min_relevance=0.0)
                failure = None if found.hits else "no hits"
            except Exception as error:  # whatever fails is what this measures
                failure = f"{type(error).__name__}: {error}"
            took = (time.perf_counter() - started) * 1000
            with guard:
                load.times_ms.append(took)
                if failure:
                    load.failures[failure[:200]] += 1
            time.sleep(rest_s)

    def write() -> None:
        while time.monotonic() < stop:
            first = int(rng.integers(0, PICTURES - BATCH))
            store.upsert("load", points(encoder, rng, range(first, first + BATCH)))
            load.writes += BATCH
            if load.writes % (BATCH * 20) == 0:
                store.flush("load")  # as ingest does; else the log of changes grows
                store.set_alias("load", f"load-lite-{1 + load.swaps % 2}")
                load.swaps += 1
            time.sleep(PAUSE_S)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(READERS)]
    threads.append(threading.Thread(target=write))
    for thread in threads:
        thread.start()
    time.sleep(min(5, seconds / 4))  # threads, connections and caches are there now
    while not load.files or time.monotonic() < stop:
        load.memory_mb.append(status_mb() or 0.0)
        load.files.append(open_files())
        time.sleep(max(0.5, seconds / 200))
    for thread in threads:
        thread.join()
    return load


@contextmanager
def embedded() -> Iterator[VectorStore]:
    with tempfile.TemporaryDirectory() as folder, closing(EdgeStore(Path(folder))) as store:
        yield store


@contextmanager
def over_the_double() -> Iterator[VectorStore]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench_load", "--serve"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())
        url = f"http://127.0.0.1:{ports['rest']}"
        with closing(ServerStore(url, "key", grpc_port=ports["grpc"])) as store:
            yield store
    finally:
        process.terminate()
        process.wait()


def serve() -> None:
    """The double, until it is ended."""
    import warnings

    from tests.integration.qdrant_loopback import QdrantLoopback

    warnings.simplefilter("ignore")
    double = QdrantLoopback(api_key="key")
    print(json.dumps({"grpc": double.port, "rest": double.rest_port}), flush=True)
    threading.Event().wait()


HOMES: dict[str, Callable[[], AbstractContextManager[VectorStore]]] = {
    "embedded": embedded,
    "over the double": over_the_double,
}


def report(name: str, load: Load) -> str:
    quarter = max(1, len(load.memory_mb) // 4)
    early, late = load.memory_mb[:quarter], load.memory_mb[-quarter:]
    cuts = statistics.quantiles(load.times_ms, n=20)
    return (
        f"{name:<16} {len(load.times_ms):>7} reads  {load.failures.total():>3} failed  "
        f"p50 {statistics.median(load.times_ms):>6.1f} ms  p95 {cuts[18]:>6.1f} ms  "
        f"{load.writes:>6} writes  {load.swaps:>3} alias moves  "
        f"memory {statistics.mean(early):.0f} -> {statistics.mean(late):.0f} MB  "
        f"files {load.files[0]} -> {load.files[-1]}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="Of each home; default: 1.")
    parser.add_argument(
        "--rest", type=float, default=0.0, metavar="SECONDS", help="Of a reader after each read."
    )
    parser.add_argument("--home", choices=HOMES, action="append", help="Only this one.")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
    print(f"machine: {os.cpu_count()} cores, {_cpu_model()}")
    print(f"{READERS} readers, 1 writer, {PICTURES} pictures, encoder lite\n", flush=True)
    encoder = OnnxEncoder(find_encoder("lite"), threads=1)
    failed = 0
    for name in options.home or HOMES:
        with HOMES[name]() as store:
            load = run(store, encoder, 60 * options.minutes, options.rest)
        print(report(name, load), flush=True)
        for failure, count in load.failures.most_common(5):
            print(f"  {count} x {failure}")
        failed += load.failures.total()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
