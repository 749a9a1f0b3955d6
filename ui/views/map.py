"""The map: the library by likeness and by place, to zoom into, to select from, to look at."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from scenesearch.search.library_map import LibraryMap
from scenesearch.store.fields import PayloadField
from ui.components import choose_part, small, start_and_rerun
from ui.jobs import JobBusy
from ui.map.canvas import draw_map
from ui.map.chosen import number_of, part_of, selected
from ui.map.colours import COLOURED_BY, Colours, colours_of
from ui.map.likeness import FEW, TITLE, make_map, read_map
from ui.map.places import place_field, places
from ui.map.shown import packed, shown_maps
from ui.resources import OpenLibrary, jobs, leased_store, open_library, start_job
from ui.settings import page_settings
from ui.views.errors import errors_shown, show_empty_library
from ui.views.gallery import show_gallery
from ui.views.progress import show_progress

_BY_LIKENESS, _BY_PLACE = "By likeness", "By place"
# Every picture has a value of its own.
_ALL_DIFFERENT = ("image_id", "sha256", "phash")
# So many pictures around one that was opened.
_AROUND = 60


def show() -> None:
    library = page_settings().library
    st.title("Map", anchor=False)
    _forget_finished()
    show_progress()
    with errors_shown(library, shows_progress=True), open_library() as opened:
        if opened.store.count(library) == 0:
            show_empty_library(library, shows_progress=True)
            return
        located = place_field(opened)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            part = _BY_LIKENESS
            if located is not None:
                part = choose_part("Map", [_BY_LIKENESS, _BY_PLACE], key="which-map")
            field = None if part == _BY_PLACE else _colour_field(opened)
        if located is not None and part == _BY_PLACE:
            _by_place(opened, located)
        else:
            _by_likeness(opened, field)


def _colour_field(opened: OpenLibrary) -> PayloadField | None:
    """The field that the points are to be coloured by."""
    fields = [f for f in opened.fields if f.type in COLOURED_BY and f.name not in _ALL_DIFFERENT]
    # What the page filters by is what tells pictures apart.
    fields.sort(key=lambda field: field.widget == "none")
    by_label = {field.label: field for field in fields}
    chosen = st.selectbox(
        "Colour by",
        list(by_label),
        index=None,
        placeholder="Colour by a field",
        label_visibility="collapsed",
        key="colour",
        width=240,
    )
    return by_label.get(chosen or "")


def _by_likeness(opened: OpenLibrary, field: PayloadField | None) -> None:
    found = _current_map(opened)
    if found is None:
        return
    token, shown = shown_maps().keep(found.ids, packed(found.places, found.labels))
    colour: dict[str, object] | None = None
    if field is not None:
        found_colours = _colours(opened, field, found)
        shown.colour(field.name, found_colours.codes)
        colour = {
            "field": field.name,
            "names": found_colours.names,
            "low": found_colours.low,
            "high": found_colours.high,
        }
    parts: list[list[object]] = [[p.name, p.x, p.y, p.count, p.within] for p in found.parts]
    _draw(
        opened,
        "likeness",
        found.ids,
        found.places,
        lambda: draw_map("likeness", token, key="likeness", parts=parts, colour=colour),
        lambda chosen: _in_likeness(chosen, found),
    )


def _in_likeness(chosen: Any, found: LibraryMap) -> NDArray[np.intp] | None:
    part = part_of(chosen, len(found.parts))
    return selected(chosen, found.places) if part is None else found.in_part(part)


def _by_place(opened: OpenLibrary, field: PayloadField) -> None:
    located = places(opened, field.name)
    if not located.ids:
        st.text("No picture of this library has a place.")
        return
    _draw(
        opened,
        "place",
        located.ids,
        located.places,
        lambda: draw_map("place", located.shown(), key="by-place"),
        lambda chosen: selected(chosen, located.places),
    )


def _draw(
    opened: OpenLibrary,
    which: str,
    ids: Sequence[str],
    places: NDArray[np.float32],
    draw: Callable[[], Any],
    positions: Callable[[Any], NDArray[np.intp] | None],
) -> None:
    """The map, and below it the pictures that are selected on it, or those around the picture
    that was opened last: the gallery opens what the address names."""
    state = draw()
    around = f"map-around-{which}"
    if (clicked := number_of(state.open, len(ids))) is not None:
        st.session_state[around] = ids[clicked]
    chosen = positions(state.chosen)
    if chosen is not None:
        st.session_state.pop(around, None)
        noun = "picture" if len(chosen) == 1 else "pictures"
        show_gallery(
            opened, [ids[one] for one in chosen], announce=f"{len(chosen):,} {noun} selected"
        )
    elif (image_id := st.session_state.get(around)) in ids:
        small("The pictures around it", key="around")
        show_gallery(opened, _nearest(ids, places, ids.index(image_id)))


def _nearest(ids: Sequence[str], places: NDArray[np.float32], number: int) -> list[str]:
    """The pictures that lie around one on the map, nearest first."""
    distances = ((places - places[number]) ** 2).sum(axis=1)
    return [ids[one] for one in np.argsort(distances, kind="stable")[:_AROUND]]


# --- making it -------------------------------------------------------------------------------


def _current_map(opened: OpenLibrary) -> LibraryMap | None:
    """The map of the library as it is. Where it must be made, that begins: meanwhile the one
    before is shown, if there is one."""
    library = opened.library
    with leased_store() as store:
        collection, version = store.resolve(library), store.version(library)
        count = store.count(library)
    found = read_map(collection)
    if found is not None and found.version == version:
        return found
    if count <= FEW:
        with st.spinner("Laying out the map …"):
            make_map()
        return read_map(collection)
    tried = _tried()
    if (collection, version) not in tried:
        try:
            start_job(TITLE, make_map)
        except JobBusy:
            if found is None:
                small("The map of this library is made when that is done.", key="later")
            return found
        tried.add((collection, version))
        st.rerun()
    job = jobs().current
    is_made = job is not None and job.title == TITLE and not job.is_over
    if found is None and not is_made and st.button("Make the map", key="make", type="primary"):
        start_and_rerun(lambda: start_job(TITLE, make_map), key="not-begun")
    return found


@st.cache_resource(show_spinner=False)
def _tried() -> set[tuple[str, str]]:
    """What a map was begun for: one that fails does not begin again by itself."""
    return set()


def _forget_finished() -> None:
    """The map itself says that it was made."""
    job = jobs().current
    if job is not None and job.title == TITLE and job.state == "done":
        jobs().dismiss()


# --- colours ---------------------------------------------------------------------------------


def _colours(opened: OpenLibrary, field: PayloadField, found: LibraryMap) -> Colours:
    return _read_colours(opened.library, found.collection, found.version, field, _ids=found.ids)


@st.cache_data(ttl=600, max_entries=8, show_spinner="Reading the colours …")
def _read_colours(
    library: str, collection: str, version: str, field: PayloadField, _ids: Sequence[str]
) -> Colours:
    with leased_store() as store:
        read = store.scroll(library, payload=(field.name,))
        return colours_of(field, _ids, ((point.image_id, point.payload) for point in read))
