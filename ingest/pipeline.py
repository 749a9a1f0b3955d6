"""Pictures into a collection: decode and encode in threads, upsert.

Each worker decodes pictures one by one and encodes them batch by batch, so the encoder should
itself use one thread: every core is busy without threads that wait for one another.

Memory is bounded by the look-ahead, whatever the number of pictures. A run may be stopped at
any moment and started again: what the collection holds is not encoded again, and a picture
that was renamed or copied takes the vector of its twin.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.collections import new_spec, next_name
from ingest.points import described_payload, descriptions_of, file_payload, picture_payload
from ingest.sources import Source
from scenesearch.encoder.base import Encoder
from scenesearch.images import (
    ImageError,
    open_image,
    thumbnail_path,
    write_thumbnail,
)
from scenesearch.library import ImageRecord, check_library_name
from scenesearch.originals import OriginalError
from scenesearch.rejects import Reject, Rejects
from scenesearch.store.base import (
    CollectionMissing,
    Point,
    VectorStore,
    check_encoder,
)
from scenesearch.store.fields import BUILTIN_FIELDS, custom_fields
from scenesearch.store.filters import OneOf

# How many known pictures are looked up at once, and how many new ones written.
_LOOKUP = 256
_UPSERT = 64


@dataclass(frozen=True)
class IngestOptions:
    """`workers` threads decode and encode, `batch_size` pictures at a time: with the bundled
    encoder 8 are as fast as 32 and need half the memory. Every `flush_every` pictures are made
    safe against power loss. With `retry_rejects`, files that were rejected for good are opened
    again though they have not changed."""

    workers: int = 2
    batch_size: int = 8
    flush_every: int = 1600
    max_megapixels: float = 200
    retry_rejects: bool = False


@dataclass
class IngestReport:
    """Counts of a run; `reused` are those written without encoding (renamed, copied, or only
    newly described)."""

    library: str
    collection: str
    seen: int = 0
    written: int = 0
    skipped: int = 0
    encoded: int = 0
    reused: int = 0
    removed: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    rejects: list[Reject] = field(default_factory=list)

    @property
    def images_per_s(self) -> float:
        return self.seen / self.seconds if self.seconds > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        """The documented JSON shape of `scenesearch ingest --json`."""
        return {
            "library": self.library,
            "collection": self.collection,
            "seen": self.seen,
            "written": self.written,
            "skipped": self.skipped,
            "rejected": len(self.rejects),
            "removed": self.removed,
            "encoded": self.encoded,
            "reused": self.reused,
            "interrupted": self.interrupted,
            "images_per_s": round(self.images_per_s, 2),
            "rejects": [{"path": r.path, "reason": r.reason} for r in self.rejects],
        }


@dataclass(frozen=True)
class _Prepared:
    """A decoded picture; `known` is its present point where the file's content is the same."""

    image_id: str
    payload: dict[str, Any]
    pixels: NDArray[np.float32] | None


def ingest(
    sources: Sequence[Source],
    *,
    library: str,
    encoder: Encoder,
    store: VectorStore,
    thumbnails_dir: Path | None = None,
    rejects: Rejects | None = None,
    options: IngestOptions | None = None,
    on_progress: Callable[[IngestReport], None] | None = None,
) -> IngestReport:
    """Bring the sources' pictures into the library's collection, making it when there is none.

    A picture that cannot be used is a reject in the report, never an exception. Ctrl-C ends the
    run with everything acknowledged kept and `interrupted` set. Raises StoreError when the store
    fails or the collection is another encoder's; what was written before stays. With `rejects`,
    what is left out is kept there, and not opened again until its file changes.
    """
    options = options or IngestOptions()
    collection = ensure_collection(store, library, encoder)
    for source in sources:
        store.add_fields(collection, custom_fields(source.fields))
    report = IngestReport(library, collection)
    started = time.perf_counter()
    run = _Run(collection, encoder, store, thumbnails_dir, rejects, options, report)
    for source in sources:
        run.reject(Reject(problem.where, problem.reason) for problem in source.problems)
    try:
        for _ in run.batches(record for source in sources for record in source.records()):
            report.seconds = time.perf_counter() - started
            if on_progress is not None:
                on_progress(report)
    except KeyboardInterrupt:
        report.interrupted = True
    store.flush(collection)
    if not report.interrupted:
        store.optimize(collection)
    report.seconds = time.perf_counter() - started
    return report


def ensure_collection(store: VectorStore, library: str, encoder: Encoder) -> str:
    """The collection behind the library's alias, made and aliased when the library is new."""
    check_library_name(library)
    info = encoder.info
    try:
        spec = store.describe(library)
    except CollectionMissing:
        name = next_name(store, library, info.name)
        store.create_collection(name, new_spec(library, info, BUILTIN_FIELDS))
        store.set_alias(library, name)
        spec = store.describe(library)
    check_encoder(spec, name=info.name, fingerprint=info.fingerprint, dimension=info.dimension)
    return store.resolve(library)


@dataclass(frozen=True)
class _Encoded:
    """Points ready to be written; `encoded` of them went through the encoder."""

    points: list[Point]
    encoded: int


class _Run:
    """One pass over the records; its report is brought up to date batch by batch."""

    def __init__(
        self,
        collection: str,
        encoder: Encoder,
        store: VectorStore,
        thumbnails_dir: Path | None,
        rejects: Rejects | None,
        options: IngestOptions,
        report: IngestReport,
    ) -> None:
        self._collection = collection
        self._encoder = encoder
        self._store = store
        self._thumbnails_dir = thumbnails_dir
        self._rejects = rejects
        self._options = options
        self._report = report
        # In a collection that was empty, nothing is known and no twin can be found.
        self._was_empty = store.count(collection) == 0
        self._unwritten: list[Point] = []
        self._unflushed = 0
        # A JPEG is decoded reduced, but with twice what encoder and thumbnail need, so that
        # embeddings differ from those of the full picture by no more than rounding.
        self._reduce_to = 2 * max(*encoder.info.image_size, 160)

    def batches(self, records: Iterable[ImageRecord]) -> Iterator[None]:
        """Write batch by batch in the order of the records, yielding whenever counts changed."""
        pool = ThreadPoolExecutor(self._options.workers, thread_name_prefix="ingest")
        encoding: deque[Future[_Encoded]] = deque()
        prepared: list[_Prepared] = []
        try:
            for item in self._decoded(records, pool):
                if isinstance(item, Reject):
                    self.reject([item])
                elif item is not None:
                    prepared.append(item)
                if len(prepared) == self._options.batch_size:
                    encoding.append(pool.submit(self._encode, prepared, self._known(prepared)))
                    prepared = []
                if len(encoding) > self._options.workers:
                    self._write(encoding.popleft().result())
                if self._report.seen % self._options.batch_size == 0:
                    yield
            if prepared:
                encoding.append(pool.submit(self._encode, prepared, self._known(prepared)))
            while encoding:
                self._write(encoding.popleft().result())
            self._upsert()
            yield
        except (KeyboardInterrupt, GeneratorExit):
            # Stopped: what is being encoded is finished and kept, what is queued not begun.
            pool.shutdown(wait=True, cancel_futures=True)
            for batch in encoding:
                if not batch.cancelled():
                    self._write(batch.result())
            self._upsert()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _decoded(
        self, records: Iterable[ImageRecord], pool: ThreadPoolExecutor
    ) -> Iterator[_Prepared | Reject | None]:
        """Opened pictures in the order of the records; None for a skipped one."""
        ahead = 4 * max(self._options.batch_size, self._options.workers)
        pending: deque[Future[_Prepared | Reject | None]] = deque()
        for record, known, earlier in self._with_known(records):
            pending.append(pool.submit(self._prepare, record, known, earlier))
            if len(pending) > ahead:
                yield self._counted(pending.popleft().result())
        while pending:
            yield self._counted(pending.popleft().result())

    def _counted(self, item: _Prepared | Reject | None) -> _Prepared | Reject | None:
        self._report.seen += 1
        self._report.skipped += item is None
        return item

    def _with_known(
        self, records: Iterable[ImageRecord]
    ) -> Iterator[tuple[ImageRecord, Point | None, Reject | None]]:
        """Each record with its present point and with the reject it was before."""
        iterator = iter(records)
        while chunk := list(islice(iterator, _LOOKUP)):
            known: dict[str, Point] = {}
            rejected: dict[str, Reject] = {}
            if self._rejects is not None:
                rejected = self._rejects.of([str(record.original) for record in chunk])
            if not self._was_empty:
                ids = [record.image_id for record in chunk]
                known = self._store.retrieve(self._collection, ids)
            for record in chunk:
                yield record, known.get(record.image_id), rejected.get(str(record.original))

    def _prepare(
        self, record: ImageRecord, known: Point | None, earlier_reject: Reject | None
    ) -> _Prepared | Reject | None:
        """Runs in a worker thread."""
        described = described_payload(record)
        reject = Reject(str(record.original), "", image_id=record.image_id, described=described)
        try:
            state = record.original.state()
        except OriginalError as error:
            return replace(reject, reason=str(error), transient=error.transient)
        from_file = file_payload(record.original, state)
        # An archive's or a server's version tells a change that neither size nor time shows.
        modified = " ".join(from_file[key] for key in ("modified", "version") if key in from_file)
        reject = replace(reject, size_bytes=state.size_bytes, modified=modified)
        if (
            earlier_reject is not None
            and earlier_reject.holds_for(state.size_bytes, modified)
            and not self._options.retry_rejects
        ):
            return earlier_reject
        if known is not None and known.payload.items() >= (from_file | described).items():
            return None
        try:
            opened = open_image(
                record.original,
                reduce_to=self._reduce_to,
                max_megapixels=self._options.max_megapixels,
            )
        except ImageError as error:
            return replace(reject, reason=str(error), transient=error.transient)
        if self._thumbnails_dir is not None:
            thumbnail = thumbnail_path(self._thumbnails_dir, opened.sha256)
            if not thumbnail.exists():
                write_thumbnail(opened.image, thumbnail)
        # What a manifest said earlier outlives a run without that manifest.
        earlier = {} if known is None else descriptions_of(known.payload)
        payload = earlier | picture_payload(record.image_id, opened) | described | from_file
        if known is not None and known.payload.get("sha256") == opened.sha256:
            return _Prepared(record.image_id, payload, None)
        return _Prepared(record.image_id, payload, self._encoder.preprocess(opened.image))

    def _encode(
        self, prepared: Sequence[_Prepared], vectors: dict[str, NDArray[np.float32]]
    ) -> _Encoded:
        """Runs in a worker thread; `vectors` are those already known, by content hash."""
        new = [item for item in prepared if item.payload["sha256"] not in vectors]
        pixels = [item.pixels for item in new if item.pixels is not None]
        if pixels:
            embeddings = self._encoder.encode_pixels(np.stack(pixels))  # (new, dim)
            for item, embedding in zip(new, embeddings, strict=True):
                vectors[item.payload["sha256"]] = embedding
        points = [
            Point(item.image_id, vectors[item.payload["sha256"]], item.payload) for item in prepared
        ]
        return _Encoded(points, len(pixels))

    def _write(self, batch: _Encoded) -> None:
        """Take the batch for the store, which is given several at once."""
        self._unwritten += batch.points
        self._report.encoded += batch.encoded
        self._report.reused += len(batch.points) - batch.encoded
        if len(self._unwritten) >= max(_UPSERT, self._options.batch_size):
            self._upsert()

    def _upsert(self) -> None:
        if not self._unwritten:
            return
        self._store.upsert(self._collection, self._unwritten)
        if self._rejects is not None:
            self._rejects.forget(point.payload["path"] for point in self._unwritten)
        self._report.written += len(self._unwritten)
        self._unflushed += len(self._unwritten)
        self._unwritten = []
        if self._unflushed >= self._options.flush_every:
            self._store.flush(self._collection)
            self._unflushed = 0

    def reject(self, rejects: Iterable[Reject]) -> None:
        """Report these and keep them; one kept from an earlier run has not been tried again."""
        for reject in rejects:
            self._report.rejects.append(reject)
            if self._rejects is not None and not reject.tries:
                self._rejects.add([reject])

    def _known(self, prepared: Sequence[_Prepared]) -> dict[str, NDArray[np.float32]]:
        """Vectors the collection already holds, by content hash."""
        if self._was_empty:
            return {}
        hashes = tuple({item.payload["sha256"] for item in prepared})
        twins = self._store.scroll(
            self._collection,
            where=(OneOf("sha256", hashes),),
            payload=("sha256",),
            with_vectors=True,
        )
        return {twin.payload["sha256"]: twin.vector for twin in twins if twin.vector is not None}
