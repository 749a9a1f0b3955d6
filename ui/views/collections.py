"""Saved requests as live collections: all of them as cards, or one with its pictures."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import streamlit as st

from scenesearch.errors import SceneSearchError
from scenesearch.home.collection_changes import remove_collection, rename_collection
from scenesearch.home.saved_collections import (
    MAX_NAME,
    SavedCollection,
    change_collection,
    read_collections,
)
from scenesearch.search.request import QueryError
from ui.components import PAGE_SIZE, current_page, label, pager, small
from ui.contents import members
from ui.pictures import Picture, placeholder
from ui.resources import OpenLibrary, library_files, open_library
from ui.selection import offer_downloads
from ui.settings import page_settings
from ui.views.errors import errors_shown
from ui.views.gallery import show_gallery

# The name of the collection in the page's address.
_PARAMETER = "collection"


def show() -> None:
    st.title("Collections", anchor=False)
    file = library_files().saved_requests
    with errors_shown(page_settings().library), open_library() as opened:
        collections = {one.name: one for one in read_collections(file)}
        name = st.query_params.get(_PARAMETER)
        if name is None:
            _show_all(opened, list(collections.values()))
        elif name in collections:
            _show_one(opened, file, collections[name])
        else:
            st.text(f"There is no collection “{name}” in this library.")
            st.button("All collections", on_click=_open, args=(None,), key="all")


def _open(name: str | None) -> None:
    """Show this collection, or all of them; a callback."""
    if name is None:
        st.query_params.pop(_PARAMETER, None)
    else:
        st.query_params[_PARAMETER] = name


# --- all of them ---------------------------------------------------------------------------------


def _show_all(opened: OpenLibrary, collections: Sequence[SavedCollection]) -> None:
    if not collections:
        st.text("Nothing is saved yet. Search for something, and save the request.")
        return
    small(
        "Each is a saved request, and holds what it finds now. Its address can be sent to others.",
        key="about-collections",
    )
    page, _ = current_page("collections")
    shown = collections[page * PAGE_SIZE :][:PAGE_SIZE]
    with st.container(key="grid-collections"):
        for number, one in enumerate(shown, 1):
            with st.container(key=f"card-{number}"):
                count, picture = _count_and_picture(opened, one)
                image = placeholder() if picture is None else picture.thumbnail()
                st.image(image, width="stretch", alt=one.name)
                # Read out and never shown: style.py lays it over the picture.
                st.button(
                    f"Open {label(one.name)}",
                    key=f"open-{number}",
                    on_click=_open,
                    args=(one.name,),
                )
                st.text(one.name)
                st.text(count)
    pager(page, has_next=len(collections) > (page + 1) * PAGE_SIZE)


def _count_and_picture(opened: OpenLibrary, one: SavedCollection) -> tuple[str, Picture | None]:
    try:
        ids = members(opened, one)
    except QueryError as error:
        return str(error), None
    noun = "picture" if len(ids) == 1 else "pictures"
    wanted = list(dict.fromkeys(filter(None, [one.picture, *ids[:1]])))
    points = opened.store.retrieve(opened.library, wanted) if wanted else {}
    found = next((points[image_id] for image_id in wanted if image_id in points), None)
    picture = None if found is None else Picture(found.image_id, found.payload)
    return f"{len(ids):,} {noun}", picture


# --- one of them ---------------------------------------------------------------------------------


def _show_one(opened: OpenLibrary, file: Path, one: SavedCollection) -> None:
    st.subheader(label(one.name), anchor=False)
    ids = members(opened, one)
    by_hand = [
        f"{len(some):,} {what} by hand"
        for some, what in ((one.added, "added"), (one.excluded, "kept out"))
        if some
    ]
    noun = "picture" if len(ids) == 1 else "pictures"
    small(" · ".join([f"{len(ids):,} {noun}", *by_hand]), key="collection-count")
    if one.request and one.request != one.name:
        small(one.request, key="collection-request")
    _draw_actions(opened, file, one, ids)
    if not ids:
        st.text("There is no picture in it now.")
        return
    request = opened.parse(one.request) if one.request else None
    show_gallery(opened, ids, request=request, announce=f"{len(ids):,} {noun}")


def _draw_actions(
    opened: OpenLibrary, file: Path, one: SavedCollection, ids: Sequence[str]
) -> None:
    settings = opened.settings
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "All collections",
            on_click=_open,
            args=(None,),
            key="all",
            icon=":material/arrow_back:",
            type="tertiary",
        )
        if one.request and st.button("Search for it", key="search-it", icon=":material/search:"):
            st.session_state["next_request"] = one.request
            st.rerun()
        if ids:
            offer_downloads(ids, settings, name="collection")
        if not settings.page_read_only:
            with st.popover("Change", icon=":material/edit:"):
                _draw_changes(file, one, ids)


def _draw_changes(file: Path, one: SavedCollection, ids: Sequence[str]) -> None:
    new = st.text_input("Name", one.name[:MAX_NAME], max_chars=MAX_NAME, key="collection-name")
    rename = st.button("Rename it", key="collection-rename")
    cover = st.selectbox(
        "Picture that stands for it",
        ["", *ids[:PAGE_SIZE]],
        format_func=lambda image_id: label(image_id) or "the first",
        key="collection-picture",
    )
    choose = st.button("Choose this picture", key="collection-choose")
    back: list[str] = []
    take_back = False
    if by_hand := [*one.added, *one.excluded]:
        back = st.multiselect(
            "Added or kept out by hand", by_hand, format_func=label, key="collection-by-hand"
        )
        take_back = st.button("Leave these to the request", key="collection-forget")
    delete = st.button(
        "Delete the collection", key="collection-delete", help="Its pictures stay in the library."
    )
    try:
        if rename:
            _open(rename_collection(library_files(), one.name, new or "").name)
        elif choose:
            change_collection(file, one.name, lambda it: replace(it, picture=cover))
        elif take_back:
            change_collection(file, one.name, lambda it: it.forgetting(back))
        elif delete:
            remove_collection(library_files(), one.name)
            _open(None)
        else:
            return
    except SceneSearchError as error:
        small(str(error), key="collection-not-changed")
        return
    st.rerun()
