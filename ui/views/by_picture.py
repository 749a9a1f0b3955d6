"""Search by picture: finds pictures like the visitor's; words may say what should be different."""

from dataclasses import replace

import streamlit as st

from scenesearch.pictures.formats import SUFFIXES
from scenesearch.pictures.opening import ImageError, decode_image
from scenesearch.search.request import Upload
from scenesearch.search.searcher import MAX_UPLOAD_BYTES, UNMEASURED_CUT
from ui.components import small
from ui.resources import open_library
from ui.settings import page_settings
from ui.uploads import safe_name
from ui.views.errors import errors_shown, show_empty_library
from ui.views.results import Question, show_answer
from ui.views.sidebar import show_sidebar

_PREVIEW_SIDE = 320

# The weight of the picture beside words of weight 1.
_WEIGHTS = {"Words count more": 0.5, "Both alike": 1.0, "The picture counts more": 2.0}


def show() -> None:
    settings = page_settings()
    st.title("Search by picture", anchor=False)
    max_mb = min(settings.page_upload_mb, MAX_UPLOAD_BYTES // 2**20)
    uploaded = st.file_uploader(
        f"Drop a picture here, choose one, or paste one (at most {max_mb} MB)",
        type=[suffix[1:] for suffix in sorted(SUFFIXES)],
        max_upload_size=max_mb,
        key="picture",
    )
    with errors_shown(settings.library), open_library() as opened:
        if opened.store.count(settings.library) == 0:
            show_empty_library(settings.library)
            return
        if uploaded is None:
            small(
                "The picture is used for this search only: it is not added to the library.",
                key="forgotten",
            )
            return
        data, name = uploaded.getvalue(), safe_name(uploaded.name)
        if not _preview(data, name, settings.max_megapixels):
            return
        words, weight = _words_and_weight()
        where, min_relevance, order = show_sidebar(opened, UNMEASURED_CUT, "")
        request = opened.parse(words, where=where)
        picture = Upload(data, name, weight=weight if request.parts else 1.0)
        request = replace(request, parts=(picture, *request.parts))
        show_answer(opened, Question(request, min_relevance, order))


def _preview(data: bytes, name: str, max_megapixels: float) -> bool:
    """Draw the visitor's picture, small; returns False, with the reason shown, if it is none."""
    try:
        opened = decode_image(data, reduce_to=_PREVIEW_SIDE, max_megapixels=max_megapixels)
    except ImageError as error:
        st.text(f"{name} cannot be used: {error}")
        return False
    image = opened.image
    image.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    st.image(image, width=200, alt=f"Your picture {name}")
    return True


def _words_and_weight() -> tuple[str, float]:
    """Words beside the picture, and the weight of the picture."""
    with st.form("mixed-form", border=False):
        box, weight, button = st.columns([4, 2, 1], vertical_alignment="bottom")
        words = box.text_input(
            "Mix with words",
            key="mixed",
            placeholder="in snow, or: -people",
            persist_state="session",
        )
        chosen = weight.selectbox("Weight", list(_WEIGHTS), index=1, key="share")
        button.form_submit_button("Search", type="primary", width="stretch")
    return (words or "").strip(), _WEIGHTS[chosen]
