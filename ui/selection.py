"""The pictures that a visitor has selected, on all pages of all answers, and their downloads."""

import csv
import io
import zipfile
from collections.abc import Sequence
from pathlib import PurePath

import streamlit as st

from scenesearch.errors import SceneSearchError
from scenesearch.home.settings import Settings
from ui.access import shows_paths, shows_places
from ui.components import small
from ui.pictures import Picture, copy_without_metadata
from ui.settings import page_settings
from ui.uploads import safe_name

# The most originals in one ZIP, which is made in memory.
MAX_ZIP_BYTES = 300 * 2**20

_COLUMNS = ("image_id", "path", "title", "taken", "camera", "width", "height")


def _selected() -> dict[str, Picture]:
    selected: dict[str, Picture] = st.session_state.setdefault("picked", {})
    return selected


def draw_checkbox(number: int, picture: Picture) -> None:
    """The checkbox in the corner of the picture's card."""
    selected = _selected()
    checked = st.checkbox(
        f"Select picture {number}",
        value=picture.image_id in selected,
        # A new generation of checkboxes when the selection is cleared.
        key=f"tick-{st.session_state.get('ticks', 0)}-{picture.image_id}",
    )
    if checked:
        selected[picture.image_id] = picture
    else:
        selected.pop(picture.image_id, None)


def selection_bar() -> None:
    """What can be done with the selected pictures, when there are any.

    It is drawn after the grid, and style.py keeps it in sight: the first selection moves no
    picture.
    """
    with st.container(key="bar"):
        if selected := list(_selected().values()):
            _draw_bar(selected, page_settings())


def _draw_bar(selected: Sequence[Picture], settings: Settings) -> None:
    with st.container(
        horizontal=True, vertical_alignment="center", border=True, gap="small", key="selection"
    ):
        with st.container(width="content"):
            small(f"{len(selected)} selected", key="selected")
        st.download_button(
            "Pictures (ZIP)",
            lambda: originals_zip(selected, settings),
            file_name="pictures.zip",
            mime="application/zip",
            on_click="ignore",
            icon=":material/folder_zip:",
        )
        st.download_button(
            "Table (CSV)",
            lambda: table(selected, settings),
            file_name="pictures.csv",
            mime="text/csv",
            on_click="ignore",
            icon=":material/table:",
        )
        with_paths = shows_paths(settings)
        with st.popover("Paths" if with_paths else "Names", icon=":material/content_copy:"):
            names = (one.path if with_paths else one.image_id for one in selected)
            st.code("\n".join(names), language=None)
        st.button("Clear the selection", on_click=_clear_selection, type="tertiary")


def _clear_selection() -> None:
    st.session_state["picked"] = {}
    st.session_state["ticks"] = st.session_state.get("ticks", 0) + 1


def table(selected: Sequence[Picture], settings: Settings) -> bytes:
    """A CSV that a spreadsheet opens as text: no cell from a library becomes a formula. On a
    read-only page it has no paths."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    columns = [c for c in _COLUMNS if c != "path" or shows_paths(settings)]
    writer.writerow(columns)
    for one in selected:
        row = {"image_id": one.image_id, "path": one.path, "title": one.title}
        row |= {key: one.payload.get(key, "") for key in _COLUMNS[3:]}
        writer.writerow([_escape_formula(str(row[column])) for column in columns])
    return out.getvalue().encode("utf-8-sig", "replace")


def _escape_formula(cell: str) -> str:
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def originals_zip(selected: Sequence[Picture], settings: Settings) -> bytes:
    """The originals under their names, numbered where two have the same; `left out.txt` gives the
    reason for each that is missing. If places are not shown, copies without metadata."""
    with_places, with_paths = shows_places(settings), shows_paths(settings)
    buffer = io.BytesIO()
    names: set[str] = set()
    left_out: list[str] = []
    size = 0
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for one in selected:
            original = one.original
            shown = one.path if with_paths else one.image_id
            name = original.name if with_places else f"{PurePath(original.name).stem}.jpg"
            try:
                data = original.read() if with_places else copy_without_metadata(original)
            except SceneSearchError as error:
                left_out.append(f"{shown}: {error if with_paths else 'it cannot be read now'}")
                continue
            if size + len(data) > MAX_ZIP_BYTES:
                left_out.append(f"{shown}: the ZIP holds at most {MAX_ZIP_BYTES >> 20} MiB")
                continue
            size += len(data)
            archive.writestr(_unique(name, names), data)
        if left_out:
            archive.writestr("left out.txt", "\n".join(left_out).encode("utf-8", "replace"))
    return buffer.getvalue()


def _unique(name: str, names: set[str]) -> str:
    """The name, numbered if it is taken; adds it to the names."""
    path = PurePath(safe_name(name))
    found, number = path.name, 1
    while found.casefold() in names:
        number += 1
        found = f"{path.stem}-{number}{path.suffix}"
    names.add(found.casefold())
    return found
