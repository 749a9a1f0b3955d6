"""What went wrong, in plain words, and what to do about it; also for a library that is missing."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import streamlit as st

from scenesearch.encoder.base import EncoderError, EncoderReplaced
from scenesearch.errors import SceneSearchError
from scenesearch.home.uploads import UploadError
from scenesearch.runtime.events import LOGGER
from scenesearch.search.relevance import CalibrationError
from scenesearch.search.request import QueryError
from scenesearch.store.base import (
    CollectionMissing,
    EncoderMismatch,
    IndexBusy,
    StoreUnavailable,
)
from ui.api_client import (
    ApiBusyError,
    ApiKeyRefusedError,
    ApiUnavailableError,
    ApiVersionError,
)
from ui.components import absent
from ui.ingest_jobs import start_sample
from ui.resources import jobs
from ui.settings import asks_server, page_settings
from ui.views.progress import show_progress

# Title and advice for each kind of error; the first that fits.
_EXPLANATIONS: dict[type[Exception], tuple[str, str]] = {
    IndexBusy: (
        "The library is in use by another program",
        "Wait until it has finished, or end it, then try again.",
    ),
    ApiUnavailableError: (
        "The API server does not answer",
        "Start it, or check SCENESEARCH_API_URL, then try again.",
    ),
    ApiKeyRefusedError: (
        "The API server refuses this page",
        "Give the page a key of the server in SCENESEARCH_API_KEY, then start the page again.",
    ),
    ApiBusyError: ("The API server is busy", "Try again in a moment."),
    ApiVersionError: (
        "The API server does not fit this page",
        "Run the same version of scenesearch for both.",
    ),
    StoreUnavailable: (
        "The store does not answer",
        "Start it, or check its address and key, then try again.",
    ),
    EncoderMismatch: ("This library was made with another encoder", ""),
    EncoderReplaced: ("This library was made with another encoder", ""),
    EncoderError: ("The encoder cannot be used", ""),
    CalibrationError: ("The encoder cannot be used", ""),
    SceneSearchError: ("This does not work now", ""),
    MemoryError: ("There is not enough memory", "Try again when other work has finished."),
    Exception: ("An error in the program", "What was done before is kept."),
}

# A mistake in what the visitor typed or brought: its sentence is for the visitor.
_VISITORS_MISTAKES = (QueryError, UploadError)


def error_message(error: SceneSearchError) -> str:
    """The error's sentence. A read-only page keeps it in the log, since it may name files,
    programs and addresses of this machine."""
    if isinstance(error, _VISITORS_MISTAKES) or not page_settings().page_read_only:
        return str(error)
    number = _log(error, logging.WARNING)
    return f"The page's administrator finds the reason in its log, under {number}."


def show_uncaught(error: Exception) -> bool:
    """The last boundary around every view, fragment, dialog and callback: shows what happened,
    logs it, offers a way on. Returns True: Streamlit shows nothing of its own.
    """
    if isinstance(error, SceneSearchError):
        _explain(error, error_message(error), key=f"go-on-{uuid4().hex[:8]}")
        return True
    number = _log(error, logging.ERROR)
    message = f"This view could not be drawn; the log of the page has the details, under {number}."
    _explain(error, message, key=f"go-on-{number}")
    return True


def _log(error: Exception, level: int) -> str:
    """Log it, an error in the program with its traceback; returns the number to find it by."""
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
def errors_shown(
    library: str, *, shows_progress: bool = False, part: str = "whole"
) -> Iterator[None]:
    """Show errors inside as an explanation; errors in the program pass through.

    `shows_progress` says that the view draws the background job itself: its buttons must not be on
    the screen twice. For the same reason, two explanations on one screen need two names of a
    `part`.
    """
    try:
        yield
    except CollectionMissing:
        st.subheader(":material/photo_library: There is no library of this name yet", anchor=False)
        st.text(f"“{library}” is created when the first pictures are added.")
        if part == "whole":
            _offer_to_add(shows_progress=shows_progress)
    except QueryError as error:
        st.text(str(error))
    except SceneSearchError as error:
        _explain(error, error_message(error), key="retry" if part == "whole" else f"retry-{part}")


def show_empty_library(library: str, *, shows_progress: bool = False) -> None:
    """The library exists and holds nothing."""
    st.subheader(":material/photo_library: This library is empty", anchor=False)
    st.text(f"Nothing has been added to “{library}” yet.")
    _offer_to_add(shows_progress=shows_progress)


def _offer_to_add(*, shows_progress: bool) -> None:
    if jobs().current is not None:
        if not shows_progress:
            show_progress()
    elif asks_server():
        absent("Pictures are added on the server: scenesearch ingest FOLDER.")
    elif not page_settings().page_read_only:
        st.text("Add your own pictures, or try the drawn sample pictures first.")
        with st.container(horizontal=True):
            st.button("Add my pictures", type="primary", key="add-own", on_click=_go_to_adding)
            if st.button("Load the sample pictures", key="sample"):
                start_sample()
                st.rerun()
            st.button("Look again", key="retry")
        return
    st.button("Look again", key="retry")


def _go_to_adding() -> None:
    """The page goes there next, see `ui.app`."""
    st.session_state["to_adding"] = True


def _explain(error: Exception, message: str, *, key: str) -> None:
    title, advice = next(
        explanation for kind, explanation in _EXPLANATIONS.items() if isinstance(error, kind)
    )
    with st.container(border=True, key=f"failure-{key}"):
        st.subheader(f":material/error: {title}", anchor=False)
        st.text(message)
        if advice:
            st.text(advice)
        with st.container(horizontal=True):
            st.button("Try again", type="primary", key=key)
            st.button("Start over", type="tertiary", key=f"anew-{key}", on_click=_start_over)


def _start_over() -> None:
    """Without the text, filters and choices that may have led here."""
    st.query_params.clear()
    st.session_state.clear()
