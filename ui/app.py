"""The search page: describe a scene, see the pictures that show it. `scenesearch ui` runs it."""

import streamlit as st

from scenesearch.searcher import Searcher
from ui import components, resources
from ui.views.failures import empty_library, told_in_words
from ui.views.filters import show_filters
from ui.views.results import Question, show_answer, show_library

EXAMPLES = (
    "a dog running through snow",
    "a red boat on the water",
    "children playing on the beach",
    "a house at night",
)


def screen() -> None:
    st.set_page_config(page_title="scenesearch", layout="wide", initial_sidebar_state="auto")
    components.style()
    settings = resources.settings()
    text = search_box()
    library = settings.library
    with told_in_words(library), resources.opened_library(library) as store:
        encoder = resources.encoder(store.describe(library))
        texts = resources.texts(encoder.info.fingerprint, encoder)
        searcher = Searcher(encoder, store, library, texts=texts)
        if store.count(library) == 0:
            empty_library(library)
            return
        with st.sidebar:
            st.subheader("Narrow it down")
            where = show_filters(library, searcher.fields)
            min_relevance = relevance_slider(settings.min_relevance)
            components.small(f"Library {library} · encoder {encoder.info.name}", key="about")
        if text:
            show_answer(searcher, settings, Question(library, text, where, min_relevance))
        else:
            show_library(searcher, store, settings, where)


def search_box() -> str:
    """The words last searched for. In a form: what is being typed never reruns the page."""
    st.title("Describe a scene", anchor=False)
    with st.form("search", border=False, enter_to_submit=True):
        box, button = st.columns([6, 1], vertical_alignment="bottom")
        text = box.text_input(
            "Describe a scene",
            key="q",
            placeholder="a dog running through snow",
            label_visibility="collapsed",
            bind="query-params",
        )
        button.form_submit_button("Search", type="primary", width="stretch")
    text = (text or "").strip()
    if not text:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            with st.container(width="content"):
                components.small("Try", key="try")
            for example in EXAMPLES:
                st.button(example, on_click=ask, args=(example,), type="tertiary")
    return text


def ask(example: str) -> None:
    st.session_state["q"] = example


def relevance_slider(default: float) -> float:
    percent = st.slider(
        "Relevance at least",
        min_value=0,
        max_value=100,
        value=round(default * 100),
        format="%d %%",
        key="relevance",
        help="Less finds more and is wrong more often.",
        bind="query-params",
    )
    return percent / 100


screen()
