"""Reads the text in the pictures of a library, and writes it into their payloads.

    scenesearch ingest FOLDER --ocr
    scenesearch library read-text LIBRARY

A content is read once: its text is kept (`scenesearch.home.picture_texts`) before it is written, so
that a run which is stopped or killed goes on where it was, and renamed pictures, copies and other
collections of the library take it from there.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import Any

from ingest.payload import TEXT_VERSION
from ingest.shards import WHOLE, Shard
from ingest.text_reader import OPENED, Reading, TextReader
from ingest.text_report import TextReport
from scenesearch.home.allowed_originals import AllowedOriginals
from scenesearch.home.picture_texts import PictureTexts
from scenesearch.pictures.opening import ImageError, open_image, out_of_memory
from scenesearch.runtime.cancel import wait_for
from scenesearch.store import written
from scenesearch.store.base import Point, StoreError, VectorStore
from scenesearch.store.catalog import collections_of
from scenesearch.store.fields import BUILTIN_FIELDS, by_name
from scenesearch.store.pages import OnWait, pages, retry_while_busy

# Pictures that are read and then written together.
_TOGETHER = 64

_FIELDS = (written.TEXT, written.WORDS)


@dataclass(frozen=True)
class ReadTextOptions:
    """`workers` pictures are read at a time, each of which has `seconds` of processor time; those
    of more than `max_megapixels` are not opened, nor those of other shards."""

    workers: int = 2
    seconds: float = 20.0
    max_megapixels: float = 200
    shard: Shard = WHOLE


def read_text(
    library: str,
    *,
    store: VectorStore,
    originals: AllowedOriginals,
    texts: PictureTexts,
    options: ReadTextOptions | None = None,
    on_progress: Callable[[TextReport], None] | None = None,
    on_wait: OnWait | None = None,
) -> TextReport:
    """Read what has not been read, and write it to all collections of the library.

    Ctrl-C ends the run with `interrupted` set and everything read kept. Raises TextReaderError
    where text cannot be read, StoreError as the store does.
    """
    live = store.resolve(library)
    report = TextReport(library, total=retry_while_busy(lambda: store.count(live), on_wait=on_wait))
    run = _Run(store, originals, texts, options or ReadTextOptions(), report, on_progress, on_wait)
    try:
        with store.working_on(live), closing(run):
            run.fill(live, counts=True)
            for other in collections_of(store, library):
                if other.name != live:
                    run.fill(other.name, counts=False)
    except KeyboardInterrupt:
        report.interrupted = True
    return report


class _Run:
    """One run over the collections of a library."""

    def __init__(
        self,
        store: VectorStore,
        originals: AllowedOriginals,
        texts: PictureTexts,
        options: ReadTextOptions,
        report: TextReport,
        on_progress: Callable[[TextReport], None] | None,
        on_wait: OnWait | None,
    ) -> None:
        self._store, self._originals, self._texts = store, originals, texts
        self._options, self._report, self._on_wait = options, report, on_wait
        self._on_progress = on_progress or (lambda report: None)
        self._started = time.perf_counter()
        self._pool = ThreadPoolExecutor(options.workers, thread_name_prefix="read-text")
        # Loaded when the first picture is to be read.
        self._reader = cache(lambda: TextReader(seconds=options.seconds))

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def fill(self, collection: str, *, counts: bool) -> None:
        """Give the pictures of a collection their text; with `counts`, the report counts them."""
        _declare(self._store, collection)
        keys = ("path", "sha256", written.VERSION)
        for page in pages(self._store, collection, payload=keys, on_wait=self._on_wait):
            mine = [point for point in page if self._options.shard.holds(point.image_id)]
            lacking = [p for p in mine if p.payload.get(written.VERSION) != TEXT_VERSION]
            if counts:
                self._report.seen += len(page) - len(lacking)
                self._report.skipped += len(mine) - len(lacking)
                self._tick()
            for start in range(0, len(lacking), _TOGETHER):
                part = lacking[start : start + _TOGETHER]
                self._write(collection, part, self._found(part, counts=counts))

    def _found(self, points: Sequence[Point], *, counts: bool) -> dict[str, dict[str, Any]]:
        """What is written in these pictures, by content. Only those of the live collection are
        opened, the others know nothing that it does not."""
        report = self._report
        found = self._texts.of(map(_content, points), TEXT_VERSION)
        if not counts:
            return found
        to_read: dict[str, Point] = {}
        for point in points:
            if _content(point) not in found:
                to_read.setdefault(_content(point), point)
        report.reused += len(points) - len(to_read)
        report.seen += len(points) - len(to_read)
        if not to_read:
            return found
        reader = self._reader()  # here, where an error stops the run
        reading = {
            sha256: self._pool.submit(self._read, point, reader)
            for sha256, point in to_read.items()
        }
        try:
            for sha256, future in reading.items():
                result = wait_for(future)
                report.seen += 1
                if isinstance(result, str):
                    path = str(to_read[sha256].payload.get("path", to_read[sha256].image_id))
                    report.fail(path, result)
                else:
                    found[sha256] = self._keep(sha256, result)
                self._tick()
        except BaseException:
            for future in reading.values():
                future.cancel()
            for sha256, future in reading.items():
                if sha256 in found or future.cancelled():
                    continue
                result = future.result()  # what is being read is finished and kept
                if not isinstance(result, str):
                    self._keep(sha256, result)
            raise
        return found

    def _keep(self, sha256: str, reading: Reading) -> dict[str, Any]:
        self._report.read += 1
        self._report.with_text += bool(reading.lines)
        self._report.cut += not reading.complete
        payload = written.written_payload(reading.lines, TEXT_VERSION)
        self._texts.add(sha256, TEXT_VERSION, payload)
        return payload

    def _read(self, point: Point, reader: TextReader) -> Reading | str:
        """Runs in a worker thread; the reason where the picture cannot be read."""
        try:
            opened = open_image(
                self._originals.original(point.payload),
                reduce_to=OPENED,
                max_megapixels=self._options.max_megapixels,
            )
            if opened.sha256 != _content(point):
                return "changed since it was ingested"
            return reader.read(opened.image)
        except ImageError as error:
            return str(error)
        except MemoryError:
            return str(out_of_memory())

    def _write(
        self, collection: str, points: Sequence[Point], found: dict[str, dict[str, Any]]
    ) -> None:
        ids = [point.image_id for point in points if _content(point) in found]

        def write() -> None:
            there = self._store.retrieve(collection, ids, with_vectors=True)
            points = [
                Point(image_id, point.vector, written.with_text(point.payload, text))
                for image_id, point in there.items()
                if (text := found.get(_content(point))) is not None  # else changed meanwhile
            ]
            self._store.upsert(collection, points)

        if ids:
            retry_while_busy(write, on_wait=self._on_wait)

    def _tick(self) -> None:
        self._report.seconds = time.perf_counter() - self._started
        self._on_progress(self._report)


def _content(point: Point) -> str:
    return str(point.payload.get("sha256", ""))


def _declare(store: VectorStore, collection: str) -> None:
    """Index the fields of text. Raises StoreError where a table's column has such a name."""
    spec = store.describe(collection)
    declared = by_name(spec.fields)
    ours = [field for field in BUILTIN_FIELDS if field.name in _FIELDS]
    for field_ in ours:
        if declared.get(field_.name, field_) != field_:
            raise StoreError(
                f"library {spec.library} has {field_.name!r} as a column of a table, and text in "
                "pictures cannot be kept under the same name: rename the column in the table, and "
                "ingest into another library with --library NAME"
            )
    store.add_fields(collection, ours)
