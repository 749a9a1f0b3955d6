"""The page. `scenesearch ui` runs it."""

import streamlit as st

from ui import components, resources
from ui.access import admitted
from ui.views import library, search


def screen() -> None:
    st.set_page_config(page_title="scenesearch", layout="wide", initial_sidebar_state="auto")
    components.style()
    settings = resources.settings()
    if not admitted(settings):
        return
    first = st.Page(search.show, title="Search", icon=":material/search:", default=True)
    pages = [
        first,
        st.Page(library.show, title="Library", icon=":material/photo_library:", url_path="library"),
    ]
    page = st.navigation(pages, position="top")
    if "next_request" in st.session_state:
        st.session_state["q"] = st.session_state.pop("next_request")
        if page != first:
            st.switch_page(first)
    page.run()


screen()
