"""Where the library's pictures were taken, read once for all visitors."""

from dataclasses import dataclass

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Has
from ui.map.shown import packed, shown_maps
from ui.resources import OpenLibrary, leased_store


@dataclass(frozen=True)
class Places:
    """Pictures with a place: `(n, 2)` longitude and latitude in degrees."""

    ids: list[str]
    places: NDArray[np.float32]

    def shown(self) -> str:
        """The token by which a browser gets them."""
        points = packed(self.places, np.zeros(len(self.ids), np.uint8))
        return shown_maps().keep(self.ids, points)[0]


def place_field(opened: OpenLibrary) -> PayloadField | None:
    """The field with places, if there is one and this page shows it."""
    return next((field for field in opened.fields if field.type == "geo"), None)


def places(opened: OpenLibrary, field: str) -> Places:
    """The pictures with a place in this field, as of the last write."""
    library = opened.library
    with leased_store() as store:
        return _places(library, field, store.resolve(library), store.version(library))


@st.cache_resource(max_entries=2, show_spinner="Reading the places …")
def _places(library: str, field: str, collection: str, version: str) -> Places:
    ids: list[str] = []
    found: list[tuple[float, float]] = []
    with leased_store() as store:
        for point in store.scroll(library, where=(Has(field),), payload=(field,)):
            place = point.payload.get(field)
            if isinstance(place, dict):
                ids.append(point.image_id)
                found.append((float(place["lon"]), float(place["lat"])))
    return Places(ids, np.array(found, np.float32).reshape(-1, 2))
