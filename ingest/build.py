"""Another encoder's collection beside the live one, which keeps answering: blue/green.

The live collection says what there is. Every payload is carried over as it stands, with what
manifests said. A vector is copied where the picture side of both encoders is the same (only the
text side was trained, or the same encoder's collection is made afresh), else encoded from the kept
original, which has to be the file that was ingested.

A build can be stopped at any moment and started again: what the new collection holds is not
encoded twice. It goes on until the live collection holds nothing that the new one lacks, so
that pictures ingested meanwhile are in it.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.collections import new_spec
from scenesearch.encoder.base import Encoder
from scenesearch.home.allowed_originals import AllowedOriginals
from scenesearch.pictures.opening import ImageError, open_image, out_of_memory
from scenesearch.runtime.cancel import result_of
from scenesearch.store.base import CollectionSpec, Point, VectorStore
from scenesearch.store.catalog import collections_of, next_name
from scenesearch.store.fields import BUILTIN_FIELDS, BUILTIN_NAMES
from scenesearch.store.pages import PAGE, OnWait, pages, shared

_UPSERT = 64
_FLUSH_EVERY = 1600

# Passes over the live collection, the first included; one that somebody keeps filling is never
# caught up with, and the next build or ingest brings the rest.
_MOST_PASSES = 5


@dataclass(frozen=True)
class BuildOptions:
    """As in `ingest.pipeline.IngestOptions`."""

    workers: int = 2
    batch_size: int = 8
    max_megapixels: float = 200


@dataclass(frozen=True)
class Unusable:
    """A picture of the live collection that the new one has to do without."""

    image_id: str
    path: str
    reason: str


@dataclass
class BuildReport:
    """Counts of a run: `seen` of `total` pictures in the first pass, of which `kept` were in the
    new collection already; `removed` were in it and no longer in the live one."""

    library: str
    live: str
    collection: str
    total: int
    copies: bool
    seen: int = 0
    kept: int = 0
    copied: int = 0
    encoded: int = 0
    removed: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    unusable: dict[str, Unusable] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The documented JSON shape of `scenesearch library build --json`."""
        return {
            "library": self.library,
            "live": self.live,
            "collection": self.collection,
            "total": self.total,
            "seen": self.seen,
            "kept": self.kept,
            "copied": self.copied,
            "encoded": self.encoded,
            "removed": self.removed,
            "seconds": round(self.seconds, 3),
            "interrupted": self.interrupted,
            "unusable": [one.__dict__ for one in self.unusable.values()],
        }


def build(
    library: str,
    *,
    encoder: Encoder,
    store: VectorStore,
    originals: AllowedOriginals,
    live_image_fingerprint: str = "",
    options: BuildOptions | None = None,
    on_progress: Callable[[BuildReport], None] | None = None,
    on_wait: OnWait | None = None,
) -> BuildReport:
    """Fill a collection of this encoder with the pictures of the library's live one.

    It goes on with one that an earlier build left or made, unless that one is live or what a
    rollback leads to. `live_image_fingerprint` is the picture side of the live encoder, where
    the live collection is too old to know it. What `originals` does not hold is not opened. Ctrl-C
    ends the run with `interrupted` set and everything written kept; so does a kill. Raises
    StoreError as the store does.
    """
    live = store.resolve(library)
    spec = store.describe(live)
    image_fingerprint = spec.image_fingerprint or live_image_fingerprint
    collection = _target(store, live, spec, encoder)
    report = BuildReport(
        library,
        live,
        collection,
        total=shared(lambda: store.count(live), on_wait=on_wait),
        copies=bool(image_fingerprint) and image_fingerprint == encoder.info.image_fingerprint,
    )
    run = _Build(encoder, store, originals, options or BuildOptions(), report, on_wait)
    with store.working_on(collection):
        return _fill(run, report, store, on_progress)


def _fill(
    run: "_Build",
    report: BuildReport,
    store: VectorStore,
    on_progress: Callable[[BuildReport], None] | None,
) -> BuildReport:
    """Bring over what lacks, and complete the collection, which this process alone works on."""
    started = time.perf_counter()
    store.record(report.collection, state="building")
    try:
        for number in range(_MOST_PASSES):
            written = report.copied + report.encoded
            for _ in run.bring_over(first=number == 0):
                report.seconds = time.perf_counter() - started
                if on_progress is not None:
                    on_progress(report)
            if report.copied + report.encoded == written:
                break
        run.remove_what_is_gone()
    except KeyboardInterrupt:
        report.interrupted = True
    store.release(report.live)
    store.flush(report.collection)
    if not report.interrupted:
        store.optimize(report.collection)
        store.record(report.collection, state="ready")
    report.seconds = time.perf_counter() - started
    return report


def _target(store: VectorStore, live: str, spec: CollectionSpec, encoder: Encoder) -> str:
    """The collection to fill: one begun or made before, or a new one."""
    info = encoder.info
    # Ours as they are declared today, theirs as they were.
    declared = (*BUILTIN_FIELDS, *(one for one in spec.fields if one.name not in BUILTIN_NAMES))
    for held in reversed(collections_of(store, spec.library)):
        if held.spec.fingerprint == info.fingerprint and held.role in ("ready", "building"):
            with store.working_on(held.name):
                store.record(held.name, state="building")
                store.add_fields(held.name, declared)
            return held.name
    name = next_name(store, spec.library, info.name)
    store.create_collection(name, new_spec(spec.library, info, declared, state="building"))
    return name


class _Build:
    """One build; its report is brought up to date batch by batch."""

    def __init__(
        self,
        encoder: Encoder,
        store: VectorStore,
        originals: AllowedOriginals,
        options: BuildOptions,
        report: BuildReport,
        on_wait: OnWait | None,
    ) -> None:
        self._encoder = encoder
        self._store = store
        self._originals = originals
        self._options = options
        self._report = report
        self._on_wait = on_wait
        self._unflushed = 0
        # As ingest opens them, so that a build gives the vectors that an ingest would.
        self._reduce_to = 2 * max(*encoder.info.image_size, 160)

    def bring_over(self, *, first: bool) -> Iterator[None]:
        """Write what the new collection lacks, yielding whenever counts changed."""
        report = self._report
        report.unusable.clear()
        pool = ThreadPoolExecutor(self._options.workers, thread_name_prefix="build")
        with_vectors = report.copies and first  # later passes find little that lacks
        try:
            for page in pages(
                self._store, report.live, with_vectors=with_vectors, on_wait=self._on_wait
            ):
                lacking = self._lacking(page)
                if first:
                    report.seen += len(page) - len(lacking)
                    report.kept += len(page) - len(lacking)
                done = self._copied(lacking) if report.copies else self._encoded(lacking, pool)
                for count in done:
                    report.seen += count if first else 0
                    yield
                yield
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def remove_what_is_gone(self) -> None:
        """Delete what the live collection no longer holds."""
        new = self._report.collection
        points = self._store.scroll(new, payload=())
        while ids := [point.image_id for point in islice(points, PAGE)]:
            there = self._retrieve(ids)
            gone = [image_id for image_id in ids if image_id not in there]
            self._store.delete(new, gone)
            self._report.removed += len(gone)

    def _lacking(self, page: Sequence[Point]) -> list[Point]:
        ids = [point.image_id for point in page]
        there = self._store.retrieve(self._report.collection, ids)
        return [
            point
            for point in page
            if point.image_id not in there or there[point.image_id].payload != point.payload
        ]

    def _copied(self, points: Sequence[Point]) -> Iterator[int]:
        """Write the points with the vectors they have, yielding how many are done."""
        without = [point.image_id for point in points if point.vector is None]
        found = self._retrieve(without, with_vectors=True) if without else {}
        whole = [found.get(point.image_id, point) for point in points]
        whole = [point for point in whole if point.vector is not None]  # the rest has just gone
        self._upsert(whole)
        self._report.copied += len(whole)
        yield len(points)

    def _encoded(self, points: Sequence[Point], pool: ThreadPoolExecutor) -> Iterator[int]:
        """Encode and write in the order of the points, yielding how many pictures are done."""
        size = self._options.batch_size
        pending: deque[tuple[int, Future[list[Point | Unusable]]]] = deque()
        ready: list[Point] = []
        try:
            for start in range(0, len(points), size):
                batch = points[start : start + size]
                pending.append((len(batch), pool.submit(self._encode, batch)))
                if len(pending) > 2 * self._options.workers:
                    yield self._take(pending, ready)
            while pending:
                yield self._take(pending, ready)
        except (KeyboardInterrupt, GeneratorExit):
            # Stopped: what is being encoded is finished and kept, what is queued not begun.
            pool.shutdown(wait=True, cancel_futures=True)
            while pending:
                if pending[0][1].cancelled():
                    pending.popleft()
                else:
                    self._take(pending, ready)
            raise
        finally:
            self._upsert(ready)

    def _take(
        self, pending: deque[tuple[int, Future[list[Point | Unusable]]]], ready: list[Point]
    ) -> int:
        count, future = pending.popleft()
        for item in result_of(future):
            if isinstance(item, Unusable):
                self._report.unusable[item.image_id] = item
            else:
                ready.append(item)
                self._report.encoded += 1
        if len(ready) >= max(_UPSERT, self._options.batch_size):
            self._upsert(ready)
            ready.clear()
        return count

    def _encode(self, batch: Sequence[Point]) -> list[Point | Unusable]:
        """Runs in a worker thread."""
        try:
            return self._embedded(batch)
        except MemoryError:
            if len(batch) > 1:
                return [one for point in batch for one in self._encode([point])]
            path = str(batch[0].payload.get("path", ""))
            return [Unusable(batch[0].image_id, path, str(out_of_memory()))]

    def _embedded(self, batch: Sequence[Point]) -> list[Point | Unusable]:
        opened = [self._pixels(point) for point in batch]
        pixels = [one for one in opened if not isinstance(one, Unusable)]
        vectors = iter(self._encoder.encode_pixels(np.stack(pixels)) if pixels else ())  # (n, dim)
        return [
            one
            if isinstance(one, Unusable)
            else Point(point.image_id, next(vectors), point.payload)
            for point, one in zip(batch, opened, strict=True)
        ]

    def _pixels(self, point: Point) -> NDArray[np.float32] | Unusable:
        path = str(point.payload.get("path", ""))
        try:
            opened = open_image(
                self._originals.original(point.payload),
                reduce_to=self._reduce_to,
                max_megapixels=self._options.max_megapixels,
            )
        except ImageError as error:
            return Unusable(point.image_id, path, str(error))
        if opened.sha256 != point.payload.get("sha256"):
            return Unusable(point.image_id, path, "changed since it was ingested")
        return self._encoder.preprocess(opened.image)

    def _upsert(self, points: Sequence[Point]) -> None:
        if not points:
            return
        self._store.upsert(self._report.collection, points)
        self._unflushed += len(points)
        if self._unflushed >= _FLUSH_EVERY:
            self._store.flush(self._report.collection)
            self._unflushed = 0

    def _retrieve(self, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, Point]:
        """Of the live collection."""
        live = self._report.live
        return shared(
            lambda: self._store.retrieve(live, ids, with_vectors=with_vectors),
            on_wait=self._on_wait,
        )
