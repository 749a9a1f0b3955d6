"""The server beside the library in one process, on this machine; make bench-serve runs it.

    python -m tests.bench_serve                             100,000 points, 32 clients, 60 s
    python -m tests.bench_serve --points 5000 --seconds 5   a first look

One client after another request in process and over the loopback: p50. Then 32 threads in process
and 32 clients of the server, for as long: requests a second, errors, memory of the server. The
clients are a process of their own on the same cores, so that the server pays for them too. Every
text is asked once: no embedding comes from the cache. Beside seconds, the processor time of a
request: other work on the machine does not change it.

To reach, with 100,000 points on 2 cores: one client waits at most 3 ms more than in process; the
server answers at least 80 % of the requests that the threads do, none with an error, and its
memory does not grow. Exits with 1 where that is missed.
"""

import argparse
import http.client
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import numpy as np

from ingest.collection import new_spec
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.registry import find_encoder
from scenesearch.search.searcher import Searcher
from scenesearch.store.base import Point
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import STANDARD_FIELDS
from tests.bench import _cpu_model
from tests.bench_load import WORDS
from tests.process_memory import status_mb

LIBRARY = "bench"
MORE_MS, SHARE, GROWTH_MB = 3.0, 0.8, 20.0
_BATCH = 2000


@dataclass
class Measured:
    """Requests of one way to ask; times in milliseconds."""

    requests: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    times_ms: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    def __str__(self) -> str:
        p50, p95 = np.percentile(self.times_ms, (50, 95))
        cpu = 1000 * self.cpu_s / max(1, self.requests)
        return (
            f"{self.requests:6} requests, {self.per_second:6.1f}/s, p50 {p50:6.2f} ms, "
            f"p95 {p95:6.2f} ms, processor {cpu:5.2f} ms each, errors {sum(self.failures.values())}"
        )


def texts(seed: int) -> Iterator[str]:
    """Different ones without end."""
    words = random.Random(seed)
    for number in itertools.count():
        yield f"{' '.join(words.sample(WORDS, 3))} {seed} {number}"


def fill(data_dir: Path, encoder: OnnxEncoder, count: int) -> None:
    rng = np.random.default_rng(0)
    with closing(EdgeStore(data_dir / "edge")) as store:
        name = f"{LIBRARY}-lite-1"
        store.create_collection(name, new_spec(LIBRARY, encoder.info, STANDARD_FIELDS))
        for start in range(0, count, _BATCH):
            vectors = rng.standard_normal((min(_BATCH, count - start), encoder.info.dimension))
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            store.upsert(
                name,
                [
                    Point(
                        f"{start + at}.jpg",
                        vector,
                        {"path": f"/photos/{start + at}.jpg", "tags": [WORDS[at % len(WORDS)]]},
                    )
                    for at, vector in enumerate(vectors.astype(np.float32))
                ],
            )
        store.set_alias(LIBRARY, name)
        store.flush(name)
        store.optimize(name)


def crowd(
    clients: int, ask: Callable[[int], Callable[[str], str | None]], *, most: int, seconds: float
) -> Measured:
    """So many threads, each of which asks one request after another, `most` in all or for so many
    seconds. `ask(number)` is how one of them asks; it returns what went wrong."""
    measured, guard = Measured(), threading.Lock()
    left = itertools.count()
    stop = time.monotonic() + seconds

    def run(number: int) -> None:
        do, words = ask(number), texts(1000 * os.getpid() + number)
        while time.monotonic() < stop and next(left) < most:
            started = time.perf_counter()
            failure = do(next(words))
            took = (time.perf_counter() - started) * 1000
            with guard:
                measured.requests += 1
                measured.times_ms.append(took)
                if failure:
                    measured.failures[failure] += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    measured.seconds = time.monotonic() - started
    return measured


def in_process(
    data_dir: Path, encoder: OnnxEncoder, *, clients: int, most: int, seconds: float
) -> Measured:
    with closing(EdgeStore(data_dir / "edge")) as store:
        searcher = Searcher(encoder, store, LIBRARY)

        def ask(text: str) -> str | None:
            found = searcher.search(text, k=10, min_relevance=0.0, collapse=True)
            return None if len(found.hits) == 10 else f"{len(found.hits)} hits"

        for text in itertools.islice(texts(1), 20):
            ask(text)
        before = time.process_time()
        measured = crowd(clients, lambda number: ask, most=most, seconds=seconds)
        measured.cpu_s = time.process_time() - before
        return measured


# --- over the loopback ---------------------------------------------------------------------------


@contextmanager
def server(data_dir: Path) -> Iterator[tuple[int, int]]:
    """A server over the data folder: its port and process id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scenesearch.cli", "serve", "--port", "0", "--library", LIBRARY],
        env={
            **os.environ,
            "SCENESEARCH_DATA_DIR": str(data_dir),
            "SCENESEARCH_LOG_FORMAT": "json",
            "SCENESEARCH_LOG_LEVEL": "warning",
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        port = _port_of(process)
        for text in itertools.islice(texts(2), 20):
            assert _client(port)(text) is None
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(60)


def _port_of(process: "subprocess.Popen[str]") -> int:
    """The free port that the server took, found by looking for its socket."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        sockets = {
            str(link.readlink())
            for link in Path(f"/proc/{process.pid}/fd").glob("*")
            if link.is_symlink()
        }
        for line in Path(f"/proc/{process.pid}/net/tcp").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:  # it listens
                return int(words[1].partition(":")[2], 16)
        time.sleep(0.1)
    raise TimeoutError("the server does not listen")


def _client(port: int) -> Callable[[str], str | None]:
    """Asks over one connection that stays open."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(text: str) -> str | None:
        query = urlencode({"q": text, "limit": 10, "min_relevance": 0})
        try:
            connection.request("GET", f"/v1/search?{query}")
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return type(error).__name__
        if response.status != 200:
            return f"status {response.status}"
        return None if body.count(b'"rank"') == 10 else "not ten hits"

    return ask


def be_clients(port: int, clients: int, most: int, seconds: float) -> None:
    """The process of the clients: prints what it has measured."""
    measured = crowd(clients, lambda number: _client(port), most=most, seconds=seconds)
    print(
        json.dumps(
            {
                "requests": measured.requests,
                "seconds": measured.seconds,
                "times_ms": measured.times_ms,
                "failures": measured.failures,
            }
        )
    )


def over_loopback(
    port: int, pid: int, *, clients: int, most: int, seconds: float
) -> tuple[Measured, float, float]:
    """What the clients measure, and the memory of the server a third of the way and at the end."""
    before = _cpu_s(pid)
    words = ("--be-clients", str(port), "--clients", str(clients))
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.bench_serve", *words),
            *("--most", str(most), "--seconds", str(seconds)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    first = 0.0
    if most > 10_000:  # it goes by time
        time.sleep(seconds / 3)
        first = status_mb(pid) or 0.0
    out, _ = process.communicate(timeout=seconds + 120)
    told = json.loads(out)
    measured = Measured(
        told["requests"],
        told["seconds"],
        _cpu_s(pid) - before,
        told["times_ms"],
        Counter(told["failures"]),
    )
    return measured, first, status_mb(pid) or 0.0


def _cpu_s(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


# --- all of it -----------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=300, help="of the one client")
    parser.add_argument("--be-clients", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--most", type=int, default=10**9, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.be_clients:
        be_clients(asked.be_clients, asked.clients, asked.most, asked.seconds)
        return
    print(f"{_cpu_model()}, {os.cpu_count()} cores, {asked.points:,} points")
    encoder = OnnxEncoder(find_encoder("lite"))
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), encoder, asked.points)
        one = {"clients": 1, "most": asked.requests, "seconds": 600.0}
        many = {"clients": asked.clients, "most": 10**9, "seconds": asked.seconds}
        alone = in_process(Path(folder), encoder, **one)
        print(f"one in process       {alone}", flush=True)
        threads = in_process(Path(folder), encoder, **many)
        print(f"{asked.clients} threads           {threads}", flush=True)
        with server(Path(folder)) as (port, pid):
            single, _, _ = over_loopback(port, pid, **one)
            print(f"one client           {single}", flush=True)
            clients, early_mb, late_mb = over_loopback(port, pid, **many)
            print(f"{asked.clients} clients           {clients}", flush=True)
    more_ms = statistics.median(single.times_ms) - statistics.median(alone.times_ms)
    share = clients.per_second / threads.per_second
    kept = {
        f"p50 of one client: {more_ms:+.2f} ms, at most +{MORE_MS:g}": more_ms <= MORE_MS,
        f"throughput: {share:.0%} of the threads', at least {SHARE:.0%}": share >= SHARE,
        f"errors: {dict(clients.failures) or 'none'}": not clients.failures,
        f"memory: {early_mb:.0f} -> {late_mb:.0f} MB": late_mb - early_mb <= GROWTH_MB,
    }
    for said, is_kept in kept.items():
        print(f"{'reached' if is_kept else 'MISSED '}  {said}")
    sys.exit(0 if all(kept.values()) else 1)


if __name__ == "__main__":
    main()
