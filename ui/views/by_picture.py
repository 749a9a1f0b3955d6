"""A picture in, pictures like it out; words may say what shall be different."""

from dataclasses import replace

import streamlit as st

from scenesearch.pictures.formats import SUFFIXES
from scenesearch.pictures.opening import ImageError, decode_image
from scenesearch.search.request import Upload
from scenesearch.search.searcher import MAX_UPLOAD_BYTES
from ui import resources
from ui.components import small
from ui.uploads import safe_name
from ui.views.failures import empty_library, told_in_words
from ui.views.results import Question, show_answer
from ui.views.search import narrowing

_PREVIEW_SIDE = 320

# What the picture weighs beside words of weight 1.
_SHARES = {"Words count more": 0.5, "Both alike": 1.0, "The picture counts more": 2.0}


def show() -> None:
    settings = resources.settings()
    st.title("Search by picture", anchor=False)
    most_mb = min(settings.page_upload_mb, MAX_UPLOAD_BYTES // 2**20)
    brought = st.file_uploader(
        f"Drop a picture here, choose one, or paste one (at most {most_mb} MB)",
        type=[suffix[1:] for suffix in sorted(SUFFIXES)],
        max_upload_size=most_mb,
        key="picture",
    )
    with told_in_words(settings.library), resources.searching() as opened:
        if opened.store.count(settings.library) == 0:
            empty_library(settings.library)
            return
        if brought is None:
            small(
                "The picture is looked at and forgotten: it does not become part of the library.",
                key="forgotten",
            )
            return
        data, name = brought.getvalue(), safe_name(brought.name)
        if not _preview(data, name, settings.max_megapixels):
            return
        words, share = _mixed()
        where, min_relevance, order = narrowing(opened)
        request = opened.parse(words, where=where)
        picture = Upload(data, name, weight=share if request.parts else 1.0)
        asked = replace(request, parts=(picture, *request.parts))
        show_answer(opened, Question(asked, min_relevance, order))


def _preview(data: bytes, name: str, max_megapixels: float) -> bool:
    """The visitor's picture, small; False with its reason when it is none."""
    try:
        opened = decode_image(data, reduce_to=_PREVIEW_SIDE, max_megapixels=max_megapixels)
    except ImageError as error:
        st.text(f"{name} cannot be used: {error}")
        return False
    image = opened.image
    image.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    st.image(image, width=200, alt=f"Your picture {name}")
    return True


def _mixed() -> tuple[str, float]:
    """Words beside the picture, and what the picture weighs."""
    with st.form("mixed-form", border=False):
        box, share, button = st.columns([4, 2, 1], vertical_alignment="bottom")
        words = box.text_input(
            "Mix with words",
            key="mixed",
            placeholder="in snow, or: -people",
            persist_state="session",
        )
        chosen = share.selectbox("Weight", list(_SHARES), index=1, key="share")
        button.form_submit_button("Search", type="primary", width="stretch")
    return (words or "").strip(), _SHARES[chosen]
