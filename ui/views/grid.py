"""Pictures as cards in a grid; a click on one opens it."""

from collections.abc import Sequence

import streamlit as st

from scenesearch.search.request import Request
from ui.pictures import Picture
from ui.resources import OpenLibrary, installation
from ui.selection import draw_checkbox
from ui.views.picture_dialog import show_picture

# The original's disk is away; the thumbnail is the library's own.
_OFFLINE = "\N{EJECT SYMBOL} offline"


def show_grid(
    opened: OpenLibrary,
    pictures: Sequence[Picture],
    *,
    first: int = 1,
    key: str = "grid",
    request: Request | None = None,
    selectable: bool = True,
) -> None:
    """The cards in as many columns as fit, two on a phone, numbered from `first`.

    `request` is what the pictures were found by.
    """
    clicked = None
    presence = installation().presence(opened.library)
    # Each element is a message of its own to the browser, and an answer waits for the last one:
    # style.py does what `st.grid`'s cells and a container for each part of a card would do.
    with st.container(key=key):
        for number, picture in enumerate(pictures, start=first):
            with st.container(key=f"card-{number}"):
                thumbnail = picture.thumbnail()
                st.image(thumbnail, width="stretch", alt=picture.title)
                # Its label is read out and never shown: style.py lays the button over the picture.
                if st.button(f"Open picture {number}", key=f"open-{number}"):
                    clicked = picture, thumbnail
                if selectable:
                    draw_checkbox(number, picture)
                st.text(picture.title)
                badge = _OFFLINE if presence.offline(picture.path) else ""
                if badge or picture.detail:
                    st.text(" · ".join(part for part in (badge, picture.detail) if part))
    if clicked is not None:
        show_picture(opened, *clicked, request)
