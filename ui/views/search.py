"""Words in, pictures out: the box, what it can be told, filters, and the answer."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import streamlit as st

from scenesearch.errors import SceneSearchError
from scenesearch.search.quoting import as_value
from scenesearch.search.relevance import STRONG
from scenesearch.search.request import QueryError
from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Filter
from ui import components, resources
from ui.components import label
from ui.kept import FILE_NAME, forget_request, read_saved, save_request
from ui.resources import Opened
from ui.views.failures import empty_library, told_in_words
from ui.views.filters import show_filters
from ui.views.results import ORDERS, Question, show_answer, show_library

_EXAMPLES = 4
_LOOKED_AT = 60  # pictures whose captions are read for them
_RECENT = 8

# Asked of a library whose pictures have no captions: what it shows most certainly is offered.
_COMMON = (
    "a dog", "a cat", "people smiling", "children playing", "a beach", "snow", "mountains",
    "a city street", "a car", "a boat on the water", "food on a table", "flowers", "a building",
    "the sky at sunset", "at night", "a horse", "a bird", "a train", "a bicycle", "a garden",
)  # fmt: skip


def show() -> None:
    library = resources.settings().library
    text = search_box()
    with told_in_words(library), resources.searching() as opened:
        if opened.store.count(library) == 0:
            empty_library(library)
            return
        where, min_relevance, order = narrowing(opened)
        if text:
            _remember(text)
            _save_button(opened, text)
            request = opened.parse(text, where=where)
            show_answer(opened, Question(request, min_relevance, order))
        else:
            _suggestions(opened)
            show_library(opened, where)


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
    return (text or "").strip()


def ask(text: str) -> None:
    """Search for this; a callback."""
    st.session_state["q"] = text


def narrowing(opened: Opened) -> tuple[Filter, float, str]:
    """Filters, least relevance and order, beside the answer."""
    with st.sidebar:
        st.subheader("Narrow it down", anchor=False)
        order = st.selectbox("Order", list(ORDERS), key="order", bind="query-params")
        min_relevance = relevance_slider(opened.settings.min_relevance)
        st.toggle(
            "Count the answer's contents",
            key="facets",
            help="Which cameras, tags, folders the found pictures have; a click narrows it down.",
            persist_state="session",
        )
        where = show_filters(opened.library, opened.fields)
        name = opened.encoder.info.name
        components.small(f"Library {opened.library} · encoder {name}", key="about")
    return where, min_relevance, ORDERS[order]


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


def _suggestions(opened: Opened) -> None:
    """What could be asked: from the library's own contents, from before, and how."""
    examples = _examples(opened.library, opened.store.resolve(opened.library), _opened=opened)
    saved = read_saved(_saved_file(opened))
    recent = [text for text in st.session_state.get("recent", []) if text not in saved]
    _row("Try", "example", examples, ask)
    _row("Recent", "recent", recent, ask)
    _row("Saved", "saved", saved[:_RECENT], ask)
    with st.expander("What the box understands", icon=":material/help:"):
        components.small(
            "Describe what the picture shows. Add filters, or take things away with a minus; a "
            "click puts an example into the box. The address of the page is the request: copy it "
            "to share it.",
            key="grammar",
        )
        _row("Filters", "filter", _filters(opened), ask)
        _row("Words", "words", ["dog -people", "dog + snow", "sunset taken:summer"], ask)
        if saved and not opened.settings.page_read_only:
            gone = st.selectbox("Forget a saved request", saved, index=None, key="forget")
            if gone is not None:
                forget_request(_saved_file(opened), gone)
                st.rerun()


def _row(title: str, key: str, texts: list[str], on_click: Callable[[str], None]) -> None:
    if not texts:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"row-{key}"):
        with st.container(width="content"):
            components.small(title, key=f"row-{key}")
        for number, text in enumerate(texts):
            st.button(
                label(text),
                key=f"ask-{key}-{number}",
                on_click=on_click,
                args=(text,),
                type="tertiary",
            )


@st.cache_data(ttl=300, show_spinner=False)
def _examples(library: str, collection: str, _opened: Opened) -> list[str]:
    """Requests that the library answers: short captions of its pictures, else common scenes that
    it shows. `collection` tells one that was promoted from the one before.

    Points come in the order of their hashes: the first ones are no kind of their own.
    """
    found: dict[str, None] = {}
    points = _opened.store.scroll(library, payload=("captions",), batch_size=_LOOKED_AT)
    for point in islice(points, _LOOKED_AT):
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
        except QueryError:  # words that this encoder does not know
            continue
        certain += [(hit.relevance or 0.0, text) for hit in hits]
    return [text for _, text in sorted(certain, reverse=True)[:_EXAMPLES]]


def _filters(opened: Opened) -> list[str]:
    """A filter for each field that has values, with one of them."""
    examples = []
    for field in opened.fields:
        if field.widget == "choice":
            examples += _first_value(opened.library, field)
        elif field.widget == "date_range" and resources.has_values(opened.library, field.name):
            examples.append(f"{field.name}:2019..2021")
        elif field.name == "captions":
            examples.append("has:caption")
        elif field.name == "width":
            examples.append("width:>2000")
    return examples[:8]


def _first_value(library: str, field: PayloadField) -> list[str]:
    values = [v for v in resources.choices(library, field.name) if v != "."]
    return [f"{field.name}:{as_value(str(values[0]))}"] if values else []


def _remember(text: str) -> None:
    """Keep it among this visitor's last requests."""
    recent = st.session_state.get("recent", [])
    st.session_state["recent"] = [text, *(one for one in recent if one != text)][:_RECENT]


def _save_button(opened: Opened, text: str) -> None:
    if opened.settings.page_read_only:
        return
    if text in read_saved(_saved_file(opened)):
        return
    if st.button("Save this request", icon=":material/bookmark_add:", type="tertiary", key="save"):
        try:
            save_request(_saved_file(opened), text)
        except OSError as error:
            raise SceneSearchError(f"the request cannot be saved: {error.strerror}") from None
        st.rerun()


def _saved_file(opened: Opened) -> Path:
    return opened.settings.library_dir(opened.library) / FILE_NAME
