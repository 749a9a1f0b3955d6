"""One picture as large as the window, with what is known of it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import streamlit as st

from scenesearch.images import ImageError
from scenesearch.store.fields import PayloadField
from ui import pictures
from ui.components import small, title_of

# Shown by other means, or of no use to a reader.
_NOT_LISTED = {"image_id", "sha256", "captions", "width", "height", "modified", "orientation"}


@st.dialog("Picture", width="large", icon=":material/image:")
def show_original(
    image_id: str,
    payload: Mapping[str, Any],
    fields: Sequence[PayloadField],
    *,
    found: str = "",
    fallback: bytes,
    max_megapixels: float,
) -> None:
    """The original, or its thumbnail with the reason; below it captions and metadata."""
    original = pictures.original_of(payload)
    title = title_of(payload, image_id)
    picture, words = st.columns([2, 1], gap="medium")
    with picture.container(key="original"):
        try:
            st.image(pictures.view(original, max_megapixels), width="stretch", alt=title)
        except ImageError as error:
            path_is_readable = False
            st.image(fallback, width="stretch", alt=title)
            st.text(
                f"The original cannot be shown: {error}. If it was moved, ingest its new folder; "
                "if it is on another disk, connect that."
            )
        else:
            path_is_readable = True
    with words:
        for caption in payload.get("captions") or ():
            st.text(caption)
        facts = "\n".join(f"{name}: {value}" for name, value in _facts(payload, fields))
        small(facts, key="facts")
        if found:
            small(found, key="found")
        if path_is_readable:
            st.download_button(
                "Download the original",
                original.read,
                file_name=original.name,
                on_click="ignore",
                icon=":material/download:",
            )
    st.code(str(original), language=None, wrap_lines=True)


def _facts(payload: Mapping[str, Any], fields: Sequence[PayloadField]) -> Iterator[tuple[str, str]]:
    if payload.get("width") and payload.get("height"):
        yield "Size", f"{payload['width']} × {payload['height']} pixels"
    for field in fields:
        value = payload.get(field.name)
        if field.name not in _NOT_LISTED and value not in (None, "", [], ["."]):
            yield field.label, _readable(field, value)


def _readable(field: PayloadField, value: Any) -> str:
    if field.hierarchical and isinstance(value, list):
        return str(value[-1])  # the others are its ancestors
    if isinstance(value, list):
        return ", ".join(str(part) for part in value)
    if field.name == "size_bytes":
        return f"{value / 1e6:.1f} MB" if value >= 1e5 else f"{value / 1e3:.1f} kB"
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
