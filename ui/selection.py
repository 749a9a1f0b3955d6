"""Pictures a visitor has picked, over all pages of all answers, and what is made of them."""

import csv
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from scenesearch.originals import OriginalError
from ui.components import Card, small, title_of
from ui.pictures import original_of

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
    """What can be done with the picked pictures, when there are any."""
    chosen = list(picked().values())
    if not chosen:
        return
    with st.container(
        horizontal=True, vertical_alignment="center", border=True, gap="small", key="selection"
    ):
        with st.container(width="content"):
            small(f"{len(chosen)} selected", key="selected")
        st.download_button(
            "Pictures (ZIP)",
            lambda: originals_zip(chosen),
            file_name="pictures.zip",
            mime="application/zip",
            on_click="ignore",
            icon=":material/folder_zip:",
        )
        st.download_button(
            "Table (CSV)",
            lambda: table(chosen),
            file_name="pictures.csv",
            mime="text/csv",
            on_click="ignore",
            icon=":material/table:",
        )
        with st.popover("Paths", icon=":material/content_copy:"):
            st.code("\n".join(_path(one) for one in chosen), language=None)
        st.button("Clear the selection", on_click=clear_selection, type="tertiary")


def clear_selection() -> None:
    st.session_state["picked"] = {}
    st.session_state["ticks"] = st.session_state.get("ticks", 0) + 1


def table(chosen: Sequence[Picked]) -> bytes:
    """A CSV that a spreadsheet opens as text: no cell of a stranger's becomes a formula."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(_COLUMNS)
    for one in chosen:
        row = {"image_id": one.image_id, "path": _path(one)} | {
            key: one.payload.get(key, "") for key in _COLUMNS[3:]
        }
        row["title"] = title_of(dict(one.payload), one.image_id)
        writer.writerow([_inert(str(row[column])) for column in _COLUMNS])
    return out.getvalue().encode("utf-8-sig", "replace")


def _inert(cell: str) -> str:
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def originals_zip(chosen: Sequence[Picked]) -> bytes:
    """The originals under their names, two of one name told apart; `left out.txt` says of each
    that is missing why."""
    buffer = io.BytesIO()
    names: set[str] = set()
    left_out: list[str] = []
    size = 0
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for one in chosen:
            original = original_of(one.payload)
            try:
                data = original.read()
            except OriginalError as error:
                left_out.append(f"{_path(one)}: {error}")
                continue
            if size + len(data) > MOST_ZIP_BYTES:
                left_out.append(f"{_path(one)}: the ZIP holds at most {MOST_ZIP_BYTES >> 20} MiB")
                continue
            size += len(data)
            archive.writestr(_unique(original.name, names), data)
        if left_out:
            archive.writestr("left out.txt", "\n".join(left_out).encode("utf-8", "replace"))
    return buffer.getvalue()


def _unique(name: str, names: set[str]) -> str:
    stem, dot, suffix = name.replace("/", "_").replace("\\", "_").rpartition(".")
    found, number = name, 1
    while found.casefold() in names:
        number += 1
        found = f"{stem}-{number}{dot}{suffix}" if dot else f"{name}-{number}"
    names.add(found.casefold())
    return found


def _path(one: Picked) -> str:
    return str(one.payload.get("path", ""))
