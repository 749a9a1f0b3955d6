"""One picture as large as the window, with what is known of it and what it leads to."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import PurePath
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from scenesearch.errors import SceneSearchError
from scenesearch.home.feedback import FILE_NAME, Feedback
from scenesearch.pictures.opening import ImageError, open_image
from scenesearch.search import why as reasons
from scenesearch.search.request import Like, Request, Upload
from scenesearch.store.fields import PayloadField
from ui import pictures, resources
from ui.components import small, title_of
from ui.resources import Opened
from ui.uploads import safe_name
from ui.views.failures import words_for

# Shown by other means, or of no use to a reader.
_NOT_LISTED = {
    "image_id",
    "sha256",
    "phash",
    "captions",
    "width",
    "height",
    "modified",
    "orientation",
}
_WHY_SIDE = 900


@st.dialog("Picture", width="large", icon=":material/image:")
def show_original(
    opened: Opened,
    image_id: str,
    payload: Mapping[str, Any],
    *,
    found: str = "",
    fallback: bytes,
    request: Request | None = None,
) -> None:
    """The original, or its thumbnail with the reason; below it captions and metadata."""
    most = opened.settings.max_megapixels
    original = pictures.original_of(payload)
    shows_paths = resources.shows_paths(opened.settings)
    shows_places = resources.shows_places(opened.settings)
    title = title_of(dict(payload), image_id)
    picture, words = st.columns([2, 1], gap="medium")
    with picture.container(key="original"):
        try:
            st.image(pictures.view(original, most), width="stretch", alt=title)
        except ImageError as error:
            readable = False
            st.image(fallback, width="stretch", alt=title)
            st.text(
                f"The original cannot be shown: {error}. If it was moved, ingest its new folder; "
                "if it is on another disk, connect that."
                if shows_paths
                else "The original cannot be shown now."
            )
        else:
            readable = True
    with words:
        for caption in payload.get("captions") or ():
            st.text(caption)
        facts = "\n".join(f"{name}: {value}" for name, value in _facts(payload, opened.fields))
        small(facts, key="facts")
        if found:
            small(found, key="found")
        _ways_on(image_id, request)
        if readable and shows_places:
            st.download_button(
                "Download the original",
                original.read,
                file_name=safe_name(original.name),
                on_click="ignore",
                icon=":material/download:",
                width="stretch",
            )
        elif readable:  # the file itself tells where it was taken
            st.download_button(
                "Download a copy",
                lambda: pictures.copy_without_metadata(original, most),
                file_name=f"{PurePath(safe_name(original.name)).stem}.jpg",
                on_click="ignore",
                icon=":material/download:",
                width="stretch",
                help="A JPEG without the data that the camera wrote into the file.",
            )
    if request is not None and readable and any(not part.excluded for part in request.parts):
        _why(request, image_id)
    location = payload.get("location")
    if shows_places and isinstance(location, Mapping):
        _place(location)
    if shows_paths:
        st.code(str(original), language=None, wrap_lines=True)


def _ways_on(image_id: str, request: Request | None) -> None:
    """More like this, and the same request without what is like this."""
    like = str(Like(image_id))
    if st.button(
        "More like this",
        icon=":material/image_search:",
        width="stretch",
        on_click=ask_next,
        args=(like,),
    ):
        st.rerun()
    if request is None or not request.parts or any(isinstance(p, Upload) for p in request.parts):
        return
    if st.button(
        "Not this",
        icon=":material/block:",
        width="stretch",
        help="The same request without pictures like this one.",
        on_click=ask_next,
        args=(_without(request, image_id),),
    ):
        st.rerun()
    if request.text and not resources.settings().page_read_only:
        _verdict(request.text, image_id)


def _verdict(text: str, image_id: str) -> None:
    """Right or wrong for this text: ranks again by it, and trains, where that is asked for."""
    now = resources.settings()
    try:
        with closing(Feedback(now.library_dir(now.library) / FILE_NAME)) as table:
            right, wrong = table.of(text)
            said = "Right" if image_id in right else "Wrong" if image_id in wrong else None
            chosen = st.segmented_control(
                "For this request it is",
                ["Right", "Wrong"],
                default=said,
                key=f"verdict-{image_id}",
            )
            if chosen is None and said is not None:
                table.forget(text, [image_id])
            elif chosen is not None and chosen != said:
                table.mark(text, [image_id], right=chosen == "Right")
    except SceneSearchError as error:
        small(str(error), key="verdict-failed")


def _without(request: Request, image_id: str) -> str:
    return str(replace(request, parts=(*request.parts, Like(image_id, excluded=True))))


def ask_next(text: str) -> None:
    """The text is asked by the search view's next run; a callback."""
    st.session_state["next_request"] = text


def _why(request: Request, image_id: str) -> None:
    """What in the words, and where in the picture: asked for, as it takes a moment."""
    if not st.toggle("Why was it found?", key="why"):
        return
    try:
        with resources.searching() as opened:
            point = opened.store.retrieve(opened.library, [image_id], with_vectors=True)[image_id]
            image = open_image(
                pictures.original_of(point.payload),
                reduce_to=_WHY_SIDE,
                max_megapixels=opened.settings.max_megapixels,
            ).image
            image.thumbnail((_WHY_SIDE, _WHY_SIDE))
            if point.vector is None:
                raise KeyError(image_id)
            because = reasons.why(
                opened.searcher, opened.encoder, request, image_id, point.vector, image
            )
    except (SceneSearchError, KeyError) as error:
        why = words_for(error) if isinstance(error, SceneSearchError) else "it is gone"
        st.text(f"This cannot be told now: {why}")
        return
    left, right = st.columns(2, gap="medium")
    with left:
        if because.heat is not None:
            st.image(
                reasons.overlay(image, because.heat),
                width="stretch",
                alt="The picture, red where it shows what was asked for",
            )
    with right:
        small("What each word adds; red in the picture is where it is seen.", key="why")
        effects = pd.DataFrame(
            {
                "word": [f"{n}. {one.word}" for n, one in enumerate(because.words, 1)],
                "effect": [one.effect for one in because.words],
            }
        )
        if len(effects):
            chart = (
                alt.Chart(effects)
                .mark_bar()
                .encode(
                    x=alt.X("effect:Q", title="how much the word adds to the match"),
                    y=alt.Y("word:N", sort=None, title=None),
                    color=alt.condition(
                        "datum.effect > 0", alt.value("#2f6fde"), alt.value("#b04a3a")
                    ),
                )
            )
            st.altair_chart(chart, alt="What each word of the request adds to the match")
        if because.more_words:
            small(f"{because.more_words} more words were not looked at.", key="more-words")


def _place(location: Mapping[str, Any]) -> None:
    """Where it was taken: a pin on the world's grid of degrees, for there is no network."""
    try:
        latitude, longitude = float(location["lat"]), float(location["lon"])
    except (KeyError, TypeError, ValueError):
        return
    here = pd.DataFrame({"lon": [longitude], "lat": [latitude]})
    pin = (
        alt.Chart(here)
        .mark_point(filled=True, size=160, shape="triangle-down", color="#d2402f")
        .encode(
            x=alt.X(
                "lon:Q",
                scale=alt.Scale(domain=[-180, 180]),
                title="longitude",
                axis=alt.Axis(values=list(range(-180, 181, 60))),
            ),
            y=alt.Y(
                "lat:Q",
                scale=alt.Scale(domain=[-90, 90]),
                title="latitude",
                axis=alt.Axis(values=list(range(-90, 91, 30))),
            ),
        )
        .properties(height=160)
    )
    st.altair_chart(pin, alt=f"Taken at latitude {latitude:.4f}, longitude {longitude:.4f}")


def _facts(
    payload: Mapping[str, Any], fields: tuple[PayloadField, ...]
) -> Iterator[tuple[str, str]]:
    if payload.get("width") and payload.get("height"):
        yield "Size", f"{payload['width']} × {payload['height']} pixels"
    for field in fields:
        value = payload.get(field.name)
        if field.name not in _NOT_LISTED and value not in (None, "", [], ["."]):
            yield field.label, _readable(field, value)


# As photographers write them.
_WRITTEN: Mapping[str, Callable[[float], str]] = {
    "exposure_s": lambda seconds: f"1/{1 / seconds:.0f} s" if seconds < 0.4 else f"{seconds:g} s",
    "aperture": lambda number: f"f/{number:g}",
    "focal_length_mm": lambda length: f"{length:g} mm",
    "rating": lambda stars: "★" * round(stars),
}


def _readable(field: PayloadField, value: Any) -> str:
    if field.hierarchical and isinstance(value, list):
        return str(value[-1])  # the others are its ancestors
    if isinstance(value, list):
        return ", ".join(str(part) for part in value)
    if field.name == "size_bytes":
        return f"{value / 1e6:.1f} MB" if value >= 1e5 else f"{value / 1e3:.1f} kB"
    if field.name in _WRITTEN and isinstance(value, int | float) and value > 0:
        return _WRITTEN[field.name](value)
    if field.type == "geo" and isinstance(value, Mapping):
        return f"{value['lat']:.4f}, {value['lon']:.4f}"
    if field.type == "boolean":
        return "yes" if value else "no"
    if field.type == "datetime":
        try:
            return f"{datetime.fromisoformat(str(value)):%Y-%m-%d %H:%M}"
        except ValueError:
            return str(value)
    return str(value)
