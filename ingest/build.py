"""Makes another encoder's collection while the live one keeps answering (blue/green).

Every payload of the live collection is carried over unchanged, with what manifests said. A vector
is copied where the picture side of both encoders is the same (only the
text side was trained, or the same encoder's collection is made afresh), else encoded from the kept
original, which has to be the file that was ingested.

A build can be stopped at any moment and started again: what the new collection holds is not
encoded twice. It goes on until the live collection holds nothing that the new one lacks, so
that pictures ingested meanwhile are in it.
"""

import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from ingest.batch_size import BatchSize
from ingest.collection import new_spec
from ingest.library_writer import Vector
from ingest.local_engine import LocalEngine
from ingest.picture_reader import DecodedPicture, Unchanged, longest_side_needed
from scenesearch.encoder.base import Encoder
from scenesearch.home.allowed_originals import AllowedOriginals
from scenesearch.home.rejects import Reject
from scenesearch.pictures.opening import ImageError, open_image, out_of_memory
from scenesearch.store.base import CollectionSpec, Point, VectorStore
from scenesearch.store.catalog import collections_of, next_name
from scenesearch.store.fields import STANDARD_FIELDS, by_name
from scenesearch.store.pages import PAGE, OnWait, pages, retry_while_busy

_WRITE_BATCH = 64
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
        found = asdict(self) | {"seconds": round(self.seconds, 3)}
        del found["copies"]
        return found | {"unusable": list(found["unusable"].values())}


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

    It continues a collection that an earlier build made, unless that one is live or the target of a
    rollback. `live_image_fingerprint` is the picture side of the live encoder, where
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
        total=retry_while_busy(lambda: store.count(live), on_wait=on_wait),
        copies=bool(image_fingerprint) and image_fingerprint == encoder.info.image_fingerprint,
    )
    run = _Build(encoder, store, originals, options or BuildOptions(), report, on_wait)
    started = time.perf_counter()
    with store.working_on(collection):
        store.record(collection, state="building")
        try:
            for number in range(_MOST_PASSES):
                written = report.copied + report.encoded
                with closing(run.bring_over(first=number == 0)) as progress:
                    for _ in progress:
                        report.seconds = time.perf_counter() - started
                        if on_progress is not None:
                            on_progress(report)
                if report.copied + report.encoded == written:
                    break
            run.remove_what_is_gone()
        except KeyboardInterrupt:
            report.interrupted = True
        store.release(live)
        store.flush(collection)
        if not report.interrupted:
            store.optimize(collection)
            store.record(collection, state="ready")
    report.seconds = time.perf_counter() - started
    return report


def _target(store: VectorStore, live: str, spec: CollectionSpec, encoder: Encoder) -> str:
    """The collection to fill: one begun or made before, or a new one."""
    info = encoder.info
    # Ours as they are declared today, theirs as they were.
    ours = by_name(STANDARD_FIELDS)
    declared = (*STANDARD_FIELDS, *(one for one in spec.fields if one.name not in ours))
    for held in reversed(collections_of(store, spec.library)):
        if held.spec.fingerprint == info.fingerprint and held.role in ("ready", "building"):
            with store.working_on(held.name):
                store.record(held.name, state="building")
                store.add_fields(held.name, declared)
            return held.name
    name = next_name(store, spec.library, info.name)
    store.create_collection(name, new_spec(spec.library, info, declared, state="building"))
    return name


@dataclass
class _Build:
    """One build: it says which pictures lack, and is what the engine writes to."""

    encoder: Encoder
    store: VectorStore
    originals: AllowedOriginals
    options: BuildOptions
    report: BuildReport
    on_wait: OnWait | None
    _is_first_pass: bool = True
    _waiting: list[Point] = field(default_factory=list)
    _unflushed: int = 0

    def bring_over(self, *, first: bool) -> Generator[None]:
        """Write what the new collection lacks, yielding whenever counts changed."""
        self._is_first_pass = first
        self.report.unusable.clear()
        if self.report.copies:
            yield from self._copy_vectors()
        else:
            size = BatchSize(self.options.batch_size)
            engine = LocalEngine(self.encoder, self, workers=self.options.workers, batch_size=size)
            yield from engine.run(self._compared(), self._decoded)

    def remove_what_is_gone(self) -> None:
        """Delete what the live collection no longer holds."""
        new = self.report.collection
        points = self.store.scroll(new, payload=())
        while ids := [point.image_id for point in islice(points, PAGE)]:
            there = self._retrieve(ids)
            gone = [image_id for image_id in ids if image_id not in there]
            self.store.delete(new, gone)
            self.report.removed += len(gone)

    def _compared(self) -> Iterator[Unchanged | Point]:
        """Every point of the live collection that the new one lacks; `Unchanged` for the others."""
        for page in pages(self.store, self.report.live, on_wait=self.on_wait):
            yield from self._compare(page)

    def _compare(self, page: Sequence[Point]) -> list[Unchanged | Point]:
        ids = [point.image_id for point in page]
        there = self.store.retrieve(self.report.collection, ids)
        return [
            Unchanged()
            if point.image_id in there and there[point.image_id].payload == point.payload
            else point
            for point in page
        ]

    def _copy_vectors(self) -> Iterator[None]:
        report = self.report
        with_vectors = self._is_first_pass  # later passes find little that lacks
        for page in pages(self.store, report.live, with_vectors=with_vectors, on_wait=self.on_wait):
            lacking = []
            for item in self._compare(page):
                if isinstance(item, Unchanged):
                    self.skip(item)
                else:
                    lacking.append(item)
            without = [point.image_id for point in lacking if point.vector is None]
            found = self._retrieve(without, with_vectors=True) if without else {}
            whole = [found.get(point.image_id, point) for point in lacking]
            self._waiting = [point for point in whole if point.vector is not None]
            report.copied += len(self._waiting)  # the others have just gone
            self.write()
            self._count(len(lacking))
            yield

    def _decoded(self, point: Point) -> DecodedPicture | Reject:
        """Runs in a worker thread."""
        path = str(point.payload.get("path", ""))
        try:
            opened = open_image(
                self.originals.original(point.payload),
                # As ingest opens them, so that a build gives the vectors that an ingest would.
                reduce_to=longest_side_needed(self.encoder),
                max_megapixels=self.options.max_megapixels,
            )
            if opened.sha256 != point.payload.get("sha256"):
                raise ImageError("changed since it was ingested")
            pixels = self.encoder.preprocess(opened.image)
        except ImageError as error:
            return Reject(path, str(error), image_id=point.image_id)
        except MemoryError:
            return Reject(path, str(out_of_memory()), image_id=point.image_id)
        return DecodedPicture(point.image_id, dict(point.payload), pixels)

    def _retrieve(self, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, Point]:
        """Of the live collection."""
        live = self.report.live
        return retry_while_busy(
            lambda: self.store.retrieve(live, ids, with_vectors=with_vectors),
            on_wait=self.on_wait,
        )

    # --- what the engine writes to ---

    def vectors(self, hashes: Iterable[str]) -> dict[str, Vector]:
        """None are at hand before a picture is encoded."""
        return {}

    def skip(self, unchanged: Unchanged) -> None:
        if self._is_first_pass:
            self.report.kept += 1
        self._count(1)

    def reject(self, reject: Reject) -> None:
        image_id = str(reject.image_id)
        self.report.unusable[image_id] = Unusable(image_id, reject.path, reject.reason)
        self._count(1)

    def put(
        self,
        pictures: Sequence[DecodedPicture],
        vectors: dict[str, Vector],
        encoded: Collection[str],
        *,
        at_risk: int = 0,
    ) -> None:
        """Take encoded pictures; they are written before a crash would cost more than a batch."""
        self._waiting += [Point(p.image_id, vectors[p.sha256], p.payload) for p in pictures]
        self.report.encoded += len(pictures)
        self._count(len(pictures))
        if len(self._waiting) + at_risk >= max(_WRITE_BATCH, self.options.batch_size):
            self.write()

    def write(self) -> None:
        if not self._waiting:
            return
        self.store.upsert(self.report.collection, self._waiting)
        self._unflushed += len(self._waiting)
        self._waiting = []
        if self._unflushed >= _FLUSH_EVERY:
            self.store.flush(self.report.collection)
            self._unflushed = 0

    def _count(self, pictures: int) -> None:
        if self._is_first_pass:
            self.report.seen += pictures
