"""The page: search, by picture, library, map, evaluation, models. `scenesearch ui` runs it."""

import streamlit as st

from ui import components
from ui.access import is_logged_in, log_out_link
from ui.pictures import page_icon
from ui.settings import page_settings
from ui.views import by_picture, evaluation, library, models, search
from ui.views import map as library_map


def main() -> None:
    # An icon of our own: one of a view would be fetched from the network.
    st.set_page_config(page_title="scenesearch", page_icon=page_icon(), layout="wide")
    components.style()
    settings = page_settings()
    if not is_logged_in(settings):
        return
    search_page = st.Page(search.show, title="Search", icon=":material/search:", default=True)
    library_page = st.Page(
        library.show, title="Library", icon=":material/photo_library:", url_path="library"
    )
    pages = [
        search_page,
        st.Page(
            by_picture.show,
            title="By picture",
            icon=":material/image_search:",
            url_path="by-picture",
        ),
        library_page,
        st.Page(library_map.show, title="Map", icon=":material/scatter_plot:", url_path="map"),
        st.Page(
            evaluation.show, title="Evaluation", icon=":material/monitoring:", url_path="evaluation"
        ),
        st.Page(models.show, title="Models", icon=":material/model_training:", url_path="models"),
    ]
    page = st.navigation(pages, position="top")
    if st.session_state.pop("to_adding", False):
        st.session_state["part"] = "Add pictures"
        if page != library_page:
            st.switch_page(library_page)
    if "next_request" in st.session_state:
        st.session_state["q"] = st.session_state.pop("next_request")
        if page != search_page:
            st.switch_page(search_page)
    page.run()
    log_out_link(settings)


main()
