"""Before a request: what to search for, as tiles with the library's own pictures, what was searched
for and saved before, and the grammar of the box."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from urllib.parse import urlencode

import streamlit as st

from scenesearch.home.saved_collections import (
    SavedCollection,
    delete_collection,
    read_collections,
)
from scenesearch.search.answer import Hit
from scenesearch.search.quoting import as_value
from scenesearch.search.relevance import STRONG
from scenesearch.search.request import QueryError
from scenesearch.store.base import Point
from ui.components import label, small
from ui.contents import choices, has_values
from ui.gallery.items import version_of
from ui.pictures import Picture
from ui.resources import OpenLibrary, library_files
from ui.scripts import component
from ui.settings import asks_server, our_base

RECENT = 8  # requests that are remembered, and saved ones that are shown

_EXAMPLES = 6
_CAPTIONED = 60  # so many pictures' captions are read for them
_TRIED = 12  # captions that are searched for
_TILE_HEIGHT = 220

# Tried on a library whose pictures have no captions: those with the surest hits become examples.
_COMMON = (
    "a dog", "a cat", "people smiling", "children playing", "a beach", "snow", "mountains",
    "a city street", "a car", "a boat on the water", "food on a table", "flowers", "a building",
    "the sky at sunset", "at night", "a horse", "a bird", "a train", "a bicycle", "a garden",
)  # fmt: skip

_KEY = "tiles"


@dataclass(frozen=True)
class Tile:
    """A request or the name of a collection, and the picture that stands for it, '' for none."""

    kind: str  # request or collection
    text: str
    image_id: str = ""
    version: str = ""


def show_suggestions(opened: OpenLibrary) -> None:
    """What to search for: examples from the library, earlier requests, and the grammar."""
    file = library_files().saved_requests
    collections = [] if asks_server() else read_collections(file)
    library, collection = opened.library, opened.store.resolve(opened.library)
    _show_tiles(
        {
            "Try": _examples(library, collection, _opened=opened),
            "Saved": [
                _saved_tile(library, collection, one, _opened=opened)
                for one in collections[:RECENT]
            ],
        }
    )
    saved = [one.request for one in collections if one.is_plain]
    recent = [text for text in st.session_state.get("recent", []) if text not in saved]
    _suggestions("Recent", "recent", recent)
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
                delete_collection(file, chosen)
                st.rerun()


def ask(text: str) -> None:
    """Search for this; a callback."""
    st.session_state["q"] = text


# --- tiles -------------------------------------------------------------------------------------


def _show_tiles(rows: dict[str, Sequence[Tile]]) -> None:
    told = [
        {"title": title, "tiles": [_told(tile) for tile in tiles]}
        for title, tiles in rows.items()
        if tiles
    ]
    if told:
        with st.container(key=f"tiles-{len(told)}"):
            data = {"base": our_base(), "rows": told}
            component("tiles")(key=_KEY, data=data, on_chosen_change=_choose)


def _told(tile: Tile) -> dict[str, str]:
    asked = urlencode({"id": tile.image_id, "v": tile.version, "h": _TILE_HEIGHT})
    picture = f"{our_base()}gallery/thumb?{asked}" if tile.image_id else ""
    return {"kind": tile.kind, "text": tile.text, "picture": picture}


def _choose() -> None:
    """Search for the request of the tile, or open its collection; a callback."""
    chosen = (st.session_state.get(_KEY) or {}).get("chosen") or {}
    text = str(chosen.get("text", ""))
    if chosen.get("kind") == "collection":
        st.session_state["next_collection"] = text  # the page goes there next, see `ui.app`
    elif text:
        ask(text)


@st.cache_data(ttl=300, show_spinner=False)
def _examples(library: str, collection: str, _opened: OpenLibrary) -> list[Tile]:
    """Requests that the library answers, each with the picture that answers it best: short
    captions of its pictures, else common scenes that it shows. After a promote, the collection is
    another one and they are found again.
    """
    captions = list(_captions(_opened))
    if captions:
        texts = captions[:: max(1, len(captions) // _TRIED)][:_TRIED]
        found = [(text, hit) for text in texts for hit in _best(text, _opened)]
    else:
        found = [(text, hit) for text in _COMMON for hit in _best(text, _opened, STRONG)]
        found.sort(key=lambda one: -(one[1].relevance or 0.0))
    # A picture stands for one request.
    tiles = {hit.image_id: _tile("request", text, hit) for text, hit in reversed(found)}
    return list(tiles.values())[::-1][:_EXAMPLES]


def _captions(opened: OpenLibrary) -> Iterator[str]:
    """Short captions. Points come in the order of their hashes: the first ones are a random
    sample."""
    seen = set()
    points = opened.store.scroll(opened.library, payload=("captions",), batch_size=_CAPTIONED)
    for point in islice(points, _CAPTIONED):
        texts = [text.strip().rstrip(".").strip() for text in point.payload.get("captions") or ()]
        short = min((text for text in texts if 2 <= len(text.split()) <= 9), key=len, default="")
        if short and short not in seen:
            seen.add(short)
            yield short


@st.cache_data(ttl=300, max_entries=256, show_spinner=False)
def _saved_tile(library: str, collection: str, one: SavedCollection, _opened: OpenLibrary) -> Tile:
    """The collection with the picture that was chosen for it, else the first of it."""
    kind, text = ("request", one.request) if one.is_plain else ("collection", one.name)
    wanted = [image_id for image_id in (one.picture, *one.added[:1]) if image_id]
    points = _opened.store.retrieve(library, wanted) if wanted else {}
    found: list[Point | Hit] = [points[image_id] for image_id in wanted if image_id in points]
    if not found and one.request:
        found += _best(one.request, _opened)
    return _tile(kind, text, found[0]) if found else Tile(kind, text)


def _best(text: str, opened: OpenLibrary, min_relevance: float = 0.0) -> tuple[Hit, ...]:
    """The picture that answers best, if one does."""
    try:
        return opened.searcher.search(opened.parse(text), k=1, min_relevance=min_relevance).hits
    except QueryError:  # the encoder does not know these words, a field that is not shown
        return ()


def _tile(kind: str, text: str, picture: Point | Hit) -> Tile:
    shown = Picture(picture.image_id, picture.payload)
    return Tile(kind, text, picture.image_id, version_of(shown))


# --- texts -------------------------------------------------------------------------------------


def _suggestions(title: str, key: str, texts: Sequence[str]) -> None:
    """A row of texts; a click searches for one."""
    if not texts:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"row-{key}"):
        with st.container(width="content"):
            small(title, key=f"row-{key}")
        for number, text in enumerate(texts):
            st.button(
                label(text), key=f"ask-{key}-{number}", on_click=ask, args=(text,), type="tertiary"
            )


def _filter_examples(opened: OpenLibrary) -> list[str]:
    """A filter for each field that has values, with one of them; and two that are joined."""
    examples = []
    for field in opened.fields:
        if field.widget == "choice":
            values = [v for v in choices(opened.library, field.name) if v != "."]
            examples += [f"{field.name}:{as_value(str(value))}" for value in values[:1]]
        elif field.widget == "date_range" and has_values(opened.library, field.name):
            examples.append(f"{field.name}:2019..2021")
        elif field.name == "captions":
            examples.append("has:caption")
        elif field.name == "width":
            examples.append("width:>2000")
    either = [f"({examples[0]} or {examples[1]})"] if len(examples) > 1 else []
    return [*examples[:7], *either]
