"""Speeds of this machine, as ratios within one run where a ratio says more: `make bench`.

Uses the shared photographs where they are, drawn pictures elsewhere, always the bundled
encoder. Prints a table, and with `--json FILE` saves the figures.
"""

import argparse
import asyncio
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from ingest.collection import ensure_collection
from ingest.journal import Journal
from ingest.library_writer import LibraryWriter
from ingest.payload import file_payload, folders_of
from ingest.picture_reader import DecodedPicture
from ingest.pipeline import IngestOptions, ingest
from ingest.report import IngestReport
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from scenesearch.encoder.onnx import OnnxEncoder, usable_cores
from scenesearch.encoder.registry import find_encoder
from scenesearch.encoder.speed import candidate, measure_speeds
from scenesearch.pictures.records import ImageRecord
from scenesearch.sample.library import write_library
from scenesearch.search.searcher import Searcher
from scenesearch.store import edge
from scenesearch.store.ask import Ask
from scenesearch.store.base import CollectionSpec, Point
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import STANDARD_FIELDS
from scenesearch.store.filters import OneOf
from tests.browser.conftest import find_chromium, launch_chromium, serving
from tests.integration.test_ingest_resume import CHILD, draw
from tests.load_page import visit_all
from tests.page_speed import QUERIES, measure
from tests.process_memory import status_mb

BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also save the figures here")
    parser.add_argument("--only", choices=list(BENCHES), action="append", help="run these alone")
    parser.add_argument("--points", type=int, default=1_000_000, help="how many 'large' has")
    arguments = parser.parse_args()
    machine = f"{os.cpu_count()} cores, {_cpu_model()}, Python {platform.python_version()}"
    print(f"machine: {machine}")
    figures: dict[str, Any] = {"machine": machine}
    with tempfile.TemporaryDirectory(prefix="scenesearch-bench-") as name:
        folder = Path(name)
        pictures = find_pictures(folder)
        print(f"pictures: {len(pictures)}, {pictures[0].parent.name}; encoder: lite\n")
        for title, bench in BENCHES.items():
            if title not in (arguments.only or BENCHES.keys() - LARGE):
                continue
            place = folder / title
            place.mkdir()
            found = (
                bench_large(pictures, place, arguments.points)
                if title == "large"
                else bench(pictures, place).items()
            )
            for name, value in found:
                figures[f"{title}: {name}"] = value
                print(f"{title:<8} {name:<58} {value:>10}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def find_pictures(folder: Path, most: int = 1000) -> list[Path]:
    """The shared photographs, or drawn pictures where there are none."""
    root = Path(__file__).parent.parent
    shared = Path(os.environ.get("SCENESEARCH_SHARED", root.parent / "shared"))
    photographs = sorted((shared / "data" / "practicum" / "train_images").glob("*.jpg"))
    if not photographs:
        write_library(folder / "drawn", size=300)
        photographs = sorted((folder / "drawn").rglob("*.jpg"))
    return photographs[:most]


def bench_ingest(pictures: Sequence[Path], folder: Path) -> dict[str, Any]:
    """The pipeline against its own encoder and against the way tutorials do it."""
    cores = usable_cores()
    encoder = OnnxEncoder(find_encoder("lite"))
    ingesting = OnnxEncoder(find_encoder("lite"), image_threads=1)  # as the command does
    decoded = [_open_whole(path) for path in pictures[: 40 * BATCH]]
    batches = [decoded[start : start + BATCH] for start in range(0, len(decoded), BATCH)]
    pool = ThreadPoolExecutor(cores)
    encoder.encode_images(decoded[:BATCH])  # loads the graph
    ingesting.encode_images(decoded[:BATCH])

    def one_call_at_a_time() -> None:
        for batch in batches:
            encoder.encode_images(batch)

    def a_call_a_core() -> None:
        list(pool.map(ingesting.encode_images, batches))

    def pipeline(number: int) -> None:
        with closing(EdgeStore(folder / f"edge-{number}")) as store:
            sources = find_sources([str(pictures[0].parent)], roots=Roots())
            ingest(
                sources,
                library="bench",
                encoder=ingesting,
                store=store,
                thumbnails_dir=folder / f"thumbnails-{number}",
                options=IngestOptions(workers=cores, batch_size=BATCH),
            )

    # Turn about, and the median of the ratios: the machine's speed drifts.
    alone, side_by_side, piped = [], [], []
    for number in range(3):
        alone.append(len(decoded) / _seconds(one_call_at_a_time))
        side_by_side.append(len(decoded) / _seconds(a_call_a_core))
        piped.append(len(pictures) / _seconds(lambda number=number: pipeline(number)))
    tutorial_pictures = pictures[:200]
    tutorial = len(tutorial_pictures) / _seconds(
        lambda: _tutorial_way(tutorial_pictures, encoder, folder / "local")
    )
    return {
        "encoder alone, decoded pictures, one call at a time, pictures/s": _round(np.median(alone)),
        "encoder alone, decoded pictures, a call a core, pictures/s": _round(
            np.median(side_by_side)
        ),
        "pipeline with thumbnails and store, pictures/s": _round(np.median(piped)),
        "pipeline / encoder, one call at a time (target >= 0.9)": _round(
            np.median(np.divide(piped, alone))
        ),
        "pipeline / encoder, a call a core": _round(np.median(np.divide(piped, side_by_side))),
        "tutorial way (one by one, local mode), pictures/s": _round(tutorial),
        "pipeline / tutorial way (target >= 3)": _round(piped[-1] / tutorial),
    }


def _tutorial_way(pictures: Sequence[Path], encoder: OnnxEncoder, folder: Path) -> None:
    """Full Pillow decode, one picture at a time, qdrant-client's local mode on disk."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(path=str(folder))
    client.create_collection(
        "photos",
        vectors_config=models.VectorParams(
            size=encoder.info.dimension, distance=models.Distance.COSINE
        ),
    )
    for number, path in enumerate(pictures):
        (vector,) = encoder.encode_images([_open_whole(path)])
        point = models.PointStruct(id=number, vector=vector.tolist(), payload={"path": str(path)})
        client.upsert("photos", [point])
    client.close()


def bench_query(pictures: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Text queries at 1k and 100k points, none asked before, with and without a filter, and from
    16 threads at once."""
    encoder = OnnxEncoder(find_encoder("lite"))
    figures: dict[str, Any] = {}
    with closing(EdgeStore(folder / "edge")) as store:
        ingest(
            find_sources([pictures[0].parent], roots=Roots()),
            library="bench",
            encoder=encoder,
            store=store,
        )
        for size in (1_000, 100_000):
            _fill(store, encoder, size)
            searcher = Searcher(encoder, store, "bench")
            for label, where in (
                ("", ()),
                (", filtered", (OneOf("orientation", ("landscape",)),)),
            ):
                for text in QUERIES:
                    searcher.search(text, k=10, where=where)
                results = [
                    searcher.search(asked, k=10, where=where) for asked in _new_texts(200, label)
                ]
                for part in ("encode", "search", "total"):
                    p50, p95 = np.percentile(
                        [getattr(result, f"{part}_ms") for result in results], [50, 95]
                    )
                    target = " (target <= 10 / 25)" if part == "total" else ""
                    figures[f"{size} points{label}: {part} ms p50 / p95{target}"] = (
                        f"{p50:.1f} / {p95:.1f}"
                    )
            figures[f"{size} points: requests/s, 1 / 16 threads, filtered"] = _throughput(searcher)
            exact = found = 0
            for text in QUERIES:
                truth = {hit.image_id for hit in searcher.search(text, k=10, exact=True).hits}
                found += len(truth & {hit.image_id for hit in searcher.search(text, k=10).hits})
                exact += len(truth)
            figures[f"{size} points: recall@10 against exact search"] = _round(found / exact)
    return figures


def _new_texts(count: int, label: str) -> list[str]:
    """Texts whose vectors nobody has kept."""
    return [f"{QUERIES[n % len(QUERIES)]} {label}{n}".replace(",", "") for n in range(count)]


def _throughput(searcher: Searcher, count: int = 320) -> str:
    """Filtered requests a second, asked by one thread and by 16; an error would end it."""
    where = (OneOf("orientation", ("landscape",)),)

    def rate(threads: int) -> float:
        texts = _new_texts(count, f"of {threads} threads ")
        with ThreadPoolExecutor(threads) as pool:
            started = time.perf_counter()
            answers = list(pool.map(lambda text: searcher.search(text, k=10, where=where), texts))
            assert all(len(answer.hits) == 10 for answer in answers)
            return count / (time.perf_counter() - started)

    return f"{rate(1):.0f} / {rate(16):.0f}"


def bench_large(
    pictures: Sequence[Path], folder: Path, points: int
) -> Iterator[tuple[str, float | str]]:
    """A million points: the scan and the graph, time, recall@10 against exact search, memory.

    Gives each figure when it is known: all of them take a quarter of an hour.
    """
    encoder = OnnxEncoder(find_encoder("lite"))
    landscape = (OneOf("orientation", ("landscape",)),)
    with closing(EdgeStore(folder / "edge")) as store:
        ingest(
            find_sources([pictures[0].parent], roots=Roots()),
            library="bench",
            encoder=encoder,
            store=store,
        )
        edge._GRAPH_FROM = sys.maxsize  # the scan first, then what a library gets
        yield (
            f"{points:,} points: fill and optimize, s",
            _round(_seconds(lambda: _fill(store, encoder, points))),
        )
        vectors = encoder.encode_texts(_new_texts(208, ""))
        truth = {
            label: [
                {
                    hit.image_id
                    for hit in store.search(
                        "bench", Ask(v, limit=10, where=where, payload=(), exact=True)
                    )
                }
                for v in vectors
            ]
            for label, where in (("", ()), (", filtered", landscape))
        }
        for way in ("scan", "graph"):
            if way == "graph":
                edge._GRAPH_FROM = 100_000
                yield "graph: optimize, s", _round(_seconds(lambda: store.optimize("bench")))
            store.release("bench")
            for label, where in (("", ()), (", filtered", landscape)):
                times, found = [], 0
                for vector, exact in zip(vectors, truth[label], strict=True):
                    started = time.perf_counter()
                    hits = store.search("bench", Ask(vector, limit=10, where=where, payload=()))
                    times.append(1000 * (time.perf_counter() - started))
                    found += len(exact & {hit.image_id for hit in hits})
                p50, p95 = np.percentile(times[8:], [50, 95])
                yield f"{way}{label}: search ms p50 / p95", f"{p50:.1f} / {p95:.1f}"
                yield (
                    f"{way}{label}: recall@10 against exact search (target >= .98)",
                    _round(found / (10 * len(vectors))),
                )
            resident, own = (status_mb(os.getpid(), key) for key in ("VmRSS", "RssAnon"))
            yield (
                f"{way}: resident MB of this process, of it not mapped files",
                f"{_round(resident):g} / {_round(own):g}",
            )


def _fill(store: EdgeStore, encoder: OnnxEncoder, size: int) -> None:
    """Up to `size` points that lie as pictures do, then what a finished ingest does.

    Mixtures of two of the library's own vectors, and noise: random ones would be spread evenly,
    which no encoder's are.
    """
    rng = np.random.default_rng(size)
    first = store.count("bench")
    scrolled = islice(store.scroll("bench", payload=(), with_vectors=True), 1000)
    own = np.stack([point.vector for point in scrolled if point.vector is not None])  # (n, dim)
    for start in range(first, size, 1000):
        count = min(1000, size - start)
        share = rng.uniform(0, 0.5, (count, 1))
        one, other = own[rng.integers(len(own), size=(2, count))]
        noise = rng.standard_normal((count, own.shape[1])) * 0.25 / np.sqrt(own.shape[1])
        vectors = (1 - share) * one + share * other + noise
        unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        store.upsert(
            "bench",
            [
                Point(
                    f"made/{start + row}.jpg",
                    vector,
                    {"path": f"/made/{start + row}.jpg", "orientation": SHAPES[row % 3]},
                )
                for row, vector in enumerate(unit)
            ],
        )
    store.flush("bench")
    store.optimize("bench")


SHAPES = ("landscape", "portrait", "square")


def bench_start(pictures: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Wall time of the command, with a library of about a thousand pictures."""
    environment = os.environ | {"SCENESEARCH_DATA_DIR": str(folder / "data")}
    command = [sys.executable, "-m", "scenesearch.cli"]
    _run([*command, "ingest", str(pictures[0].parent)], environment)
    search = [*command, "search", QUERIES[0], "--min-relevance", "0"]
    times = [_seconds(lambda: _run(search, environment)) for _ in range(7)]
    return {
        f"`scenesearch search`, library of {len(pictures)}, s (target <= 1.5)": _round(
            np.median(times[1:])
        )
    }


def bench_library(pictures: Sequence[Path], folder: Path) -> dict[str, Any]:
    """100,000 pictures: vectors alone into the store, then a re-scan with its memory."""
    size = 100_000
    encoder = OnnxEncoder(find_encoder("lite"))
    originals = folder / "originals"
    for number in range(size):
        place = originals / f"{number // 1000:03}"
        if number % 1000 == 0:
            place.mkdir(parents=True)
        (place / f"IMG_{number:06}.jpg").write_bytes(b"%d" % number)
    (source,) = find_sources([str(originals)], roots=Roots())
    rng = np.random.default_rng(0)
    rates, busy_s = [], 0.0
    with closing(EdgeStore(folder / "data" / "edge")) as store:
        collection = ensure_collection(store, "photos", encoder)
        report = IngestReport("photos", collection)
        writer = LibraryWriter(
            store,
            collection,
            None,
            report,
            Journal(),
            make=lambda: collection,
            flush_every=1600,
            write_batch=64,
        )
        records = source.records()
        while part := list(islice(records, 10_000)):
            prepared = [_as_if_opened(record) for record in part]
            vectors = rng.standard_normal((len(part), encoder.info.dimension))
            unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

            def write(prepared: list[DecodedPicture] = prepared, unit: Any = unit) -> None:
                for start in range(0, len(prepared), BATCH):
                    some = prepared[start : start + BATCH]
                    known = {p.sha256: v for p, v in zip(some, unit[start:], strict=False)}
                    writer.put(some, known, known.keys())
                writer.write()

            busy = time.process_time()
            rates.append(len(part) / _seconds(write))
            busy_s += time.process_time() - busy
        seconds = _seconds(lambda: store.flush(collection))
        store.optimize(collection)
    environment = os.environ | {"SCENESEARCH_DATA_DIR": str(folder / "data")}
    command = [sys.executable, "-m", "scenesearch.cli", "ingest", str(originals)]
    started, children = time.perf_counter(), _children_s()
    samples = list(_memory_of(command, environment))
    rescan, rescan_busy = time.perf_counter() - started, _children_s() - children
    half = len(samples) // 2
    return {
        "vectors alone, embedded, 100,000, points/s (target >= 5000)": _round(
            size / (sum(10_000 / rate for rate in rates) + seconds)
        ),
        "the same, by processor time, points/s": _round(size / busy_s),
        "the same, last 10,000 / first 10,000": _round(rates[-1] / rates[0]),
        "re-scan of 100,000 unchanged, whole command, s (target <= 20)": _round(rescan),
        "the same: processor time, s": _round(rescan_busy),
        "the same: peak MB": _round(max(samples)),
        "the same: peak of second half / first half": _round(
            max(samples[half:]) / max(samples[:half])
        ),
    }


def _children_s() -> float:
    """Processor time of the commands that have ended: other work on the machine is not in it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _as_if_opened(record: ImageRecord) -> DecodedPicture:
    payload = file_payload(record.original, record.original.state()) | {
        "sha256": hashlib.sha256(record.image_id.encode()).hexdigest(),
        "width": 4000,
        "height": 3000,
        "orientation": "landscape",
        "folder": folders_of(record.image_id),
        "taken": "2024-05-01T10:00:00",
        "camera": "Canon EOS 5D",
    }
    return DecodedPicture(record.image_id, payload, None)


def bench_kill(pictures: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Pictures encoded more often than once when an ingest is killed at half of its way."""
    count = 2000
    draw(folder / "drawn", count)
    log = folder / "encoded"
    log.touch()
    child = [sys.executable, "-c", CHILD, str(folder / "killed"), str(folder / "drawn"), str(log)]
    with subprocess.Popen(child, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if int(line) >= count // 2:
                process.kill()
                break
    subprocess.run(child, check=True, stdout=subprocess.DEVNULL)
    again = log.stat().st_size - count
    return {"killed at half of 2,000, run again: encoded twice (target <= 64)": again}


def bench_memory(pictures: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Resident memory while ingesting 2,000 pictures, and of the page's process."""
    many = folder / "many"
    many.mkdir()
    for number in range(2000):
        picture = pictures[number % len(pictures)]
        # A byte more makes another content, so that no vector is taken from a twin.
        data = picture.read_bytes() + (b"" if number < len(pictures) else b"\0")
        (many / f"{number:05}.jpg").write_bytes(data)
    environment = os.environ | {"SCENESEARCH_DATA_DIR": str(folder / "data")}
    command = [sys.executable, "-m", "scenesearch.cli", "ingest", str(many)]
    samples = list(_memory_of(command, environment))
    quarter = len(samples) // 4
    figures = {
        "ingest of 2,000 pictures: peak MB (target <= 600)": _round(max(samples)),
        "ingest of 2,000 pictures: peak of second half / first half": _round(
            max(samples[2 * quarter :]) / max(samples[: 2 * quarter])
        ),
    }
    page = _page_mb(folder / "data")
    figures["page after searches in a browser: MB (target <= 450)"] = (
        "no Chromium" if page is None else _round(page)
    )
    return figures


def bench_page(pictures: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Twenty visitors at once for two minutes, after a warm-up: errors, times, memory."""
    _run(
        [sys.executable, "-m", "scenesearch.cli", "ingest", str(pictures[0].parent)],
        os.environ | {"SCENESEARCH_DATA_DIR": str(folder), "SCENESEARCH_LIBRARY": "photos"},
    )
    with serving(folder, find_encoder("lite")) as served:
        asyncio.run(visit_all(served.address, sessions=20, seconds=20))
        before = status_mb(served.process_id, "VmRSS") or 0
        visits = asyncio.run(visit_all(served.address, sessions=20, seconds=120))
        after = status_mb(served.process_id, "VmRSS") or 0
    found = visits.figures()
    return {
        "20 sessions, 120 s: answers": found["requests"],
        "20 sessions: errors (target 0)": found["errors"],
        "20 sessions: p50 of an answer on the screen, ms": found["p50_ms"],
        "20 sessions: p95 of an answer on the screen, ms": found["p95_ms"],
        "20 sessions: memory after / before": _round(after / before),
    }


def bench_page_large(pictures: Sequence[Path], folder: Path) -> dict[str, Any]:
    """A visitor's waits over 100,000 pictures in Chromium; `tests.page_speed` can keep them."""
    return measure(folder)


def _page_mb(data_dir: Path) -> float | None:
    """Peak resident memory of the page's process after every query, each with an original."""
    if find_chromium() is None:
        return None
    with serving(data_dir, find_encoder("lite")) as served, sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        page = browser.new_page()
        page.goto(served.address)
        for text in QUERIES:
            page.get_by_label("Describe a scene").fill(text)
            page.get_by_label("Describe a scene").press("Enter")
            expect(page.locator(".st-key-small-summary")).to_be_visible(timeout=60_000)
            page.wait_for_timeout(1000)
        browser.close()
        return status_mb(served.process_id, "VmHWM")


def _memory_of(command: list[str], environment: dict[str, str]) -> Iterator[float]:
    """Resident memory of the command, every tenth of a second until it ends (Linux)."""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            resident = status_mb(process.pid, "VmRSS")
            if resident is not None:
                yield resident
            time.sleep(0.1)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} exited with {process.returncode}")


def _run(command: list[str], environment: dict[str, str]) -> None:
    subprocess.run(
        command,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _open_whole(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _round(value: Any) -> float:
    return float(f"{value:.3g}")


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), "?")


def bench_encoder(pictures: Sequence[Path], folder: Path) -> dict[str, Any]:
    """The bundled towers in each precision, and as torch runs them."""
    from training.speed import eager, precisions
    from training.towers import load_towers

    towers, threads = load_towers("lite"), usable_cores()
    torch = eager(towers, "torch eager", threads)
    served = candidate("as shipped", OnnxEncoder(find_encoder("lite")))
    found = measure_speeds([torch, served, *precisions(towers, "graphs", threads, folder)])
    base = {speed.batch: speed for speed in found if speed.name == "torch eager"}
    figures: dict[str, Any] = {}
    for speed in found:
        own = base[speed.batch]
        images, text = speed.images_per_s / own.images_per_s, own.text_ms / speed.text_ms
        figures[f"{speed.name}, batch {speed.batch}: pictures/s (ratio to torch)"] = (
            f"{speed.images_per_s:.0f} ({images:.1f})"
        )
        figures[f"{speed.name}, batch {speed.batch}: ms a batch of texts (ratio)"] = (
            f"{speed.text_ms:.1f} ({text:.1f})"
        )
    return figures


def bench_evaluate(pictures: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Figures, report and memory of evaluations, encoding left out: vectors are drawn."""
    found: dict[str, Any] = {}
    for gallery, count in ((1_000, 5_000), (100_000, 1_000)):
        place = folder / str(gallery)
        asked = f"{str(place)!r}, {gallery}, {count}"
        code = f"from tests.bench import evaluate_drawn; evaluate_drawn({asked})"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        for name, value in json.loads(done.stdout.splitlines()[-1]).items():
            found[f"{count:,} queries x {gallery:,} pictures: {name}"] = value
    return found


def evaluate_drawn(folder: str, gallery: int, count: int) -> None:
    """Prints seconds of each part of an evaluation, and the memory it took on top of the store."""
    from scenesearch.datasets.queries import Query
    from scenesearch.evaluation.bootstrap import bootstrap_ci95
    from scenesearch.evaluation.diagnostics import diagnose
    from scenesearch.evaluation.evaluate import evaluate
    from scenesearch.evaluation.metrics import score_queries
    from scenesearch.evaluation.output_folder import save

    encoder = _DrawnVectors()
    with closing(EdgeStore(Path(folder) / "edge")) as store:
        info = encoder.info
        store.create_collection(
            "drawn",
            CollectionSpec("drawn", info.name, info.fingerprint, info.dimension, STANDARD_FIELDS),
        )
        for start in range(0, gallery, 1000):
            ids = [f"{n:06}.jpg" for n in range(start, min(start + 1000, gallery))]
            vectors = encoder.encode_texts(ids)
            store.upsert(
                "drawn", [Point(one, vector, {}) for one, vector in zip(ids, vectors, strict=True)]
            )
        store.optimize("drawn")
        queries = [Query(str(n), str(n), (f"{n % gallery:06}.jpg",)) for n in range(count)]
        before = _resident_mb()
        started = time.perf_counter()
        evaluation = evaluate(queries, store=store, library="drawn", encoder=encoder)
        asked = time.perf_counter()
        bootstrap_ci95(score_queries(evaluation.qrels, evaluation.run))
        measured = time.perf_counter()
        details = diagnose(evaluation, store=store, load_encoder=_DrawnVectors)
        save(
            Path(folder) / "out",
            title="drawn",
            evaluation=evaluation,
            diagnostics=details,
        )
        print(
            json.dumps(
                {
                    "asking the store, s": _round(asked - started),
                    "metrics and intervals again, s (target 5)": _round(measured - asked),
                    "everything without encoding, s (target 30)": _round(
                        time.perf_counter() - started - (measured - asked)
                    ),
                    "memory on top of the store, MB": _round(_resident_mb() - before),
                }
            )
        )


class _DrawnVectors(OnnxEncoder):
    """The bundled encoder's identity with random vectors for texts."""

    def __init__(self) -> None:
        super().__init__(find_encoder("lite"))
        self._random = np.random.default_rng(0)

    def encode_texts(self, texts: Sequence[str], *, documents: bool = False) -> NDArray[np.float32]:
        drawn = self._random.normal(size=(len(texts), self.info.dimension)).astype(np.float32)
        unit: NDArray[np.float32] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        return unit


def _resident_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


BENCHES: dict[str, Callable[..., Any]] = {
    "encoder": bench_encoder,
    "ingest": bench_ingest,
    "library": bench_library,
    "kill": bench_kill,
    "query": bench_query,
    "start": bench_start,
    "memory": bench_memory,
    "evaluate": bench_evaluate,
    "page": bench_page,
    "large": bench_large,
    "page-large": bench_page_large,
}
LARGE = {"large", "page-large"}  # minutes and gigabytes: only when asked for

if __name__ == "__main__":
    main()
