"""What went wrong, in words, and what to do about it."""

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from scenesearch.encoder.base import EncoderError
from scenesearch.errors import SceneSearchError
from scenesearch.query import QueryError
from scenesearch.relevance import CalibrationError
from scenesearch.store.base import (
    CollectionMissing,
    EncoderMismatch,
    IndexBusy,
    StoreUnavailable,
)
from ui import resources
from ui.jobs import Job
from ui.views.progress import show_progress

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
    except QueryError as error:
        st.text(str(error))
    except SceneSearchError as error:
        kind = next(kind for kind in _TITLES if isinstance(error, kind))
        _explain(_TITLES[kind], str(error), _ADVICE.get(kind, ""))


def no_library(library: str) -> None:
    """Nothing has been ingested under that name."""
    st.subheader(":material/photo_library: There is no library of this name yet", anchor=False)
    st.text(f"“{library}” is made with the first pictures that are added to it.")
    _ways_to_begin()


def empty_library(library: str) -> None:
    """The library is there and holds nothing."""
    st.subheader(":material/photo_library: This library is empty", anchor=False)
    st.text(f"Nothing has been added to “{library}” yet.")
    _ways_to_begin()


def _ways_to_begin() -> None:
    job = _working()
    if job is not None:
        show_progress()
    elif not resources.settings().page_read_only:
        st.text("Add your own pictures, or look around in drawn ones first.")
        with st.container(horizontal=True):
            st.button("Add my pictures", type="primary", key="add-own", on_click=_to_adding)
            if st.button("Load the sample pictures", key="sample"):
                resources.start_sample()
                st.rerun()
            st.button("Look again", key="retry")
        return
    st.button("Look again", key="retry")


def _to_adding() -> None:
    """Where the page goes next, see `ui.app`."""
    st.session_state["to_adding"] = True


def _working() -> Job | None:
    return resources.jobs().current


def _explain(title: str, message: str, advice: str) -> None:
    with st.container(border=True, key="failure"):
        st.subheader(f":material/error: {title}", anchor=False)
        st.text(message)
        if advice:
            st.text(advice)
        st.button("Try again", type="primary", key="retry")
