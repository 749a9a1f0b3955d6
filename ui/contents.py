"""What the library holds, read once for all visitors: values to filter by, and counts."""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import streamlit as st

from scenesearch.home.collection_members import Members
from scenesearch.home.saved_collections import SavedCollection
from scenesearch.pictures.duplicates import Group, HashedPicture, find_groups, hashed_picture
from scenesearch.search.request import Order, Request
from scenesearch.search.searcher import Searcher
from scenesearch.store.filters import Filter, Has
from ui.api_client import ApiError
from ui.api_library import ApiSearcher
from ui.resources import OpenLibrary, store

# More values than this are not listed; the filter then takes typed ones too.
MAX_CHOICES = 200


@st.cache_data(ttl=60, show_spinner=False)
def choices(library: str, field: str) -> list[str | int | bool]:
    """The field's values in the library, most frequent first; at most a minute old."""
    return [value for value, _ in store().facet(library, field, limit=MAX_CHOICES)]


@st.cache_data(ttl=60, show_spinner=False)
def has_values(library: str, field: str) -> bool:
    """Whether any picture has a value in this field; at most a minute old."""
    return store().count(library, where=(Has(field),)) > 0


@dataclass(frozen=True)
class Statistics:
    """Counts of the library's pictures, and groups of pictures that are the same."""

    formats: Counter[str]
    years: Counter[str]
    size_bytes: int
    captioned: int
    located: int
    duplicates: list[Group]


def statistics(opened: OpenLibrary) -> Statistics:
    """Read once for all visitors."""
    library, store = opened.library, opened.store
    return _statistics(library, store.resolve(library), store.count(library))


# The collection and the count tell when the library has changed.
@st.cache_data(ttl=300, max_entries=2, show_spinner="Counting …")
def _statistics(library: str, collection: str, count: int) -> Statistics:
    formats: Counter[str] = Counter()
    years: Counter[str] = Counter()
    size = captioned = located = 0
    looks: list[HashedPicture] = []
    wanted = ("path", "taken", "size_bytes", "captions", "location", "sha256", "phash")
    for point in store().scroll(library, payload=wanted):
        payload = point.payload
        formats[PurePath(str(payload.get("path", ""))).suffix.lower().lstrip(".") or "none"] += 1
        years[str(payload.get("taken", ""))[:4] or "unknown"] += 1
        size += int(payload.get("size_bytes") or 0)
        captioned += bool(payload.get("captions"))
        located += payload.get("location") is not None
        if look := hashed_picture(point.image_id, payload):
            looks.append(look)
    return Statistics(formats, years, size, captioned, located, find_groups(looks))


def members(opened: OpenLibrary, saved: SavedCollection) -> list[str]:
    """The ids of a saved collection's pictures, at most a minute old; raises QueryError for a
    request that cannot be asked (any more)."""
    library, store = opened.library, opened.store
    return _members(library, store.resolve(library), store.count(library), saved, _opened=opened)


@st.cache_data(ttl=60, max_entries=64, show_spinner="Looking for its pictures …")
def _members(
    library: str, collection: str, count: int, saved: SavedCollection, _opened: OpenLibrary
) -> list[str]:
    if isinstance(_opened.searcher, ApiSearcher):
        raise ApiError("collections are shown on the API server, not on this page")
    found = Members(_opened.searcher, saved, _opened.settings.min_relevance, _opened.parse)
    return [hit.image_id for hit in found]


# Listing 100,000 pictures takes a second: the lists of so large libraries are up to a minute old.
_LARGE = 20_000
_LISTED_FOR_S = 60.0
_MAX_LISTS = 16


class _Lists:
    """The ids of a library's pictures by date, for all visitors; one list for each filter."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, Filter], tuple[str, float, list[str]]] = OrderedDict()

    def get(self, opened: OpenLibrary, searcher: Searcher, where: Filter) -> Sequence[str]:
        key, version, now = (opened.library, where), opened.version, time.monotonic()
        with self._lock:
            known, at, ids = self._kept.get(key, ("", 0.0, []))
            is_recent = len(ids) > _LARGE and now - at < _LISTED_FOR_S
            if known != version and not is_recent:
                ids = searcher.every_id(Request(where=where, sort=Order("taken", descending=True)))
                self._kept[key] = version, now, ids
            self._kept.move_to_end(key)
            while len(self._kept) > _MAX_LISTS:
                self._kept.popitem(last=False)
            return ids


@st.cache_resource(show_spinner=False)
def _lists() -> _Lists:
    return _Lists()


def newest_first(opened: OpenLibrary, searcher: Searcher, where: Filter = ()) -> Sequence[str]:
    """The ids of all pictures that pass the filter, by date; those without one come last."""
    return _lists().get(opened, searcher, where)
