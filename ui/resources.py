"""What the page's process keeps for all visitors: the store, encoders, and the background job."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import streamlit as st
from PIL.Image import Image

from scenesearch.encoder.base import Encoder
from scenesearch.encoder.text_cache import TextEmbeddingCache
from scenesearch.home.installation import Installation
from scenesearch.home.library_files import LibraryFiles
from scenesearch.home.prometheus import TimedEncoder
from scenesearch.home.settings import Settings
from scenesearch.search.grammar import parse
from scenesearch.search.presence import Presence
from scenesearch.search.request import QueryError, Request
from scenesearch.search.searcher import Searcher
from scenesearch.search.why import Why, why
from scenesearch.store.base import CollectionSpec, StoreError, VectorStore
from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Filter
from ui.access import is_place, shows_places
from ui.api_client import ApiClient, ApiError
from ui.api_library import ApiLibrary, ApiSearcher, ApiStore
from ui.jobs import Job, Jobs
from ui.settings import (
    asks_server,
    in_this_library,
    may_choose_library,
    page_settings,
    usual_library,
)

# After so long a visitor is told that the library is busy.
LOCK_WAIT_S = 5.0

# How often the page looks whether another process waits for its embedded library.
POLL_S = 0.3

# So long an answer of an API server is taken to be as it was.
_API_FRESH_S = 30.0

# So long after its last use the library is released in any case: less memory, one thread less.
IDLE_S = 600.0


def installation(*, on_wait: Callable[[str], None] | None = None) -> Installation:
    return Installation(page_settings(), on_wait)


def library_files() -> LibraryFiles:
    """The files of the page's library."""
    return installation().files(page_settings().library)


@st.cache_resource(show_spinner=False)
def api_library() -> ApiLibrary | None:
    """The library of the server that this page asks; None where it has one of its own."""
    settings = page_settings()
    if settings.api_url is None:
        return None
    key = settings.api_key.get_secret_value() if settings.api_key else None
    return ApiLibrary(ApiClient(settings.api_url, key), settings.library)


def presence() -> Presence | ApiLibrary:
    """Which originals are away now."""
    return api_library() or installation().presence(page_settings().library)


# --- the store -------------------------------------------------------------------------------


@st.cache_resource(show_spinner="Opening the library …")
def store() -> VectorStore | ApiStore:
    """The one store of this process, or the server in its place; a failure is raised and not
    cached."""
    if (library := api_library()) is not None:
        return ApiStore(library)
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
def _lease(library: str) -> _Lease:
    return _Lease()


@contextmanager
def leased_store() -> Iterator[VectorStore]:
    """The page's own store; another process gets its embedded library only while nobody is
    inside. Raises ApiError where the page asks a server."""
    opened, settings = store(), page_settings()
    if isinstance(opened, ApiStore):
        raise ApiError("this is done on the API server, not on this page")
    if settings.qdrant_url:  # a server is shared anyway
        yield opened
        return
    with _lease(settings.library).hold(opened, settings.library):
        yield opened


@contextmanager
def readable_store() -> Iterator[VectorStore | ApiStore]:
    """The store, to read from, wherever it is."""
    opened = store()
    if isinstance(opened, ApiStore):
        yield opened
        return
    with leased_store() as leased:
        yield leased


# --- the library, to be searched -------------------------------------------------------------


@dataclass(frozen=True)
class OpenLibrary:
    """The page's library, or one collection of it, ready to be searched."""

    settings: Settings
    store: VectorStore | ApiStore
    searcher: Searcher | ApiSearcher
    encoder_name: str
    # What made a picture relevant to a request: by its id, and the picture itself, made smaller.
    why: Callable[[Request, str, Image], Why]

    @property
    def library(self) -> str:
        return self.settings.library

    @property
    def version(self) -> str:
        """A text that is another one after the library's pictures changed, or a disk with some of
        them went away or came back."""
        if isinstance(self.store, ApiStore):  # which tells no more than the number of pictures
            return f"{self.store.count(self.library)} {time.monotonic() // _API_FRESH_S}"
        return f"{self.store.version(self.library)} {presence()}"

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
    if collection is None and (library := api_library()) is not None:
        there, encoder_name = ApiSearcher(library), library.describe().encoder
        yield OpenLibrary(settings, ApiStore(library), there, encoder_name, there.why)
        return
    with leased_store() as opened:
        name = collection or settings.library
        spec = opened.describe(name)
        # Before the encoder is loaded: opening a library takes 150 MB for a moment.
        count = opened.count(name)
        encoder = _encoder(spec.fingerprint, spec)
        searcher = _searcher(
            name,
            opened.resolve(name),
            spec.fingerprint,
            len(spec.fields),
            count.bit_length(),
            encoder,
            opened,
        )

        def explain(request: Request, image_id: str, image: Image) -> Why:
            point = opened.retrieve(name, [image_id], with_vectors=True).get(image_id)
            if point is None or point.vector is None:
                raise QueryError("the picture is gone")
            return why(searcher, encoder, request, image_id, point.vector, image, point.payload)

        yield OpenLibrary(settings, opened, searcher, encoder.info.name, explain)


# Three: two that are compared, and one that is promoted while visitors still ask another.
@st.cache_resource(show_spinner="Loading the encoder …", max_entries=3)
def _encoder(fingerprint: str, _spec: CollectionSpec) -> Encoder:
    """One for the whole process, with a warm text tower: no visitor waits for that."""
    encoder = TimedEncoder(installation().load_encoder(of=_spec))
    encoder.encode_texts(["warm-up"])
    return encoder


@st.cache_resource(show_spinner=False, max_entries=3)
def _texts(fingerprint: str, _encoder: Encoder) -> TextEmbeddingCache:
    """Embeddings of the texts that visitors searched for last, kept for all of them."""
    return TextEmbeddingCache(_encoder)


# Making one reads some hundred vectors: 50 ms that no visitor should wait for.
@st.cache_resource(show_spinner=False, max_entries=4, ttl=600)
def _searcher(
    name: str,
    collection: str,
    fingerprint: str,
    fields: int,
    magnitude: int,
    _encoder: Encoder,
    _store: VectorStore,
) -> Searcher:
    """One for all visitors. It is made again when another collection is promoted, when there are
    new fields, or when the library has doubled, which changes what is unusual in it."""
    texts = _texts(fingerprint, _encoder)
    return installation().searcher(_encoder, _store, name, texts=texts)


# --- the background job ----------------------------------------------------------------------


@st.cache_resource(show_spinner=False)
def jobs() -> Jobs:
    return Jobs()


def start_job(title: str, work: Callable[[Job], object]) -> Job:
    """Start long work in the background; raises JobBusy while another job runs."""
    # At the end, counts and choices on the screen are out of date.
    return jobs().start(title, in_this_library(work), at_end=st.cache_data.clear)


@st.cache_data(ttl=10, show_spinner=False)
def libraries() -> list[str]:
    """The names of the libraries that a visitor may choose from; at most ten seconds old."""
    opened = store()
    if isinstance(opened, ApiStore) or not may_choose_library():
        return [usual_library()]
    return sorted(opened.aliases())


@contextmanager
def job_store(job: Job) -> Iterator[VectorStore]:
    """The store for a job: the page's own if embedded, a patient one if it is a server."""
    if asks_server() or not page_settings().qdrant_url:
        with leased_store() as opened:
            yield opened
        return

    def show_wait(sentence: str) -> None:
        job.detail = sentence

    reading = page_settings().page_read_only
    with installation(on_wait=show_wait).store(reading=reading, patient=True) as opened:
        yield opened
