"""What the page's process keeps for all visitors: the store, encoders, and the background job."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import streamlit as st

from scenesearch.encoder.base import Encoder
from scenesearch.encoder.text_cache import TextEmbeddingCache
from scenesearch.home.installation import Installation
from scenesearch.home.library_files import LibraryFiles
from scenesearch.home.prometheus import TimedEncoder
from scenesearch.home.settings import Settings
from scenesearch.search.grammar import parse
from scenesearch.search.request import Request
from scenesearch.search.searcher import Searcher
from scenesearch.store.base import StoreError, VectorStore
from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Filter
from ui.access import is_place, shows_places
from ui.jobs import Job, Jobs
from ui.settings import page_settings

# After so long a visitor is told that the library is busy.
LOCK_WAIT_S = 5.0

# How often the page looks whether another process waits for its embedded library.
POLL_S = 0.3

# So long after its last use the library is released in any case: less memory, one thread less.
IDLE_S = 600.0


def installation(*, on_wait: Callable[[str], None] | None = None) -> Installation:
    return Installation(page_settings(), on_wait)


def library_files() -> LibraryFiles:
    """The files of the page's library."""
    return installation().files(page_settings().library)


# --- the store -------------------------------------------------------------------------------


@st.cache_resource(show_spinner="Opening the library …")
def store() -> VectorStore:
    """The one store of this process; a failure is raised and not cached."""
    reading = page_settings().page_read_only
    return installation().open_store(reading=reading, lock_wait_s=LOCK_WAIT_S)


class _Lease:
    """Counts who is using an embedded library. While nobody is, another process that waits for it
    gets it. If nobody waits it stays open: opening 100,000 pictures takes a second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._last_use = 0.0
        self._poller: threading.Thread | None = None

    @contextmanager
    def hold(self, store: VectorStore, library: str) -> Iterator[None]:
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                self._last_use = time.monotonic()
                if self._poller is None:
                    self._poller = threading.Thread(
                        target=self._poll, args=(store, library), daemon=True
                    )
                    self._poller.start()

    def _poll(self, store: VectorStore, library: str) -> None:
        """Runs until the library is released; the next user starts another poller."""
        while True:
            time.sleep(POLL_S)
            # Locked, so that nobody starts to use the library in the middle of this.
            with self._lock:
                if self._users:
                    continue
                idle_s = time.monotonic() - self._last_use
                # By its alias: with it go the collections that were opened for a comparison.
                with suppress(StoreError):
                    if not store.release(library, if_wanted=idle_s < IDLE_S) and idle_s < IDLE_S:
                        continue
                self._poller = None
                return


@st.cache_resource(show_spinner=False)
def _lease() -> _Lease:
    return _Lease()


@contextmanager
def leased_store() -> Iterator[VectorStore]:
    """The store; another process gets its embedded library only while nobody is inside."""
    opened, settings = store(), page_settings()
    if settings.qdrant_url:  # a server is shared anyway
        yield opened
        return
    with _lease().hold(opened, settings.library):
        yield opened


# --- the library, to be searched -------------------------------------------------------------


@dataclass(frozen=True)
class OpenLibrary:
    """The page's library, or one collection of it, ready to be searched."""

    settings: Settings
    store: VectorStore
    encoder: Encoder
    searcher: Searcher

    @property
    def library(self) -> str:
        return self.settings.library

    @property
    def fields(self) -> tuple[PayloadField, ...]:
        """The fields that this page shows, filters by and sorts by."""
        if shows_places(self.settings):
            return self.searcher.fields
        return tuple(field for field in self.searcher.fields if not is_place(field))

    def parse(self, text: str, *, where: Filter = ()) -> Request:
        """The request of a text; fields that are not shown cannot be asked for either."""
        return replace(parse(text, self.fields), where=where)


@contextmanager
def open_library(collection: str | None = None) -> Iterator[OpenLibrary]:
    """The page's library, or one collection of it, with the encoder that made its vectors."""
    settings = page_settings()
    with leased_store() as opened:
        name = collection or settings.library
        spec = opened.describe(name)
        # Before the encoder is loaded: opening a library takes 150 MB for a moment.
        count = opened.count(name)
        encoder = _encoder(spec.fingerprint, spec.encoder)
        searcher = _searcher(
            name,
            opened.resolve(name),
            spec.fingerprint,
            len(spec.fields),
            count.bit_length(),
            encoder,
        )
        yield OpenLibrary(settings, opened, encoder, searcher)


# Three: two that are compared, and one that is promoted while visitors still ask another.
@st.cache_resource(show_spinner="Loading the encoder …", max_entries=3)
def _encoder(fingerprint: str, name: str) -> Encoder:
    """One for the whole process, with a warm text tower: no visitor waits for that."""
    encoder = TimedEncoder(installation().load_encoder(name, fingerprint=fingerprint))
    encoder.encode_texts(["warm-up"])
    return encoder


@st.cache_resource(show_spinner=False, max_entries=3)
def _texts(fingerprint: str, _encoder: Encoder) -> TextEmbeddingCache:
    """Embeddings of the texts that visitors searched for last, kept for all of them."""
    return TextEmbeddingCache(_encoder)


# Making one reads some hundred vectors: 50 ms that no visitor should wait for.
@st.cache_resource(show_spinner=False, max_entries=4, ttl=600)
def _searcher(
    name: str, collection: str, fingerprint: str, fields: int, magnitude: int, _encoder: Encoder
) -> Searcher:
    """One for all visitors. It is made again when another collection is promoted, when there are
    new fields, or when the library has doubled, which changes what is unusual in it."""
    texts = _texts(fingerprint, _encoder)
    return installation().searcher(_encoder, store(), name, texts=texts)


# --- the background job ----------------------------------------------------------------------


@st.cache_resource(show_spinner=False)
def jobs() -> Jobs:
    return Jobs()


def start_job(title: str, work: Callable[[Job], object]) -> Job:
    """Start long work in the background; raises JobBusy while another job runs."""
    # At the end, counts and choices on the screen are out of date.
    return jobs().start(title, work, at_end=st.cache_data.clear)


@contextmanager
def job_store(job: Job) -> Iterator[VectorStore]:
    """The store for a job: the page's own if embedded, a patient one if it is a server."""
    if not page_settings().qdrant_url:
        with leased_store() as opened:
            yield opened
        return

    def show_wait(sentence: str) -> None:
        job.detail = sentence

    reading = page_settings().page_read_only
    with installation(on_wait=show_wait).store(reading=reading, patient=True) as opened:
        yield opened
