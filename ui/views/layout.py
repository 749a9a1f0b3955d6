"""The map: the library laid out by similarity; a brush shows the pictures below it."""

from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from scenesearch.errors import SceneSearchError
from scenesearch.search import library_map
from scenesearch.store.base import VectorStore
from scenesearch.store.fields import PayloadField
from ui import resources
from ui.components import small, title_of
from ui.jobs import Job
from ui.resources import Opened
from ui.views.failures import empty_library, told_in_words
from ui.views.progress import show_progress
from ui.views.results import show_pictures

# More points than a browser draws and brushes without delay are thinned out evenly.
MOST_POINTS = 5000
_MOST_SHOWN = 48
_MOST_COLOURS = 12
_BRUSH = "brush"
_COLOURED_BY = ("keyword", "boolean", "integer", "float", "datetime")


def show() -> None:
    library = resources.settings().library
    st.title("Map", anchor=False)
    show_progress()
    with told_in_words(library, shows_progress=True), resources.searching() as opened:
        count = opened.store.count(library)
        if count == 0:
            empty_library(library, shows_progress=True)
            return
        collection = opened.store.resolve(library)
        ids, vectors, payloads = resources.vectors(library, collection, count, MOST_POINTS)
        first, second = st.columns(2)
        fields = [f for f in opened.fields if f.type in _COLOURED_BY and f.name != "sha256"]
        by_label = {"nothing": None} | {field.label: field for field in fields}
        colour = by_label[first.selectbox("Colour by", list(by_label), key="colour")]
        points = _points(opened, second, ids, vectors, collection)
        frame = pd.DataFrame(
            {
                "number": range(len(ids)),
                "x": points[:, 0],
                "y": points[:, 1],
                "title": [title_of(p, i) for p, i in zip(payloads, ids, strict=True)],
                "colour": _colours(payloads, colour),
            }
        )
        small(_said(len(ids), count), key="map")
        chosen = _chart(frame, colour)
        if chosen:
            small(f"{len(chosen):,} pictures below the brush", key="brushed")
            show_pictures(opened, [ids[number] for number in chosen[:_MOST_SHOWN]])


def _said(drawn: int, count: int) -> str:
    of = f"{drawn:,} pictures" if drawn == count else f"{drawn:,} of {count:,} pictures"
    return (
        f"{of}; near means alike. Drag to brush, then see the pictures below; turn the wheel to "
        "zoom, drag with Shift to move, click twice to see all again."
    )


def _points(opened: Opened, place: Any, ids: list[str], vectors: Any, collection: str) -> Any:
    """Where each picture lies: at once by components, or by t-SNE where that was computed."""
    folder = opened.settings.library_dir(opened.library) / "layouts"
    key = library_map.fingerprint(ids, collection)
    kept = library_map.read_map(folder, key, len(ids))
    way = place.selectbox(
        "Laid out by", ["Main differences (PCA)", "Neighbours (t-SNE)"], key="way"
    )
    if way.startswith("Main"):
        return library_map.principal_components(vectors)
    if kept is not None:
        return kept
    if not library_map.has_neighbours():
        small("t-SNE needs scikit-learn, which comes with scenesearch[train].", key="no-tsne")
    elif opened.settings.page_read_only:
        small("t-SNE has not been computed for this library.", key="no-tsne")
    elif st.button("Compute it now (minutes for thousands of pictures)", key="tsne"):

        def work(job: Job, _: VectorStore) -> None:
            job.detail = f"{len(ids):,} pictures; this has no half-way mark"
            library_map.save_map(folder, key, library_map.neighbours(vectors))

        try:
            resources.start("Laying the map out by t-SNE", work)
        except SceneSearchError as error:
            small(str(error), key="not-begun")
        else:
            st.rerun()
    return library_map.principal_components(vectors)


def _colours(payloads: list[dict[str, Any]], field: PayloadField | None) -> list[Any]:
    """A value for each picture; of words the most frequent ones, the rest together."""
    if field is None:
        return [""] * len(payloads)
    values = [payload.get(field.name) for payload in payloads]
    values = [value[0] if isinstance(value, list) and value else value for value in values]
    if field.type in ("integer", "float"):
        return values
    if field.type == "datetime":
        return [str(value)[:4] if value else "none" for value in values]
    words = ["none" if value in (None, []) else str(value) for value in values]
    common = pd.Series(words).value_counts().index[:_MOST_COLOURS]
    return [word if word in common else "others" for word in words]


def _chart(frame: pd.DataFrame, colour: PayloadField | None) -> list[int]:
    """The scatter plot; the numbers of the points below the brush."""
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
    kind = "quantitative" if colour and colour.type in ("integer", "float") else "nominal"
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
                scale=alt.Scale(scheme="viridis" if kind == "quantitative" else "tableau20"),
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
        alt=f"{len(frame):,} pictures as points; near ones look alike",
    )
    box = event.selection.get(_BRUSH, {}) if event else {}
    if not box or "x" not in box or "y" not in box:
        return []
    (left, right), (low, high) = sorted(box["x"]), sorted(box["y"])
    below = frame[frame["x"].between(left, right) & frame["y"].between(low, high)]
    return [int(number) for number in below["number"]]
