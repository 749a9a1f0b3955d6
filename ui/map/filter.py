"""The filter by place in the sidebar: a box that is dragged on a small map."""

import streamlit as st

from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Within
from ui.components import label
from ui.filters.chosen import choose, chosen
from ui.map.canvas import draw_map
from ui.map.chosen import box_of
from ui.map.places import places
from ui.resources import OpenLibrary
from ui.settings import asks_server


def chosen_box(field: PayloadField) -> Within | None:
    """The box that is chosen for this field with places, in the session or in the address: south,
    west, north and east, as the grammar writes it."""
    box = box_of(next(iter(chosen(field.name)), None))
    return None if box is None else Within(field.name, *box)


def show_place_filter(opened: OpenLibrary, field: PayloadField) -> None:
    """Draw the map to drag a box on. Pictures' places are read once somebody opens it."""
    if asks_server():
        return
    box = chosen_box(field)
    title = f"{label(field.label)} on a map"
    if not st.toggle(title, value=box is not None, key=f"place-map-{field.name}"):
        return
    located = places(opened, field.name)
    if not located.ids:
        st.text("No picture of this library has a place.")
        return
    key = f"small-map-{field.name}"
    draw_map(
        "place",
        located.shown(),
        key=key,
        small=True,
        box=[box.west, box.south, box.east, box.north] if box else None,
        on_box=lambda: _take_box(field.name, key),
    )


def _take_box(name: str, key: str) -> None:
    """What the map says becomes the filter, before the page is drawn."""
    drawn = st.session_state[key].box
    written = ""
    if isinstance(drawn, list) and len(drawn) == 4:
        west, south, east, north = drawn
        written = f"{south:.4f},{west:.4f},{north:.4f},{east:.4f}"
    choose(name, [written] if box_of(written) else [])
