"""What the library holds, read once for all visitors: values to filter by, and counts."""

from collections import Counter
from dataclasses import dataclass
from pathlib import PurePath

import streamlit as st

from scenesearch.home.collection_members import Members
from scenesearch.home.saved_collections import SavedCollection
from scenesearch.pictures.duplicates import Group, HashedPicture, find_groups, hashed_picture
from scenesearch.store.filters import Has
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
