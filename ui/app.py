"""The page: search, by picture, library, map, evaluation, models. `scenesearch ui` runs it."""

import streamlit as st

from ui import components, pictures, resources
from ui.access import admitted, log_out_link
from ui.views import by_picture, evaluation, layout, library, models, search


def screen() -> None:
    # An icon of our own: one of a view would be fetched from the network.
    st.set_page_config(page_title="scenesearch", page_icon=pictures.page_icon(), layout="wide")
    components.style()
    settings = resources.settings()
    if not admitted(settings):
        return
    first = st.Page(search.show, title="Search", icon=":material/search:", default=True)
    shelf = st.Page(
        library.show, title="Library", icon=":material/photo_library:", url_path="library"
    )
    pages = [
        first,
        st.Page(
            by_picture.show,
            title="By picture",
            icon=":material/image_search:",
            url_path="by-picture",
        ),
        shelf,
        st.Page(layout.show, title="Map", icon=":material/scatter_plot:", url_path="map"),
        st.Page(
            evaluation.show, title="Evaluation", icon=":material/monitoring:", url_path="evaluation"
        ),
        st.Page(models.show, title="Models", icon=":material/model_training:", url_path="models"),
    ]
    page = st.navigation(pages, position="top")
    if st.session_state.pop("to_adding", False):
        st.session_state["part"] = "Add pictures"
        if page != shelf:
            st.switch_page(shelf)
    if "next_request" in st.session_state:
        st.session_state["q"] = st.session_state.pop("next_request")
        if page != first:
            st.switch_page(first)
    page.run()
    log_out_link(settings)


screen()
