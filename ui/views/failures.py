"""What went wrong, in words, and what to do about it."""

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from scenesearch.encoder.base import EncoderError
from scenesearch.errors import SceneSearchError
from scenesearch.relevance import CalibrationError
from scenesearch.store.base import (
    CollectionMissing,
    EncoderMismatch,
    IndexBusy,
    StoreUnavailable,
)

_TITLES: dict[type[Exception], str] = {
    IndexBusy: "The library is in use by another program",
    StoreUnavailable: "The store does not answer",
    EncoderMismatch: "This library was made with another encoder",
    EncoderError: "The encoder cannot be used",
    CalibrationError: "The encoder cannot be used",
    SceneSearchError: "This does not work now",
}
_ADVICE: dict[type[Exception], str] = {
    IndexBusy: "Wait until it has finished, or end it, then try again.",
    StoreUnavailable: "Start it, or check its address and key, then try again.",
}


@contextmanager
def told_in_words(library: str) -> Iterator[None]:
    """Show what fails inside as an explanation; a bug is no such failure and surfaces."""
    try:
        yield
    except CollectionMissing:
        no_library(library)
    except SceneSearchError as error:
        kind = next(kind for kind in _TITLES if isinstance(error, kind))
        _explain(_TITLES[kind], str(error), _ADVICE.get(kind, ""))


def no_library(library: str) -> None:
    """Nothing has been ingested under that name."""
    st.subheader(":material/photo_library: There is no library of this name yet")
    st.text(f"Make “{library}” from a folder of pictures:")
    _ingest_command(library)
    st.text("Or see it work on a drawn sample library:")
    st.code("scenesearch demo", language="shell")
    st.button("Look again", key="retry")


def empty_library(library: str) -> None:
    """The library is there and holds nothing."""
    st.subheader(":material/photo_library: This library is empty")
    st.text(f"Put pictures into “{library}”:")
    _ingest_command(library)
    st.button("Look again", key="retry")


def _ingest_command(library: str) -> None:
    st.code(f"scenesearch ingest FOLDER --library {library}", language="shell")


def _explain(title: str, message: str, advice: str) -> None:
    with st.container(border=True, key="failure"):
        st.subheader(f":material/error: {title}")
        st.text(message)
        if advice:
            st.text(advice)
        st.button("Try again", type="primary", key="retry")
