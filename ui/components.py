"""Parts of the screen that several views share: style, small text, paging.

Whatever a library holds (captions, tags, folders, file names, its own field names) was written by
strangers. It is shown with `st.text`, which knows no markup, or through `label`.
"""

import string
from collections.abc import Callable, Sequence
from typing import NoReturn

import pandas as pd
import streamlit as st

from scenesearch.errors import SceneSearchError
from ui.style import KEYS, TABLE_ROWS

PAGE_SIZE = 24

_WORD_JOINER = "\u2060"  # has no width
_ESCAPED = str.maketrans({mark: f"\\{mark}{_WORD_JOINER}" for mark in string.punctuation})


def keys() -> None:
    """Install what the page's own elements cannot do; its style sheet is in the document."""
    with st.container(key="keys"):
        st.html(KEYS, unsafe_allow_javascript=True)


def label(text: str) -> str:
    """Text for a widget's label or help, where Streamlit would read Markdown.

    A backslash stops Markdown. The word joiner after each mark also stops what Streamlit looks
    for later in the finished text: emoji and icon names, links, arrows.
    """
    return " ".join(text.split()).translate(_ESCAPED)


def small(text: str, *, key: str) -> None:
    """Small, quiet text; the key must be new on the screen."""
    with st.container(key=f"small-{key}"):
        st.text(text)


def table(frame: pd.DataFrame, *, alt: str, key: str) -> None:
    """A table, with its room before the browser draws it; the key must be new on the screen."""
    with st.container(key=f"rows-{min(len(frame), TABLE_ROWS)}-{key}"):
        st.dataframe(frame, hide_index=True, alt=alt)


def absent(what: str) -> None:
    """Say where something is done that this page, which asks a server, cannot do."""
    small(f"This page asks an API server. {what}", key="absent")


def say_and_rerun(sentence: str) -> NoReturn:
    """Draw the page again, since its counts and choices are others now, and say why."""
    st.cache_data.clear()
    # A toast of this run is lost where the next one begins before it was sent.
    st.session_state["said"] = sentence
    st.rerun()


def show_said() -> None:
    """Say what the run before wanted to be said."""
    if sentence := st.session_state.pop("said", ""):
        st.toast(label(sentence), icon=":material/check_circle:")


def choose_part(name: str, parts: Sequence[str], *, key: str) -> str:
    """Buttons for the parts of a view; returns the chosen one, at first the first."""
    chosen = st.segmented_control(
        name,
        parts,
        default=parts[0],
        required=True,
        key=key,
        label_visibility="collapsed",
        persist_state="session",
    )
    return chosen or parts[0]


def start_and_rerun(start: Callable[[], object], *, key: str) -> None:
    """Start a background job and draw the page with its progress, or say why it cannot start."""
    try:
        start()
    except SceneSearchError as error:
        small(str(error), key=key)
    else:
        st.rerun()


def current_page(question: object) -> tuple[int, dict[int, str | None]]:
    """The page to show, from 0, and where each page seen so far begins; another question begins
    at its first page.

    A page begins after the last picture of the page before, whatever has been added meanwhile, and
    page 400 is found without reading those before it.
    """
    if st.session_state.get("paged") != question:
        st.session_state["paged"] = question
        st.session_state["page"] = 0
        st.session_state["starts"] = {}
    return st.session_state["page"], st.session_state["starts"]


def pager(page: int, *, has_next: bool) -> None:
    """Buttons for the previous and the next page, if there are any."""
    if page == 0 and not has_next:
        return
    with st.container(
        horizontal=True, horizontal_alignment="center", vertical_alignment="center", key="pager"
    ):
        st.button("Previous", on_click=_turn_to, args=(page - 1,), disabled=page == 0)
        st.text(f"Page {page + 1}")
        st.button("Next", on_click=_turn_to, args=(page + 1,), disabled=not has_next)


def _turn_to(page: int) -> None:
    st.session_state["page"] = page
