"""Search in words and by a picture: the header, what to search for before that, and the answer."""

import streamlit as st

from scenesearch.search.searcher import UNMEASURED_CUT
from ui.resources import open_library
from ui.settings import page_settings
from ui.views.errors import errors_shown, show_empty_library
from ui.views.header import ask_in_header, show_request, with_picture
from ui.views.home import RECENT, show_suggestions
from ui.views.results import Question, show_answer, show_library
from ui.views.sidebar import show_sidebar

# What is said of the default cut.
_CUT = "at most one in ten things that the library does not show is found"


def show() -> None:
    library = page_settings().library
    asked = ask_in_header()
    text, picture = asked.text, asked.picture
    with errors_shown(library), open_library() as opened:
        if opened.store.count(library) == 0:
            show_empty_library(library)
            return
        if picture is None:
            where, cut = show_sidebar(opened, opened.searcher.default_cut(), _CUT, text)
        else:
            where, cut = show_sidebar(opened, UNMEASURED_CUT, "", text, picture)
        if text or picture is not None:
            if text:
                _remember(text)
            request = opened.parse(text, where=where)
            about, order = show_request(asked, request, opened.fields)
            show_answer(opened, Question(with_picture(request, picture), cut, order), about)
        else:
            show_suggestions(opened)
            show_library(opened, where)


def _remember(text: str) -> None:
    """Keep the text among the recent ones, in the place of what was found on the way to it."""
    recent = st.session_state.get("recent", [])
    if recent and text.startswith(recent[0]):
        recent = recent[1:]
    others = [other for other in recent if other != text]
    st.session_state["recent"] = [text, *others][:RECENT]
