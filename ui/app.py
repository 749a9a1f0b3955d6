"""The page: what everybody uses, and under 'Manage' what looks after a library.

`scenesearch ui` runs it.
"""

from collections.abc import Callable, Sequence

import streamlit as st

from ui import components
from ui.access import is_logged_in, log_out_link
from ui.pictures import page_icon
from ui.resources import libraries
from ui.settings import (
    asks_server,
    choose_library,
    may_choose_library,
    page_settings,
    usual_library,
)
from ui.views import (
    add,
    collections,
    contents,
    duplicates,
    encoders,
    evaluation,
    left_out,
    models,
    search,
    settings,
)
from ui.views import map as library_map

# Where the page asks a server, views that need the store itself say where that is done.
_DONE_ELSEWHERE = {
    "Add": "Pictures are added on the server: scenesearch ingest FOLDER.",
    "Collections": "Saved requests and collections are on the server: scenesearch collections.",
    "Map": "The map needs the vectors of all pictures, which stay on the server.",
    "Evaluation": "Answers are measured on the server: scenesearch evaluate.",
    "Models": "Encoders are kept on the server: scenesearch models list.",
    "Left out": "Which files were left out is kept on the server: scenesearch library rejects.",
}

# Views by title: what draws one, its icon, its address.
_FOR_ALL = {
    "Search": (search.show, "search", ""),
    "Collections": (collections.show, "collections_bookmark", "collections"),
    "Map": (library_map.show, "scatter_plot", "map"),
}
# Not on a page for reading.
_ADD = {"Add": (add.show, "add_photo_alternate", "add")}
_MANAGE = {
    "Contents": (contents.show, "photo_library", "contents"),
    "Evaluation": (evaluation.show, "monitoring", "evaluation"),
    "Models": (models.show, "model_training", "models"),
    "Encoders": (encoders.show, "switch_access_shortcut", "encoders"),
    "Duplicates": (duplicates.show, "filter_none", "duplicates"),
    "Left out": (left_out.show, "block", "left-out"),
    "Settings": (settings.show, "settings", "settings"),
}
# The addresses of what is now Add and four views under 'Manage', and a button of Search.
_OLD_ADDRESS = "library"
_BY_PICTURE = "by-picture"

# Of the address: the library, where it is another one than the settings name.
_LIBRARY = "library"


def _pages(views: dict[str, tuple[Callable[[], None], str, str]]) -> list[st.Page]:
    return [
        st.Page(
            _view(show, title),
            title=title,
            icon=f":material/{icon}:",
            url_path=path or None,
            default=not path,
        )
        for title, (show, icon, path) in views.items()
    ]


def _view(show: Callable[[], None], title: str) -> Callable[[], None]:
    """What draws the view of this title, or says where its work is done."""
    if not asks_server() or title not in _DONE_ELSEWHERE:
        return show

    def say() -> None:
        st.title(title, anchor=False)
        components.absent(_DONE_ELSEWHERE[title])

    return say


def _refused(title: str, path: str) -> st.Page:
    """What stands at the address of a view that a page for reading does not have."""

    def say() -> None:
        st.title(title, anchor=False)
        st.text("This page is read-only: nothing can be added or managed here.")

    return st.Page(say, title=title, url_path=path, visibility="hidden")


def _moved(title: str, path: str, *, to: st.Page) -> st.Page:
    """An address that leads to a view which has another one now."""
    return st.Page(lambda: st.switch_page(to), title=title, url_path=path, visibility="hidden")


def _follow_library() -> bool:
    """Go to the library that the address names, or write there which one this visitor has chosen;
    returns False, and says so, where there is no such library."""
    asked, now = st.query_params.get(_LIBRARY), page_settings().library
    if not may_choose_library():
        return True
    if asked is None or asked == now:
        if now != usual_library():
            st.query_params[_LIBRARY] = now
        return True
    if asked not in libraries():
        st.title("No such library", anchor=False)
        st.text(f"There is no library “{asked}” here.")
        st.button("Go on", on_click=st.query_params.clear, key="known-library")
        return False
    st.session_state.pop("picked", None)  # pictures of the other one
    choose_library(asked)
    return True


def _bottom_bar(pages: Sequence[st.Page]) -> None:
    """Links for a phone; style.py shows them on a small window alone."""
    with st.container(horizontal=True, key="bottom-bar"):
        for page in pages:
            st.page_link(page, width="stretch")


def main() -> None:
    # An icon of our own: one of a view would be fetched from the network.
    st.set_page_config(page_title="scenesearch", page_icon=page_icon(), layout="wide")
    now = page_settings()
    if not is_logged_in(now):
        return
    components.show_said()
    for_all, adding, managing = _pages(_FOR_ALL), _pages(_ADD), _pages(_MANAGE)
    search_page, collections_page = for_all[:2]
    pages = {"": for_all}
    if now.page_read_only:
        absent = [*adding, *managing]
        pages[""] += [_refused(page.title, page.url_path) for page in absent]
        pages[""].append(_refused("Library", _OLD_ADDRESS))
    else:
        pages[""] += [*adding, _moved("Library", _OLD_ADDRESS, to=managing[0])]
        pages["Manage"] = managing
    pages[""].append(_moved("By picture", _BY_PICTURE, to=search_page))
    page = st.navigation(pages, position="top")
    if st.session_state.pop("to_adding", False) and page not in adding:
        st.switch_page(adding[0])
    if "next_collection" in st.session_state:
        name = st.session_state.pop("next_collection")
        st.switch_page(collections_page, query_params={"collection": name})
    if "next_request" in st.session_state:
        st.session_state["q"] = st.session_state.pop("next_request")
        if page != search_page:
            st.switch_page(search_page)
    if page == search_page:
        st.sidebar.container(key="sidebar").empty()  # it opens before there is anything beside it
    components.keys()
    if not _follow_library():
        return
    _bottom_bar([*for_all[:3], *([] if now.page_read_only else adding)])
    page.run()
    log_out_link(now)


main()
