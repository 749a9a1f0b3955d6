"""Pictures a visitor has picked, over all pages of all answers, and what is made of them."""

import csv
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import streamlit as st

from scenesearch.errors import SceneSearchError
from scenesearch.home.settings import Settings
from ui import resources
from ui.components import Card, small, title_of
from ui.pictures import copy_without_metadata, original_of
from ui.uploads import safe_name

# Of originals in one ZIP, which is made in memory.
MOST_ZIP_BYTES = 300 * 2**20

_COLUMNS = ("image_id", "path", "title", "taken", "camera", "width", "height")


@dataclass(frozen=True)
class Picked:
    image_id: str
    payload: Mapping[str, Any]


def picked() -> dict[str, Picked]:
    chosen: dict[str, Picked] = st.session_state.setdefault("picked", {})
    return chosen


def draw_tick(card: Card, payload: Mapping[str, Any]) -> None:
    """The tick in the card's corner."""
    ticked = st.checkbox(
        f"Select picture {card.number}",
        value=card.image_id in picked(),
        # Another generation of ticks when all are taken back.
        key=f"tick-{st.session_state.get('ticks', 0)}-{card.image_id}",
    )
    if ticked:
        picked()[card.image_id] = Picked(card.image_id, payload)
    else:
        picked().pop(card.image_id, None)


def selection_bar() -> None:
    """What can be done with the picked pictures, when there are any.

    Drawn after the grid, where style.py keeps it in sight: the first tick moves no picture.
    """
    chosen, settings = list(picked().values()), resources.settings()
    with st.container(key="bar"):
        if chosen:
            _draw_bar(chosen, settings)


def _draw_bar(chosen: Sequence[Picked], settings: Settings) -> None:
    with st.container(
        horizontal=True, vertical_alignment="center", border=True, gap="small", key="selection"
    ):
        with st.container(width="content"):
            small(f"{len(chosen)} selected", key="selected")
        st.download_button(
            "Pictures (ZIP)",
            lambda: originals_zip(chosen, settings),
            file_name="pictures.zip",
            mime="application/zip",
            on_click="ignore",
            icon=":material/folder_zip:",
        )
        st.download_button(
            "Table (CSV)",
            lambda: table(chosen, settings),
            file_name="pictures.csv",
            mime="text/csv",
            on_click="ignore",
            icon=":material/table:",
        )
        with_paths = resources.shows_paths(settings)
        with st.popover("Paths" if with_paths else "Names", icon=":material/content_copy:"):
            names = (_path(one) if with_paths else one.image_id for one in chosen)
            st.code("\n".join(names), language=None)
        st.button("Clear the selection", on_click=clear_selection, type="tertiary")


def clear_selection() -> None:
    st.session_state["picked"] = {}
    st.session_state["ticks"] = st.session_state.get("ticks", 0) + 1


def table(chosen: Sequence[Picked], settings: Settings) -> bytes:
    """A CSV that a spreadsheet opens as text: no cell of a stranger's becomes a formula. On a page
    for reading it does not say where files lie."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    columns = [c for c in _COLUMNS if c != "path" or resources.shows_paths(settings)]
    writer.writerow(columns)
    for one in chosen:
        row = {"image_id": one.image_id, "path": _path(one)} | {
            key: one.payload.get(key, "") for key in _COLUMNS[3:]
        }
        row["title"] = title_of(dict(one.payload), one.image_id)
        writer.writerow([_inert(str(row[column])) for column in columns])
    return out.getvalue().encode("utf-8-sig", "replace")


def _inert(cell: str) -> str:
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def originals_zip(chosen: Sequence[Picked], settings: Settings) -> bytes:
    """The originals under their names, two of one name told apart; `left out.txt` says of each
    that is missing why. Where places are not shown, copies without metadata."""
    with_places, with_paths = resources.shows_places(settings), resources.shows_paths(settings)
    buffer = io.BytesIO()
    names: set[str] = set()
    left_out: list[str] = []
    size = 0
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for one in chosen:
            original = original_of(one.payload)
            named = _path(one) if with_paths else one.image_id
            name = original.name if with_places else f"{PurePath(original.name).stem}.jpg"
            try:
                data = (
                    original.read()
                    if with_places
                    else copy_without_metadata(original, settings.max_megapixels)
                )
            except SceneSearchError as error:
                left_out.append(f"{named}: {error if with_paths else 'it cannot be read now'}")
                continue
            if size + len(data) > MOST_ZIP_BYTES:
                left_out.append(f"{named}: the ZIP holds at most {MOST_ZIP_BYTES >> 20} MiB")
                continue
            size += len(data)
            archive.writestr(_unique(name, names), data)
        if left_out:
            archive.writestr("left out.txt", "\n".join(left_out).encode("utf-8", "replace"))
    return buffer.getvalue()


def _unique(name: str, names: set[str]) -> str:
    name = safe_name(name)
    stem, dot, suffix = name.rpartition(".")
    found, number = name, 1
    while found.casefold() in names:
        number += 1
        found = f"{stem}-{number}{dot}{suffix}" if dot else f"{name}-{number}"
    names.add(found.casefold())
    return found


def _path(one: Picked) -> str:
    return str(one.payload.get("path", ""))
