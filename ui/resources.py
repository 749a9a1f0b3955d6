"""What the page keeps for the whole process: settings, store, encoders, what runs in the
background; the one place from which the page starts what `ingest` and `training` offer."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from scenesearch.encoder.base import Encoder
from scenesearch.encoder.onnx import OnnxEncoder, usable_cores
from scenesearch.encoder.registry import (
    bundled_encoders,
    find_by_fingerprint,
    find_encoder,
    remember_encoder,
    shelved_encoders,
)
from scenesearch.encoder.text_cache import TextEmbeddingCache
from scenesearch.home.ingested import SOURCES, Ingested, ingested
from scenesearch.home.prometheus import TimedEncoder
from scenesearch.home.rejects import FILE_NAME, Reject, Rejects
from scenesearch.home.restore import is_unfinished, take_back_unfinished
from scenesearch.home.settings import Settings
from scenesearch.pictures.duplicates import Group, HashedPicture, find_groups, hashed_picture
from scenesearch.runtime.files import make_private, private_folder
from scenesearch.search.grammar import parse
from scenesearch.search.request import Request
from scenesearch.search.searcher import Searcher
from scenesearch.store.base import CollectionMissing, CollectionSpec, StoreError, VectorStore
from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Filter, Range
from scenesearch.store.open import open_store
from ui.jobs import Job, Jobs
from ui.launch import page_settings

if TYPE_CHECKING:
    from ingest.build import BuildReport
    from ingest.report import IngestReport
    from ingest.source import Roots, Source

# More values than this are not listed; the filter then takes typed ones too.
MAX_CHOICES = 200

# So often the page looks whether another process waits for its embedded library.
LISTEN_S = 0.3

# So long after its last use the library is let go of in any case: memory and a thread less.
IDLE_S = 600.0

SAMPLE_SIZE = 300

# So many of what was left out are named where nothing could be used.
MOST_REASONS = 5

_LONG_AGO = datetime(1, 1, 2, tzinfo=UTC)

# Columns of a manifest that tell a place in numbers or by its name.
_PLACES = {"lat", "latitude", "lon", "lng", "long", "longitude", "altitude", "gps"} | {
    *("place", "city", "town", "village", "country", "region", "province", "county"),
    *("address", "street", "postcode", "zip"),
}


@st.cache_resource(show_spinner=False)
def settings() -> Settings:
    return page_settings()


@st.cache_resource(show_spinner="Opening the library …")
def store() -> VectorStore:
    """The one store of this process; a failure is raised and not remembered."""
    return _open_store(settings())


def _open_store(now: Settings, *, on_wait: Callable[[str], None] | None = None) -> VectorStore:
    return open_store(
        edge_dir=now.edge_dir,
        qdrant_url=now.qdrant_url,
        qdrant_api_key=now.reader_key if now.page_read_only else now.writer_key,
        grpc_port=now.qdrant_grpc_port,
        timeout_s=now.qdrant_timeout_s,
        patience_s=now.qdrant_patience_s if on_wait else None,
        on_wait=on_wait,
    )


class _Lease:
    """Counts the sessions at work; between them another process that waits for an embedded
    library gets it. Where nobody waits it stays open: to open 100,000 pictures takes a second.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._at_work = 0
        self._last_use = 0.0
        self._listener: threading.Thread | None = None

    @contextmanager
    def held(self, store: VectorStore, library: str) -> Iterator[None]:
        with self._guard:
            self._at_work += 1
        try:
            yield
        finally:
            with self._guard:
                self._at_work -= 1
                self._last_use = time.monotonic()
                if self._listener is None:
                    self._listener = threading.Thread(
                        target=self._listen, args=(store, library), daemon=True
                    )
                    self._listener.start()

    def _listen(self, store: VectorStore, library: str) -> None:
        """Until the library was let go; the next session to open it starts another listener."""
        while True:
            time.sleep(LISTEN_S)
            # The guard keeps a session from beginning its work in the middle of this.
            with self._guard:
                if self._at_work:
                    continue
                idle_s = time.monotonic() - self._last_use
                # By its alias, with what an evaluation or a comparison has opened beside it.
                with suppress(StoreError):
                    if not store.release(library, if_wanted=idle_s < IDLE_S) and idle_s < IDLE_S:
                        continue
                self._listener = None
                return


@st.cache_resource(show_spinner=False)
def _lease() -> _Lease:
    return _Lease()


def originals() -> Ingested:
    """What may be opened of the paths that payloads name; it grows with each ingest."""
    return ingested(settings())


@contextmanager
def opened_library(library: str) -> Iterator[VectorStore]:
    """The store, whose embedded library another process gets only while nobody is inside."""
    opened = store()
    if settings().qdrant_url:  # a server is shared as it is
        yield opened
        return
    with _lease().held(opened, library):
        yield opened


@dataclass(frozen=True)
class Opened:
    """A library that can be asked."""

    settings: Settings
    library: str
    store: VectorStore
    encoder: Encoder
    searcher: Searcher

    @property
    def thumbnails_dir(self) -> Path:
        return self.settings.library_dir(self.library) / "thumbnails"

    @property
    def fields(self) -> tuple[PayloadField, ...]:
        """Those that this page shows, filters by and sorts by."""
        if shows_places(self.settings):
            return self.searcher.fields
        return tuple(field for field in self.searcher.fields if not _tells_place(field))

    def parse(self, text: str, *, where: Filter = ()) -> Request:
        """The request of a text; of a field that is not shown nothing can be asked either."""
        return replace(parse(text, self.fields), where=where)


def shows_paths(settings: Settings) -> bool:
    """Whether visitors may read where files of this machine lie."""
    return not settings.page_read_only


def shows_places(settings: Settings) -> bool:
    """Whether visitors may learn where a picture was taken."""
    return settings.page_places or not settings.page_read_only


def _tells_place(field: PayloadField) -> bool:
    name = field.name.casefold()
    return field.type == "geo" or name in _PLACES or name.startswith(("gps_", "gps "))


@contextmanager
def searching(collection: str | None = None) -> Iterator[Opened]:
    """The page's library, or one collection of it, with the encoder whose vectors it holds."""
    now = settings()
    with opened_library(now.library) as opened:
        name = collection or now.library
        spec = opened.describe(name)
        # Before the encoder is loaded: to open a library takes 150 MB for a moment.
        count = opened.count(name)
        loaded = encoder(spec)
        searcher = _searcher(
            name,
            opened.resolve(name),
            spec.fingerprint,
            len(spec.fields),
            count.bit_length(),
            loaded,
        )
        yield Opened(now, now.library, opened, loaded, searcher)


# --- encoders --------------------------------------------------------------------------------


def encoder(spec: CollectionSpec) -> Encoder:
    """The encoder whose vectors the library holds now; another one after a promote."""
    return _encoder(spec.fingerprint, spec.encoder)


# Several: two that are compared, and one that is promoted while sessions still ask another.
@st.cache_resource(show_spinner="Loading the encoder …", max_entries=3)
def _encoder(fingerprint: str, name: str) -> Encoder:
    """One for the whole process, its text tower warm: no visitor waits for it."""
    loaded = TimedEncoder(load_encoder(settings(), fingerprint, name))
    loaded.encode_texts(["warm-up"])
    return loaded


@st.cache_resource(show_spinner=False, max_entries=3)
def _texts(fingerprint: str, _encoder: Encoder) -> TextEmbeddingCache:
    """Embeddings of what visitors last asked, kept for all of them."""
    return TextEmbeddingCache(_encoder)


# To make one reads some hundred vectors: 50 ms that no visitor waits for.
@st.cache_resource(show_spinner=False, max_entries=4, ttl=600)
def _searcher(
    name: str, collection: str, fingerprint: str, fields: int, magnitude: int, _encoder: Encoder
) -> Searcher:
    """One for all sessions; another one when the collection was promoted, has new fields or
    has grown to twice its size, which changes what is unusual in it."""
    return Searcher(
        _encoder,
        store(),
        name,
        texts=_texts(fingerprint, _encoder),
        max_megapixels=settings().max_megapixels,
    )


def load_encoder(
    settings: Settings, fingerprint: str, name: str, image_threads: int | None = None
) -> Encoder:
    """The encoder of that fingerprint; without one, that of the name."""
    folder = (
        find_by_fingerprint(
            fingerprint,
            name,
            default=settings.encoder,
            shelf=settings.models_dir,
            file=settings.known_encoders,
        )
        if fingerprint
        else find_encoder(name, settings.models_dir)
    )
    return OnnxEncoder(folder, threads=settings.threads, image_threads=image_threads)


def _library_encoder(now: Settings, opened: VectorStore) -> Encoder:
    """For pictures: the library's own, or for a new one the default; one thread a worker."""
    try:
        spec = opened.describe(now.library)
    except CollectionMissing:
        return load_encoder(now, "", now.encoder, 1)
    return load_encoder(now, spec.fingerprint, spec.encoder, 1)


# --- what a library holds --------------------------------------------------------------------


@st.cache_data(ttl=60, show_spinner=False)
def choices(library: str, field: str) -> list[str | int | bool]:
    """The field's values in the library, most frequent first; a minute old at most."""
    return [value for value, _ in store().facet(library, field, limit=MAX_CHOICES)]


@st.cache_data(ttl=60, show_spinner=False)
def has_values(library: str, field: str) -> bool:
    """Whether any picture has this date field; a minute old at most."""
    return store().count(library, where=(Range(field, at_least=_LONG_AGO),)) > 0


@dataclass(frozen=True)
class Facts:
    """What a library's pictures are, counted; `twins` are those that are the same."""

    formats: Counter[str]
    years: Counter[str]
    size_bytes: int
    captioned: int
    located: int
    twins: list[Group]


@st.cache_data(ttl=300, max_entries=2, show_spinner="Counting …")
def facts(library: str, collection: str, count: int) -> Facts:
    """Read once for all visitors; `collection` and `count` tell when it has changed."""
    formats: Counter[str] = Counter()
    years: Counter[str] = Counter()
    size = captioned = located = 0
    looks: list[HashedPicture] = []
    wanted = ("path", "taken", "size_bytes", "captions", "location", "sha256", "phash")
    for point in store().scroll(library, payload=wanted):
        payload = point.payload
        formats[PurePath(str(payload.get("path", ""))).suffix.lower().lstrip(".") or "none"] += 1
        years[str(payload.get("taken", ""))[:4] or "unknown"] += 1
        size += int(payload.get("size_bytes") or 0)
        captioned += bool(payload.get("captions"))
        located += payload.get("location") is not None
        if look := hashed_picture(point.image_id, payload):
            looks.append(look)
    return Facts(formats, years, size, captioned, located, find_groups(looks))


def encoder_names() -> list[str]:
    """Bundled and shelved encoders."""
    return list(dict.fromkeys([*bundled_encoders(), *shelved_encoders(settings().models_dir)]))


def rejects(library: str) -> list[Reject]:
    """What could not be ingested; none where no run has left a table."""
    file = settings().library_dir(library) / FILE_NAME
    if not file.exists():
        return []
    with closing(Rejects(file)) as table:
        return list(table.all())


# --- in the background -----------------------------------------------------------------------


@st.cache_resource(show_spinner=False)
def jobs() -> Jobs:
    return Jobs()


def start_ingest(folders: Sequence[Path], *, manifest: Path | None = None, title: str) -> Job:
    """Bring the folders' pictures in; with a manifest first what it says of the one folder's."""

    def work(job: Job) -> "IngestReport":
        from ingest.sources import find_sources

        def sources(roots: "Roots") -> "list[list[Source]]":
            plain = [find_sources(folders, roots=roots)]
            if manifest is None:
                return plain
            return [find_sources(folders, roots=roots, manifest=manifest), *plain]

        return _ingest(job, sources)

    return _start(title, work)


def start_retry(rejected: Sequence[Reject]) -> Job:
    """Try the rejected pictures again, whether or not their files changed."""

    def work(job: Job) -> "IngestReport":
        from ingest.sources import rejected_source

        return _ingest(job, lambda roots: [[rejected_source(rejected)]], retry=True)

    return _start("Trying left-out pictures again", work)


def start_sample() -> Job:
    """Draw the sample library and bring it in."""

    def work(job: Job) -> "IngestReport":
        from ingest.sources import find_sources
        from scenesearch.sample.library import write_library

        folder = private_folder(settings().data_dir / "demo-pictures")
        job.detail = "drawing the pictures"
        write_library(folder, size=SAMPLE_SIZE, progress=lambda done: job.tick(done, SAMPLE_SIZE))
        make_private(folder)
        return _ingest(job, lambda roots: [find_sources([folder], roots=roots)])

    return _start("Loading the sample library", work)


def start_build(encoder_name: str) -> Job:
    """Make another encoder's collection beside the live one, which keeps answering."""

    def work(job: Job) -> "BuildReport":
        from ingest.build import BuildOptions, build

        now = settings()
        with _working(job) as opened:
            loaded = load_encoder(now, "", encoder_name, 1)
            remember_encoder(now.known_encoders, loaded.info)
            return build(
                now.library,
                encoder=loaded,
                store=opened,
                originals=originals(),
                options=BuildOptions(
                    workers=_workers(now),
                    batch_size=now.batch_size or BuildOptions.batch_size,
                    max_megapixels=now.max_megapixels,
                ),
                on_progress=lambda report: job.tick(report.seen, report.total),
            )

    return _start(f"Building with encoder {encoder_name}", work)


def start(title: str, work: Callable[[Job, VectorStore], Any]) -> Job:
    """Other long work on the library, as an evaluation."""

    def with_store(job: Job) -> Any:
        with _working(job) as opened:
            return work(job, opened)

    return _start(title, with_store)


def _start(title: str, work: Callable[[Job], Any]) -> Job:
    # Counts and choices on the screen are of before.
    return jobs().start(title, work, at_end=st.cache_data.clear)


@contextmanager
def _working(job: Job) -> Iterator[VectorStore]:
    """The store for long work: embedded, the page's own; of a server a patient one."""
    now = settings()
    with ExitStack() as stack:
        if not now.qdrant_url:
            yield stack.enter_context(opened_library(now.library))
            return

        def waiting(sentence: str) -> None:
            job.detail = sentence

        yield stack.enter_context(closing(_open_store(now, on_wait=waiting)))


def _ingest(
    job: Job, find: "Callable[[Roots], list[list[Source]]]", *, retry: bool = False
) -> "IngestReport":
    """One run for each list of sources; the report counts all of them."""
    from ingest.folder import NewFolder, unmade
    from ingest.pipeline import IngestOptions, ingest
    from ingest.report import IngestReport
    from ingest.source import Roots, SourceError

    now = settings()
    own = now.library_dir(now.library)
    folder = NewFolder(own)
    job.detail = "looking for pictures"
    if is_unfinished(own):
        with _working(job) as opened:
            take_back_unfinished(opened, now.library, own)
    runs = find(Roots(own / SOURCES))
    with _working(job) as opened, closing(Rejects(own / FILE_NAME)) as table:
        loaded = _library_encoder(now, opened)
        remember_encoder(now.known_encoders, loaded.info)
        whole = IngestReport(now.library, "")
        for sources in runs:

            def told(report: IngestReport) -> None:
                job.tick(
                    whole.seen + report.seen,
                    whole.seen + report.total,
                    f"{report.written:,} added, {report.skipped:,} unchanged, "
                    f"{report.rejected:,} left out",
                )

            report = ingest(
                sources,
                library=now.library,
                encoder=loaded,
                store=opened,
                library_dir=own,
                thumbnails_dir=own / "thumbnails",
                rejects=table,
                options=IngestOptions(
                    workers=_workers(now),
                    batch_size=now.batch_size,
                    max_megapixels=now.max_megapixels,
                    retry_rejects=retry,
                ),
                on_progress=told,
            )
            whole.add(report)
            whole.interrupted = report.interrupted
            if report.interrupted:
                break
    if not whole.collection:
        folder.discard()
        if whole.rejected and not whole.interrupted:
            reasons = [f"{one.path}: {one.reason}" for one in whole.rejects[:MOST_REASONS]]
            raise SourceError(unmade(whole, reasons))
    return whole


def _workers(now: Settings) -> int:
    """A core is left to the visitors."""
    return now.threads or max(1, usable_cores() - 1)


# --- the map ---------------------------------------------------------------------------------


@st.cache_data(ttl=300, max_entries=2, show_spinner="Reading the library …")
def vectors(
    library: str, collection: str, count: int, most: int
) -> tuple[list[str], np.ndarray, list[dict[str, Any]]]:
    """Up to `most` pictures spread evenly over the library: ids, embeddings, payloads.

    `collection` and `count` tell when what was read before is no longer the library.
    """
    every = max(1, -(-count // most))
    points = [
        point
        for number, point in enumerate(store().scroll(library, with_vectors=True))
        if number % every == 0 and point.vector is not None
    ]
    ids = [point.image_id for point in points]
    embeddings = np.stack([point.vector for point in points]) if points else np.empty((0, 2))
    return ids, embeddings, [dict(point.payload) for point in points]
