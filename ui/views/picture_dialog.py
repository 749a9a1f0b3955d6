"""The dialog of one picture: large, with its captions and metadata, and searches from here."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import PurePath
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from scenesearch.errors import SceneSearchError
from scenesearch.pictures.moments import shown_period
from scenesearch.pictures.opening import ImageError, open_image
from scenesearch.pictures.originals import Original
from scenesearch.search import why as reasons
from scenesearch.search.request import Like, Request, Upload
from scenesearch.store.fields import PayloadField
from ui.access import shows_paths, shows_places
from ui.components import small
from ui.pictures import Picture, copy_without_metadata, view
from ui.resources import OpenLibrary, installation, library_files, open_library
from ui.settings import page_settings
from ui.uploads import safe_name
from ui.views.errors import error_message

# Shown in another way, or useless to a visitor.
_NOT_LISTED = {
    "taken_at",
    "taken_until",
    "taken_guessed",
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
def show_picture(
    opened: OpenLibrary, picture: Picture, thumbnail: bytes, request: Request | None
) -> None:
    """The original, or its thumbnail with the reason; beside it captions and metadata.

    `request` is what the picture was found by, if anything.
    """
    settings, original = opened.settings, picture.original
    image, words = st.columns([2, 1], gap="medium")
    with image.container(key="original"):
        try:
            st.image(view(original), width="stretch", alt=picture.title)
            readable = True
        except ImageError as error:
            readable = False
            st.image(thumbnail, width="stretch", alt=picture.title)
            if installation().presence(settings.library).offline(picture.path):
                st.text("Offline: the original's disk is away. The picture is back with it.")
            elif shows_paths(settings):
                st.text(
                    f"The original cannot be shown: {error}. If it was moved, ingest its new "
                    "folder."
                )
            else:
                st.text("The original cannot be shown now.")
    with words:
        for caption in picture.payload.get("captions") or ():
            st.text(caption)
        facts = _facts(picture.payload, opened.fields)
        small("\n".join(f"{name}: {value}" for name, value in facts), key="facts")
        if request is not None and picture.detail:
            small(picture.detail, key="found")
        _next_searches(picture.image_id, request)
        if readable:
            _download(picture.original, whole=shows_places(settings))
    if request is not None and readable and any(not part.excluded for part in request.parts):
        _explain(request, picture)
    location = picture.payload.get("location")
    if shows_places(settings) and isinstance(location, Mapping):
        _show_place(location)
    if shows_paths(settings):
        st.code(str(original), language=None, wrap_lines=True)


def _download(original: Original, *, whole: bool) -> None:
    """The original, or a copy without its metadata, which says where it was taken."""
    name = safe_name(original.name)
    st.download_button(
        "Download the original" if whole else "Download a copy",
        original.read if whole else lambda: copy_without_metadata(original),
        file_name=name if whole else f"{PurePath(name).stem}.jpg",
        on_click="ignore",
        icon=":material/download:",
        width="stretch",
        help=None if whole else "A JPEG without the data that the camera wrote into the file.",
    )


def _next_searches(image_id: str, request: Request | None) -> None:
    """More like this, and the same request without pictures like this."""
    _search_button("More like this", Like(image_id), icon=":material/image_search:")
    if request is None or not request.parts or any(isinstance(p, Upload) for p in request.parts):
        return
    _search_button(
        "Not this",
        replace(request, parts=(*request.parts, Like(image_id, excluded=True))),
        icon=":material/block:",
        hint="The same request without pictures like this one.",
    )
    if request.text and not page_settings().page_read_only:
        _mark(request.text, image_id)


def _search_button(
    name: str, request: Request | Like, *, icon: str, hint: str | None = None
) -> None:
    """A button that closes the dialog; the search view then searches for the request."""
    text = str(request)
    if st.button(name, icon=icon, width="stretch", help=hint, on_click=_search_next, args=(text,)):
        st.rerun()


def _search_next(text: str) -> None:
    """A callback: it runs even if the dialog is no longer drawn."""
    st.session_state["next_request"] = text


def _mark(text: str, image_id: str) -> None:
    """Right or wrong for this text: answers can be ordered by these marks, and encoders trained."""
    try:
        with library_files().open_feedback() as feedback:
            right, wrong = feedback.of(text)
            marked = "Right" if image_id in right else "Wrong" if image_id in wrong else None
            chosen = st.segmented_control(
                "For this request it is",
                ["Right", "Wrong"],
                default=marked,
                key=f"verdict-{image_id}",
            )
            if chosen is None and marked is not None:
                feedback.forget(text, [image_id])
            elif chosen is not None and chosen != marked:
                feedback.mark(text, [image_id], right=chosen == "Right")
    except SceneSearchError as error:
        small(str(error), key="verdict-failed")


def _explain(request: Request, picture: Picture) -> None:
    """Which words match, and where in the picture; only on demand, since it takes a moment."""
    if not st.toggle("Why was it found?", key="why"):
        return
    try:
        with open_library() as opened:
            image_id = picture.image_id
            points = opened.store.retrieve(opened.library, [image_id], with_vectors=True)
            if image_id not in points or (vector := points[image_id].vector) is None:
                st.text("This cannot be shown now: the picture is gone")
                return
            image = open_image(
                picture.original,
                reduce_to=_WHY_SIDE,
                max_megapixels=opened.settings.max_megapixels,
            ).image
            image.thumbnail((_WHY_SIDE, _WHY_SIDE))
            because = reasons.why(opened.searcher, opened.encoder, request, image_id, vector, image)
    except SceneSearchError as error:
        st.text(f"This cannot be shown now: {error_message(error)}")
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
        small(
            "What each word adds. The picture is red where it shows what was asked for.",
            key="why",
        )
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
            small(f"{because.more_words} more words were not examined.", key="more-words")


def _show_place(location: Mapping[str, Any]) -> None:
    """Where it was taken: a pin on a grid of degrees, since a map would need the network."""
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
            shown = _taken(payload) if field.name == "taken" else ""
            yield field.label, shown or _format(field, value)


def _taken(payload: Mapping[str, Any]) -> str:
    """A date that is a period as it was written, and whether it was guessed; '' for others."""
    try:
        start = datetime.fromisoformat(str(payload["taken"]))
        until = payload.get("taken_until")
        end = datetime.fromisoformat(str(until)) if until else None
        shown = f"{start:%Y-%m-%d %H:%M}" if end is None else shown_period(start, end)
    except (TypeError, ValueError):
        return ""
    return f"{shown} (guessed from its name)" if payload.get("taken_guessed") else shown


# As photographers write them.
_FORMATS: Mapping[str, Callable[[float], str]] = {
    "exposure_s": lambda seconds: f"1/{1 / seconds:.0f} s" if seconds < 0.4 else f"{seconds:g} s",
    "aperture": lambda number: f"f/{number:g}",
    "focal_length_mm": lambda length: f"{length:g} mm",
    "rating": lambda stars: "★" * round(stars),
}


def _format(field: PayloadField, value: Any) -> str:
    if field.hierarchical and isinstance(value, list):
        return str(value[-1])  # the others are its ancestors
    if isinstance(value, list):
        return ", ".join(str(part) for part in value)
    if field.name == "size_bytes":
        return f"{value / 1e6:.1f} MB" if value >= 1e5 else f"{value / 1e3:.1f} kB"
    if field.name in _FORMATS and isinstance(value, int | float) and value > 0:
        return _FORMATS[field.name](value)
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
