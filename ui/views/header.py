"""The header that stays in sight: what is asked, in words and by a picture, and what is done with
the request."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from scenesearch.errors import SceneSearchError
from scenesearch.home.saved_collections import (
    MAX_NAME,
    SavedCollection,
    checked_name,
    read_collections,
    save_collection,
    save_request,
)
from scenesearch.pictures.file_names import safe_name
from scenesearch.pictures.formats import SUFFIXES
from scenesearch.pictures.opening import ImageError, decode_image
from scenesearch.search.request import Request, Upload
from scenesearch.search.searcher import MAX_UPLOAD_BYTES
from scenesearch.store.fields import PayloadField
from ui.components import small
from ui.resources import library_files
from ui.settings import asks_server, page_settings
from ui.style import SHARE
from ui.views.chips import show_chips

_PREVIEW_SIDE = 160

# What an answer can be ordered by: a field, or a way of ranking.
_ORDERS = {
    "Best first": "",
    "Best first, by the picture alone": "alone",
    "Best first, varied": "varied",
    "Best first, by what was called right": "feedback",
    "Newest first": "-taken",
    "Oldest first": "taken",
    "By name": "image_id",
    "Largest first": "-size_bytes",
}
_ORDER_WIDTH = 150

# The weight of the picture beside words of weight 1.
_WEIGHTS = {"Words count more": 0.5, "Both alike": 1.0, "The picture counts more": 2.0}


@dataclass(frozen=True)
class Asked:
    """The text last searched for, the visitor's picture, and a line of the header for more."""

    text: str
    picture: Upload | None
    line: DeltaGenerator


def ask_in_header() -> Asked:
    """Draw the header; returns what is asked."""
    with st.container(key="header"):
        title = st.container()
        with st.container(horizontal=True, vertical_alignment="center", key="ask"):
            text = _text()
            picture = _picture()
        # The heading is there in any case; once something is asked, style.py hides it.
        with title.container(key="quiet-title" if text or picture else "title"):
            st.title("Describe a scene", anchor=False)
        line = st.container()
    return Asked(text, picture, line)


def _text() -> str:
    # In a form: typing does not run the page.
    with (
        st.form("search", border=False, enter_to_submit=True),
        st.container(horizontal=True, vertical_alignment="center", gap="small"),
    ):
        text = st.text_input(
            "Describe a scene",
            key="q",
            placeholder="a dog running through snow",
            label_visibility="collapsed",
            bind="query-params",
        )
        st.form_submit_button("Search", type="primary", icon=":material/search:")
    return (text or "").strip()


# --- by picture ------------------------------------------------------------------------------


def _picture() -> Upload | None:
    """The button with a camera, and the picture that was chosen with it."""
    settings = page_settings()
    max_mb = min(settings.page_upload_mb, MAX_UPLOAD_BYTES // 2**20)
    number = st.session_state.setdefault("pictures", 0)
    with st.popover("By picture", icon=":material/photo_camera:", key="camera", on_change="rerun"):
        uploaded = st.file_uploader(
            f"Drop a picture here, choose one, or paste one (at most {max_mb} MB)",
            type=[suffix[1:] for suffix in sorted(SUFFIXES)],
            max_upload_size=max_mb,
            key=f"picture-{number}",
            on_change=_close,
        )
        weight = st.selectbox("Beside words", list(_WEIGHTS), index=1, key="share")
        small(
            "The picture is used for this search only: it is not added to the library.",
            key="forgotten",
        )
    if uploaded is None:
        return None
    data, name = uploaded.getvalue(), safe_name(uploaded.name)
    with st.container(
        horizontal=True, vertical_alignment="center", gap="small", key="by-picture", width="content"
    ):
        is_picture = _preview(data, name, settings.max_megapixels)
        st.button(
            "Remove the picture",
            icon=":material/close:",
            key="picture-remove",
            type="tertiary",
            on_click=_forget_picture,
        )
    return Upload(data, name, weight=_WEIGHTS[weight]) if is_picture else None


def _close() -> None:
    st.session_state["camera"] = False


def _forget_picture() -> None:
    """Another upload field, which is empty."""
    st.session_state["pictures"] += 1


def _preview(data: bytes, name: str, max_megapixels: float) -> bool:
    """Draw the visitor's picture, small; returns False, with the reason shown, if it is none."""
    try:
        opened = decode_image(data, reduce_to=_PREVIEW_SIDE, max_megapixels=max_megapixels)
    except ImageError as error:
        st.text(f"{name} cannot be used: {error}")
        return False
    image = opened.image
    image.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    st.image(image, width=56, alt=f"Your picture {name}")
    return True


def with_picture(request: Request, picture: Upload | None) -> Request:
    """The request with the visitor's picture as its first part; without words its weight says
    nothing."""
    if picture is None:
        return request
    picture = picture if request.parts else replace(picture, weight=1.0)
    return replace(request, parts=(picture, *request.parts))


# --- what is done with a request -------------------------------------------------------------


def show_request(
    asked: Asked, request: Request, fields: Sequence[PayloadField]
) -> tuple[DeltaGenerator, str]:
    """In the line under the box: the filters, each to be removed; the order; the address to share;
    saving. Returns where it begins, for what is said of the answer, and the order."""
    with asked.line.container(
        horizontal=True, vertical_alignment="center", gap="small", key="request"
    ):
        begin = st.container(
            horizontal=True, vertical_alignment="center", gap="small", width="content"
        )
        show_chips(request, fields, box="q")
        order = st.selectbox(
            "Order",
            list(_ORDERS),
            key="order",
            label_visibility="collapsed",
            width=_ORDER_WIDTH,
            bind="query-params",
        )
        st.html(SHARE, width="content")
        if asked.text:
            _offer_to_save(asked.text)
    return begin, _ORDERS[order]


def _offer_to_save(text: str) -> None:
    file = library_files().saved_requests
    if page_settings().page_read_only or asks_server() or _is_saved(file, text):
        return
    with st.popover("Save", icon=":material/bookmark_add:", type="tertiary"):
        name = st.text_input(
            "Name (optional)", key="save-name", max_chars=MAX_NAME, placeholder="Dogs"
        )
        small("It is saved for everybody who uses the page, under Collections.", key="save-about")
        if st.button("Save this request", type="primary", key="save"):
            try:
                if name and name.strip():
                    save_collection(file, SavedCollection(checked_name(name), text))
                else:
                    save_request(file, text)
            except SceneSearchError as error:
                small(str(error), key="save-failed")
            else:
                st.rerun()


def _is_saved(file: Path, text: str) -> bool:
    return any(one.request == text for one in read_collections(file))
