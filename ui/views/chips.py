"""The filters of a request, each as a button that removes it: those of its text from the search
box, those of the sidebar there."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import streamlit as st

from scenesearch.search.quoting import shortened
from scenesearch.search.request import Request
from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Plain
from ui.api_library import as_written
from ui.components import label
from ui.views.sidebar import clear_filter


def show_chips(request: Request, fields: Sequence[PayloadField], *, box: str) -> None:
    """A button for each filter that must hold; a group in parentheses is one, and so is what one of
    the `fields` is filtered by in the sidebar. `box` is the key of the request's text box."""
    if not request.filters and not request.where:
        return
    with st.container(
        horizontal=True, vertical_alignment="center", gap="small", key="chips", width="content"
    ):
        for number, one in enumerate(request.filters):
            others = request.filters[:number] + request.filters[number + 1 :]
            text = str(replace(request, filters=others))
            _show_chip(str(one), f"chip-{number}", _write, box, text)
        for condition in request.where:
            if isinstance(condition, Plain):  # the sidebar has no others
                name = condition.field
                written = " ".join(map(str, as_written((condition,), fields)))
                _show_chip(written, f"chip-where-{name}", clear_filter, name, fields)


def _show_chip(written: str, key: str, remove: Callable[..., None], *arguments: object) -> None:
    st.button(
        label(shortened(written)),
        key=key,
        icon=":material/close:",
        help=f"Remove {label(written)}",
        on_click=remove,
        args=arguments,
    )


def _write(box: str, text: str) -> None:
    """Put the text in the box; a callback, since widgets can only be set before they are drawn."""
    st.session_state[box] = text
