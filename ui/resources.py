"""What the page keeps for the whole process: settings, store, encoder, the filters' choices."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import streamlit as st

from scenesearch.encoder.base import Encoder
from scenesearch.encoder.known import find_by_fingerprint
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.vectors import TextVectors
from scenesearch.settings import Settings
from scenesearch.store.base import CollectionSpec, StoreError, VectorStore
from scenesearch.store.filters import Range
from scenesearch.store.open import open_store
from ui.launch import page_settings

# More values than this are not listed; the filter then takes typed ones too.
MAX_CHOICES = 200

# So long after its last use an embedded library is let go, for an ingest that waits for it.
IDLE_S = 5.0

_LONG_AGO = datetime(1, 1, 2, tzinfo=UTC)


@st.cache_resource(show_spinner=False)
def settings() -> Settings:
    return page_settings()


@st.cache_resource(show_spinner="Opening the library …")
def store() -> VectorStore:
    """The one store of this process; a failure is raised and not remembered."""
    now = settings()
    return open_store(
        edge_dir=now.edge_dir,
        qdrant_url=now.qdrant_url,
        qdrant_api_key=now.qdrant_api_key.get_secret_value() if now.qdrant_api_key else None,
        grpc_port=now.qdrant_grpc_port,
        timeout_s=now.qdrant_timeout_s,
    )


class _Lease:
    """Counts the sessions at work, and lets go of a library when none has been for a while."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._at_work = 0
        self._timer: threading.Timer | None = None

    @contextmanager
    def held(self, store: VectorStore, library: str) -> Iterator[None]:
        with self._guard:
            self._at_work += 1
            if self._timer is not None:
                self._timer.cancel()
        try:
            yield
        finally:
            with self._guard:
                self._at_work -= 1
                self._timer = threading.Timer(IDLE_S, self._let_go, (store, library))
                self._timer.daemon = True
                self._timer.start()

    def _let_go(self, store: VectorStore, library: str) -> None:
        # The guard keeps a session from beginning its work in the middle of this.
        with self._guard, suppress(StoreError):
            if self._at_work == 0:
                store.release(library)


@st.cache_resource(show_spinner=False)
def _lease() -> _Lease:
    return _Lease()


@contextmanager
def opened_library(library: str) -> Iterator[VectorStore]:
    """The store, whose embedded library stays open inside and is let go once nobody asks."""
    opened = store()
    with _lease().held(opened, library):
        yield opened


def encoder(spec: CollectionSpec) -> Encoder:
    """The encoder whose vectors the library holds now; another one after a promote."""
    return _encoder(spec.fingerprint, spec.encoder)


# Two, for the moment in which one library is promoted while sessions still ask the old one.
@st.cache_resource(show_spinner="Loading the encoder …", max_entries=2)
def _encoder(fingerprint: str, name: str) -> Encoder:
    """One for the whole process, its text tower warm: no visitor waits for it."""
    loaded = load_encoder(settings(), fingerprint, name)
    loaded.encode_texts(["warm-up"])
    return loaded


@st.cache_resource(show_spinner=False, max_entries=2)
def texts(fingerprint: str, _encoder: Encoder) -> TextVectors:
    """Embeddings of what visitors last asked, kept for all of them."""
    return TextVectors(_encoder)


def load_encoder(settings: Settings, fingerprint: str, name: str) -> Encoder:
    folder = find_by_fingerprint(
        fingerprint,
        name,
        default=settings.encoder,
        shelf=settings.models_dir,
        file=settings.known_encoders,
    )
    return OnnxEncoder(folder, threads=settings.threads)


@st.cache_data(ttl=60, show_spinner=False)
def choices(library: str, field: str) -> list[str | int | bool]:
    """The field's values in the library, most frequent first; a minute old at most."""
    return [value for value, _ in store().facet(library, field, limit=MAX_CHOICES)]


@st.cache_data(ttl=60, show_spinner=False)
def has_values(library: str, field: str) -> bool:
    """Whether any picture has this date field; a minute old at most."""
    return store().count(library, where=(Range(field, at_least=_LONG_AGO),)) > 0
