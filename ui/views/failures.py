"""What went wrong, in words, and what to do about it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import streamlit as st

from scenesearch.encoder.base import EncoderError
from scenesearch.errors import SceneSearchError
from scenesearch.runtime.events import LOGGER
from scenesearch.search.relevance import CalibrationError
from scenesearch.search.request import QueryError
from scenesearch.store.base import (
    CollectionMissing,
    EncoderMismatch,
    IndexBusy,
    StoreUnavailable,
)
from ui import resources
from ui.uploads import UploadError
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

# What is wrong with what a visitor asked for or brought: their own words, for them.
_OF_THE_VISITOR = (QueryError, UploadError)


def words_for(error: SceneSearchError) -> str:
    """The error's sentence; on a page for reading it is the log's, for it may name files, programs
    and addresses of this machine."""
    if isinstance(error, _OF_THE_VISITOR) or not resources.settings().page_read_only:
        return str(error)
    number = _logged(error, logging.WARNING)
    return f"Whoever runs this page finds the reason in its log, under {number}."


def tell_uncaught(error: Exception) -> bool:
    """The one boundary around every view, fragment, dialog and callback: say what happened, log it,
    offer to go on. Returns True: Streamlit shows nothing of its own.
    """
    if isinstance(error, SceneSearchError):
        title, said = _kind_of(error)
        _explain(title, words_for(error), said, key=f"go-on-{uuid4().hex[:8]}")
        return True
    number = _logged(error, logging.ERROR)
    if isinstance(error, MemoryError):
        title, said = "There is not enough memory", "Other work may end soon: then it will do."
    else:
        title, said = "An error in the program", "What was done before is kept."
    told = f"This view could not be drawn; the log of the page has the details, under {number}."
    _explain(title, told, said, key=f"go-on-{number}")
    return True


def _logged(error: Exception, level: int) -> str:
    """Log it with its traceback; returns the number to find it by."""
    number = uuid4().hex[:8]
    LOGGER.log(
        level,
        "page: %s: %s",
        type(error).__name__,
        error,
        exc_info=error if level >= logging.ERROR else None,
        extra={"event": "page_error", "number": number},
    )
    return number


@contextmanager
def told_in_words(
    library: str, *, shows_progress: bool = False, part: str = "whole"
) -> Iterator[None]:
    """Show what fails inside as an explanation; a bug is no such failure and surfaces.

    `shows_progress` says that the view itself draws what goes on in the background: twice on one
    screen its buttons would be the same buttons twice. So would those of two explanations that
    are of the same `part` of the screen.
    """
    try:
        yield
    except CollectionMissing:
        no_library(library, shows_progress=shows_progress, part=part)
    except QueryError as error:
        st.text(str(error))
    except SceneSearchError as error:
        title, advice = _kind_of(error)
        _explain(title, words_for(error), advice, key=_retry_key(part))


def _kind_of(error: SceneSearchError) -> tuple[str, str]:
    """Title and advice."""
    kind = next(kind for kind in _TITLES if isinstance(error, kind))
    return _TITLES[kind], _ADVICE.get(kind, "")


def _retry_key(part: str) -> str:
    return "retry" if part == "whole" else f"retry-{part}"


def no_library(library: str, *, shows_progress: bool, part: str = "whole") -> None:
    """Nothing has been ingested under that name."""
    st.subheader(":material/photo_library: There is no library of this name yet", anchor=False)
    st.text(f"“{library}” is made with the first pictures that are added to it.")
    if part == "whole":
        _ways_to_begin(shows_progress=shows_progress)


def empty_library(library: str, *, shows_progress: bool = False) -> None:
    """The library is there and holds nothing."""
    st.subheader(":material/photo_library: This library is empty", anchor=False)
    st.text(f"Nothing has been added to “{library}” yet.")
    _ways_to_begin(shows_progress=shows_progress)


def _ways_to_begin(*, shows_progress: bool) -> None:
    if resources.jobs().current is not None:
        if not shows_progress:
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


def _explain(title: str, message: str, advice: str, *, key: str) -> None:
    with st.container(border=True, key=f"failure-{key}"):
        st.subheader(f":material/error: {title}", anchor=False)
        st.text(message)
        if advice:
            st.text(advice)
        with st.container(horizontal=True):
            st.button("Try again", type="primary", key=key)
            st.button("Begin anew", type="tertiary", key=f"anew-{key}", on_click=_begin_anew)


def _begin_anew() -> None:
    """Without the words, filters and choices that may have led here."""
    st.query_params.clear()
    st.session_state.clear()
