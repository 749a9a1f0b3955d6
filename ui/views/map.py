"""The map: every picture as a point, similar ones close together, to select and look at."""

from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from scenesearch.search import library_map
from scenesearch.store.fields import PayloadField
from ui.components import small, start_and_rerun
from ui.contents import spread_points
from ui.jobs import Job
from ui.pictures import Picture
from ui.resources import OpenLibrary, library_files, open_library, start_job
from ui.selection import selection_bar
from ui.settings import page_settings
from ui.views.errors import errors_shown, show_empty_library
from ui.views.grid import show_grid
from ui.views.progress import show_progress

# A browser draws and selects so many points without delay; of a larger library, an even sample.
MAX_POINTS = 5000
_MAX_SHOWN = 48
_MAX_COLOURS = 12
_BRUSH = "brush"
_COLOURED_BY = ("keyword", "boolean", "integer", "float", "datetime")


def show() -> None:
    library = page_settings().library
    st.title("Map", anchor=False)
    show_progress()
    with errors_shown(library, shows_progress=True), open_library() as opened:
        count = opened.store.count(library)
        if count == 0:
            show_empty_library(library, shows_progress=True)
            return
        collection = opened.store.resolve(library)
        ids, vectors, payloads = spread_points(library, collection, count, MAX_POINTS)
        first, second = st.columns(2)
        fields = [f for f in opened.fields if f.type in _COLOURED_BY and f.name != "sha256"]
        by_label = {"nothing": None} | {field.label: field for field in fields}
        colour = by_label[first.selectbox("Colour by", list(by_label), key="colour")]
        way = second.selectbox(
            "Laid out by", ["Main differences (PCA)", "Neighbours (t-SNE)"], key="way"
        )
        points = None if way.startswith("Main") else _tsne(opened, ids, vectors, collection)
        if points is None:
            points = library_map.principal_components(vectors)
        pictures = [Picture(i, payload) for i, payload in zip(ids, payloads, strict=True)]
        frame = pd.DataFrame(
            {
                "number": range(len(pictures)),
                "x": points[:, 0],
                "y": points[:, 1],
                "title": [picture.title for picture in pictures],
                "colour": _colours(payloads, colour),
            }
        )
        of_all = "" if len(ids) == count else f" of {count:,}"
        small(
            f"{len(ids):,}{of_all} pictures; similar ones are close together. Drag to select an "
            "area, then see its pictures below; scroll to zoom, drag with Shift to move, "
            "double-click to see all again.",
            key="map",
        )
        selected = _chart(frame, colour)
        if selected:
            small(f"{len(selected):,} pictures in the selected area", key="brushed")
            show_grid(opened, [pictures[number] for number in selected[:_MAX_SHOWN]])
            selection_bar()


def _tsne(
    opened: OpenLibrary, ids: list[str], vectors: NDArray[np.float32], collection: str
) -> NDArray[np.float32] | None:
    """The t-SNE layout, if it was computed; else None, with a button that computes it."""
    folder = library_files().folder / "layouts"
    key = library_map.fingerprint(ids, collection)
    layout = library_map.read_layout(folder, key, len(ids))
    if layout is not None:
        return layout
    if not library_map.has_neighbours():
        small("t-SNE needs scikit-learn, which comes with scenesearch[train].", key="no-tsne")
    elif opened.settings.page_read_only:
        small("t-SNE has not been computed for this library.", key="no-tsne")
    elif st.button("Compute it now (minutes for thousands of pictures)", key="tsne"):

        def work(job: Job) -> None:
            job.detail = f"{len(ids):,} pictures; how far it is cannot be shown"
            library_map.save_layout(folder, key, library_map.neighbours(vectors))

        start_and_rerun(lambda: start_job("Laying the map out by t-SNE", work), key="not-begun")
    return None


def _colours(payloads: list[dict[str, Any]], field: PayloadField | None) -> list[Any]:
    """A value for each picture: a number, a year, or one of the most frequent words or 'others'."""
    if field is None:
        return [""] * len(payloads)
    values = [payload.get(field.name) for payload in payloads]
    values = [value[0] if isinstance(value, list) and value else value for value in values]
    if field.type in ("integer", "float"):
        return values
    if field.type == "datetime":
        return [str(value)[:4] if value else "none" for value in values]
    words = ["none" if value in (None, []) else str(value) for value in values]
    common = pd.Series(words).value_counts().index[:_MAX_COLOURS]
    return [word if word in common else "others" for word in words]


def _chart(frame: pd.DataFrame, colour: PayloadField | None) -> list[int]:
    """Draw the scatter plot; returns the numbers of the points in the selected area."""
    brush = alt.selection_interval(
        name=_BRUSH, translate=False, on="[mousedown[!event.shiftKey], mouseup] > mousemove"
    )
    zoom = alt.selection_interval(
        name="zoom",
        bind="scales",
        translate="[mousedown[event.shiftKey], window:mouseup] > window:mousemove!",
        on="[mousedown[event.shiftKey], mouseup] > mousemove",
    )
    plain = alt.Axis(labels=False, ticks=False, domain=False, grid=False, title=None)
    is_number = colour is not None and colour.type in ("integer", "float")
    kind: Literal["quantitative", "nominal"] = "quantitative" if is_number else "nominal"
    chart = (
        alt.Chart(frame)
        .mark_circle(size=45, opacity=0.75)
        .encode(
            x=alt.X("x:Q", axis=plain, scale=alt.Scale(zero=False, padding=24)),
            y=alt.Y("y:Q", axis=plain, scale=alt.Scale(zero=False, padding=24)),
            color=alt.Color(
                "colour",
                type=kind,
                title=colour.label,
                scale=alt.Scale(scheme="viridis" if is_number else "tableau20"),
            )
            if colour
            else alt.value("#3d7be6"),
            tooltip=[alt.Tooltip("title:N", title="picture")],
        )
        .add_params(brush, zoom)
        .properties(height=480)
    )
    event = st.altair_chart(
        chart,
        key="map-chart",
        on_select="rerun",
        selection_mode=_BRUSH,
        alt=f"{len(frame):,} pictures as points; close ones look alike",
    )
    box = event.selection.get(_BRUSH, {}) if event else {}
    if not box or "x" not in box or "y" not in box:
        return []
    (left, right), (low, high) = sorted(box["x"]), sorted(box["y"])
    inside = frame[frame["x"].between(left, right) & frame["y"].between(low, high)]
    return [int(number) for number in inside["number"]]
