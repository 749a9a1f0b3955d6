"""What the library holds, read once for all visitors: values to filter by, counts, points."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from scenesearch.pictures.duplicates import Group, HashedPicture, find_groups, hashed_picture
from scenesearch.store.filters import Range
from ui.resources import OpenLibrary, store

# More values than this are not listed; the filter then takes typed ones too.
MAX_CHOICES = 200

_LONG_AGO = datetime(1, 1, 2, tzinfo=UTC)


@st.cache_data(ttl=60, show_spinner=False)
def choices(library: str, field: str) -> list[str | int | bool]:
    """The field's values in the library, most frequent first; at most a minute old."""
    return [value for value, _ in store().facet(library, field, limit=MAX_CHOICES)]


@st.cache_data(ttl=60, show_spinner=False)
def has_dates(library: str, field: str) -> bool:
    """Whether any picture has a value in this date field; at most a minute old."""
    return store().count(library, where=(Range(field, at_least=_LONG_AGO),)) > 0


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


# The collection and the count tell when the library has changed.
@st.cache_data(ttl=300, max_entries=2, show_spinner="Reading the library …")
def spread_points(
    library: str, collection: str, count: int, most: int
) -> tuple[list[str], NDArray[np.float32], list[dict[str, Any]]]:
    """Up to `most` pictures spread evenly over the library: ids, embeddings, payloads."""
    every = max(1, -(-count // most))
    ids, embeddings, payloads = [], [], []
    for number, point in enumerate(store().scroll(library, with_vectors=True)):
        if number % every == 0 and point.vector is not None:
            ids.append(point.image_id)
            embeddings.append(point.vector)
            payloads.append(dict(point.payload))
    return ids, np.stack(embeddings) if ids else np.empty((0, 2), np.float32), payloads
