"""The pictures that a visitor has selected, in all answers, and what is done with them."""

import io
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import PurePath
from typing import Any

import streamlit as st

from scenesearch.errors import SceneSearchError
from scenesearch.home.export import COLUMNS, ZipEntry, write_table, write_zip
from scenesearch.home.saved_collections import (
    MAX_NAME,
    SavedCollection,
    change_collection,
    checked_name,
    read_collections,
    save_collection,
)
from scenesearch.home.settings import Settings
from scenesearch.pictures.records import MAX_TAG_CHARS
from ui.access import shows_paths, shows_places
from ui.components import absent, say_and_rerun, small
from ui.ingest_jobs import last_tag_change, tag_pictures, undo_tags
from ui.pictures import Picture, copy_without_metadata
from ui.resources import library_files, readable_store
from ui.settings import asks_server, in_this_library, page_settings

_NAMES_HEIGHT = 240

# The most originals in one ZIP, which is made in memory.
MAX_ZIP_BYTES = 300 * 2**20


# The most pictures that may be selected; more are left out.
MAX_SELECTED = 10_000
_MAX_ID = 4096


def _selected() -> list[str]:
    ids: list[str] = st.session_state.setdefault("picked", [])
    return ids


def select(ids: Any) -> None:
    """Take what the browser says is selected; it may say anything."""
    given = ids if isinstance(ids, Sequence) and not isinstance(ids, str) else ()
    texts = (one for one in given if isinstance(one, str) and 0 < len(one) <= _MAX_ID)
    st.session_state["picked"] = list(islice(dict.fromkeys(texts), MAX_SELECTED))


def cleared_just_now() -> bool:
    """Whether this run follows 'Clear the selection': the browser is told once."""
    return bool(st.session_state.pop("cleared", False))


def selection_bar() -> None:
    """What can be done with the selected pictures, when there are any.

    It is drawn after the grid, and style.py keeps it in sight: the first selection moves no
    picture.
    """
    with st.container(key="bar"):
        if selected := _selected():
            _draw_bar(selected, page_settings())


def pictures_of(ids: Sequence[str]) -> list[Picture]:
    """Those of them that the library has, in this order. For downloads, which run when the library
    may be another process's, and for what a browser has sent."""
    with readable_store() as store:
        points = store.retrieve(page_settings().library, ids)
    return [Picture(one, points[one].payload) for one in ids if one in points]


def offer_downloads(ids: Sequence[str], settings: Settings, *, name: str) -> None:
    """Buttons for the pictures and a table of them, in files of this name; each is made when it is
    asked for."""
    st.download_button(
        "Pictures (ZIP)",
        in_this_library(lambda: originals_zip(pictures_of(ids), settings)),
        file_name=f"{name}.zip",
        mime="application/zip",
        on_click="ignore",
        icon=":material/folder_zip:",
        key=f"{name}-zip",
    )
    st.download_button(
        "Table (CSV)",
        in_this_library(lambda: table(pictures_of(ids), settings)),
        file_name=f"{name}.csv",
        mime="text/csv",
        on_click="ignore",
        icon=":material/table:",
        key=f"{name}-csv",
    )


def _draw_bar(selected: Sequence[str], settings: Settings) -> None:
    with st.container(
        horizontal=True, vertical_alignment="center", border=True, gap="small", key="selection"
    ):
        with st.container(width="content"):
            small(f"{len(selected):,} selected", key="selected")
        offer_downloads(selected, settings, name="pictures")
        with_paths = shows_paths(settings)
        names = st.popover(
            "Paths" if with_paths else "Names",
            icon=":material/content_copy:",
            key="names",
            on_change="rerun",  # thousands of pictures are only looked up for whoever opens it
        )
        if names.open:
            pictures = pictures_of(selected)
            shown = (one.path if with_paths else one.image_id for one in pictures)
            names.code("\n".join(shown), language=None, height=_NAMES_HEIGHT)
        if asks_server():
            absent("Tags and collections are changed on the server.")
        elif not settings.page_read_only:
            with st.popover("Tags", icon=":material/sell:"):
                _draw_tags(selected)
            with st.popover("Collection", icon=":material/collections_bookmark:"):
                _draw_collections(selected)
        st.button("Clear the selection", on_click=_clear_selection, type="tertiary")


def _draw_tags(ids: Sequence[str]) -> None:
    """Tag the ticked pictures, or undo the last change of tags."""
    typed = st.text_input("Tag", key="tag-text", placeholder="holiday", max_chars=MAX_TAG_CHARS)
    with st.container(horizontal=True):
        add = st.button("Add it", key="tag-add", type="primary")
        remove = st.button("Remove it", key="tag-remove")
    last = last_tag_change()
    if last is not None:
        undo = st.button("Undo the last change", key="tag-undo", icon=":material/undo:")
        small(f"{last.change}", key="tag-last")
    try:
        if (add or remove) and typed:
            added, removed = ([typed], []) if add else ([], [typed])
            report = tag_pictures(ids, added=added, removed=removed)
            say_and_rerun(f"{report.changed:,} of {report.pictures:,} pictures changed")
        if last is not None and undo:
            undone = undo_tags(last.number)
            counted = f"{undone.changed:,} pictures changed back" if undone else "nothing undone"
            say_and_rerun(counted)
    except SceneSearchError as error:
        small(str(error), key="tag-failed")


def _draw_collections(ids: Sequence[str]) -> None:
    """Add the ticked pictures to a collection, keep them out of it, or make one of them."""
    file = library_files().saved_requests
    names = [one.name for one in read_collections(file)]
    add = exclude = False
    if names:
        opened = st.query_params.get("collection")
        index = names.index(opened) if opened in names else 0
        name = st.selectbox("Collection", names, index=index, key="to-which")
        with st.container(horizontal=True):
            add = st.button("Add to it", key="collection-add", type="primary")
            exclude = st.button("Keep out of it", key="collection-exclude")
    new = st.text_input("New collection", max_chars=MAX_NAME, key="collection-new")
    make = st.button("Make it of these", key="collection-make")
    try:
        if make and new:
            name = checked_name(new)
            save_collection(file, SavedCollection(name, "").adding(ids))
        elif add or exclude:
            change_collection(
                file, name, lambda one: one.adding(ids) if add else one.excluding(ids)
            )
        else:
            return
    except SceneSearchError as error:
        small(str(error), key="collection-failed")
    else:
        say_and_rerun(f"{len(ids):,} {'kept out of' if exclude else 'added to'} {name}")


def _clear_selection() -> None:
    st.session_state["picked"] = []
    st.session_state["cleared"] = True


def table(selected: Sequence[Picture], settings: Settings) -> bytes:
    """A CSV of the pictures; on a read-only page it has no paths."""
    out = io.BytesIO()
    columns = [c for c in COLUMNS if c != "path" or shows_paths(settings)]
    write_table(out, ((one.image_id, one.payload) for one in selected), columns)
    return out.getvalue()


def originals_zip(selected: Sequence[Picture], settings: Settings) -> bytes:
    """A ZIP of the originals; if places are not shown, of copies without metadata."""
    with_places, with_paths = shows_places(settings), shows_paths(settings)

    def entry(one: Picture) -> ZipEntry:
        original = one.original
        return ZipEntry(
            original.name if with_places else f"{PurePath(original.name).stem}.jpg",
            one.path if with_paths else one.image_id,
            original.read if with_places else partial(copy_without_metadata, original),
            str if with_paths else lambda error: "it cannot be read now",
        )

    buffer = io.BytesIO()
    write_zip(buffer, map(entry, selected), most_bytes=MAX_ZIP_BYTES)
    return buffer.getvalue()
