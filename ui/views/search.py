"""Search by words: the box, suggestions of what to type, and the answer."""

from collections.abc import Sequence
from itertools import islice

import streamlit as st

from scenesearch.errors import SceneSearchError
from scenesearch.home.saved_requests import forget_request, read_saved, save_request
from scenesearch.search.quoting import as_value
from scenesearch.search.relevance import STRONG
from scenesearch.search.request import QueryError
from ui.components import label, small
from ui.contents import choices, has_dates
from ui.resources import OpenLibrary, library_files, open_library
from ui.settings import page_settings
from ui.views.errors import errors_shown, show_empty_library
from ui.views.results import Question, show_answer, show_library
from ui.views.sidebar import show_sidebar

_EXAMPLES = 4
_CAPTIONED = 60  # so many pictures' captions are read for them
_RECENT = 8

# Tried on a library whose pictures have no captions: those with the surest hits become examples.
_COMMON = (
    "a dog", "a cat", "people smiling", "children playing", "a beach", "snow", "mountains",
    "a city street", "a car", "a boat on the water", "food on a table", "flowers", "a building",
    "the sky at sunset", "at night", "a horse", "a bird", "a train", "a bicycle", "a garden",
)  # fmt: skip


def show() -> None:
    library = page_settings().library
    text = search_box()
    with errors_shown(library), open_library() as opened:
        if opened.store.count(library) == 0:
            show_empty_library(library)
            return
        where, min_relevance, order = show_sidebar(
            opened,
            opened.searcher.default_cut(),
            "at most one in ten things that the library does not show is found",
        )
        if text:
            recent = [other for other in st.session_state.get("recent", []) if other != text]
            st.session_state["recent"] = [text, *recent][:_RECENT]
            _offer_to_save(text)
            request = opened.parse(text, where=where)
            show_answer(opened, Question(request, min_relevance, order))
        else:
            _suggest(opened)
            show_library(opened, where)


def search_box() -> str:
    """The text last searched for. In a form: typing does not rerun the page."""
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
    return (text or "").strip()


def ask(text: str) -> None:
    """Search for this; a callback."""
    st.session_state["q"] = text


def _suggest(opened: OpenLibrary) -> None:
    """What to search for: examples from the library, earlier requests, and the grammar."""
    file = library_files().saved_requests
    saved = read_saved(file)
    recent = [text for text in st.session_state.get("recent", []) if text not in saved]
    collection = opened.store.resolve(opened.library)
    _suggestions("Try", "example", _examples(opened.library, collection, _opened=opened))
    _suggestions("Recent", "recent", recent)
    _suggestions("Saved", "saved", saved[:_RECENT])
    with st.expander("What the box understands", icon=":material/help:"):
        small(
            "Describe what the picture shows. Add filters, or exclude things with a minus; a click "
            "puts an example into the box. The address of the page contains the request: copy it "
            "to share the search.",
            key="grammar",
        )
        _suggestions("Filters", "filter", _filter_examples(opened))
        _suggestions("Words", "words", ["dog -people", "dog + snow", "sunset taken:summer"])
        if saved and not opened.settings.page_read_only:
            chosen = st.selectbox("Forget a saved request", saved, index=None, key="forget")
            if chosen is not None:
                forget_request(file, chosen)
                st.rerun()


def _suggestions(title: str, key: str, texts: Sequence[str]) -> None:
    """A row of texts; a click searches for one."""
    if not texts:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"row-{key}"):
        with st.container(width="content"):
            small(title, key=f"row-{key}")
        for number, text in enumerate(texts):
            st.button(
                label(text),
                key=f"ask-{key}-{number}",
                on_click=ask,
                args=(text,),
                type="tertiary",
            )


@st.cache_data(ttl=300, show_spinner=False)
def _examples(library: str, collection: str, _opened: OpenLibrary) -> list[str]:
    """Requests that the library answers: short captions of its pictures, else common scenes that
    it shows. After a promote, the collection is another one and they are found again.

    Points come in the order of their hashes: the first ones are a random sample.
    """
    found: dict[str, None] = {}
    points = _opened.store.scroll(library, payload=("captions",), batch_size=_CAPTIONED)
    for point in islice(points, _CAPTIONED):
        texts = [text.strip().rstrip(".") for text in point.payload.get("captions") or ()]
        short = min((text for text in texts if 2 <= len(text.split()) <= 9), key=len, default="")
        if short:
            found.setdefault(short)
    captions = list(found)
    if captions:
        return captions[:: max(1, len(captions) // _EXAMPLES)][:_EXAMPLES]
    certain = []
    for text in _COMMON:
        try:
            hits = _opened.searcher.search(text, k=1, min_relevance=STRONG).hits
        except QueryError:  # the encoder does not know these words
            continue
        certain += [(hit.relevance or 0.0, text) for hit in hits]
    return [text for _, text in sorted(certain, reverse=True)[:_EXAMPLES]]


def _filter_examples(opened: OpenLibrary) -> list[str]:
    """A filter for each field that has values, with one of them."""
    examples = []
    for field in opened.fields:
        if field.widget == "choice":
            values = [v for v in choices(opened.library, field.name) if v != "."]
            examples += [f"{field.name}:{as_value(str(value))}" for value in values[:1]]
        elif field.widget == "date_range" and has_dates(opened.library, field.name):
            examples.append(f"{field.name}:2019..2021")
        elif field.name == "captions":
            examples.append("has:caption")
        elif field.name == "width":
            examples.append("width:>2000")
    return examples[:8]


def _offer_to_save(text: str) -> None:
    file = library_files().saved_requests
    if page_settings().page_read_only or text in read_saved(file):
        return
    if st.button("Save this request", icon=":material/bookmark_add:", type="tertiary", key="save"):
        try:
            save_request(file, text)
        except OSError as error:
            raise SceneSearchError(f"the request cannot be saved: {error.strerror}") from None
        st.rerun()
