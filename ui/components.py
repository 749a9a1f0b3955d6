"""Parts of the screen that several views share: cards in a grid, paging, text that stays text.

Whatever a library holds (captions, tags, folders, file names, its own field names) is a
stranger's text. It is shown with `st.text`, which knows no markup, or through `label`.
"""

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from ui.style import KEYS, STYLE

PAGE_SIZE = 24

_WORD_JOINER = "\u2060"  # as wide as nothing
_INERT = str.maketrans({mark: f"\\{mark}{_WORD_JOINER}" for mark in string.punctuation})


@dataclass(frozen=True)
class Card:
    """One picture of a grid: its number on the screen, its thumbnail and its words."""

    number: int
    image_id: str
    thumbnail: bytes
    title: str
    detail: str = ""


def style() -> None:
    st.html(STYLE)
    st.html(KEYS, unsafe_allow_javascript=True)


def label(text: str) -> str:
    """Text for a widget's label or help, where Streamlit would read Markdown.

    A backslash stops Markdown; the word joiner after each mark also stops what Streamlit looks
    for later in the finished text: emoji and icon names, links, arrows.
    """
    return " ".join(text.split()).translate(_INERT)


def small(text: str, *, key: str) -> None:
    """Small, quiet text; the key has to be new on the screen."""
    with st.container(key=f"small-{key}"):
        st.text(text)


def grid(
    cards: Sequence[Card],
    on_open: Callable[[Card], None],
    *,
    key: str = "grid",
    pick: Callable[[Card], None] | None = None,
) -> None:
    """Cards in as many columns as fit, two on a phone; a click on a picture opens it.

    `pick` draws what selects a card.
    """
    opened = None
    # Each element is a message of its own to the browser, and an answer waits for the last one:
    # style.py does what `st.grid`'s cells and a container for each part of a card would.
    with st.container(key=key):
        for card in cards:
            with st.container(key=f"card-{card.number}"):
                st.image(card.thumbnail, width="stretch", alt=card.title)
                # Its label is read out and never shown: style.py lays the button over the picture.
                if st.button(f"Open picture {card.number}", key=f"open-{card.number}"):
                    opened = card
                if pick is not None:
                    pick(card)
                st.text(card.title)
                if card.detail:
                    st.text(card.detail)
    if opened is not None:
        on_open(opened)


def page_of(asked: Any) -> int:
    """The page to show, from 0; another question begins at its first page."""
    if st.session_state.get("paged") != asked:
        st.session_state["paged"] = asked
        st.session_state["page"] = 0
    page: int = st.session_state["page"]
    return page


def pager(page: int, *, has_next: bool) -> None:
    """Buttons to the neighbouring pages, where there are any."""
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


def title_of(payload: dict[str, Any], image_id: str) -> str:
    """What to call a picture: its first caption, else its file name."""
    captions = payload.get("captions") or ()
    return next((text for text in captions if text.strip()), "") or Path(image_id).name


def duration(seconds: float) -> str:
    """Time in words a person would use: '12 s', '3 min', '2 h 10 min'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
