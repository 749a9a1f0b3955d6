"""A library by date, and its shape: where each of its pictures lies, before any is told of."""

import threading
import time
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from scenesearch.search.request import Order, Request
from scenesearch.search.searcher import Searcher
from scenesearch.store.filters import Filter
from ui.gallery.answers import Answer, Portion
from ui.gallery.items import day_of
from ui.resources import OpenLibrary

# Width by height in so many parts: two bytes hold what the browser draws, from .4 to 4.
_PARTS = 10_000
_MOST = 2**16 - 1

# Listing 100,000 pictures takes a second: the lists of so large libraries are up to a minute old.
_LARGE = 20_000
_LISTED_FOR_S = 60.0
_MAX_LISTS = 16


@dataclass(frozen=True)
class Shape:
    """The proportions of pictures in order, 0 where they are not known, and of each month, as
    2019-07, the place of its first picture; '' begins those without a date."""

    aspects: NDArray[np.uint16]
    months: Sequence[tuple[str, int]]

    def told(self) -> dict[str, Any]:
        """As the gallery takes it: the proportions as little-endian numbers in base64."""
        return {
            "aspects": b64encode(self.aspects.astype("<u2").tobytes()).decode(),
            "months": self.months,
        }


class Listed:
    """Ids of pictures by date; their shape is read once, when it is first asked for. Safe for
    threads."""

    def __init__(self, ids: Sequence[str], where: Filter) -> None:
        self.ids = ids
        self._where = where
        self._shape: Shape | None = None
        self._lock = threading.Lock()

    def shape(self, opened: OpenLibrary) -> Shape:
        """That of the pictures as they are now; one that is gone keeps its place."""
        with self._lock:
            if self._shape is None:
                self._shape = self._read(opened)
            return self._shape

    def _read(self, opened: OpenLibrary) -> Shape:
        aspects: dict[str, int] = {}
        taken: dict[str, str] = {}
        fields = ("width", "height", "taken")
        for point in opened.store.scroll(opened.library, where=self._where, payload=fields):
            known = point.payload
            aspects[point.image_id] = _aspect(known.get("width"), known.get("height"))
            taken[point.image_id] = day_of(known)[:7]
        months: list[tuple[str, int]] = []
        for place, image_id in enumerate(self.ids):
            month = taken.get(image_id)
            if month is not None and (not months or months[-1][0] != month):
                months.append((month, place))
        return Shape(np.array([aspects.get(one, 0) for one in self.ids], np.uint16), months)


class Listing(Answer):
    """All of a library, or what passes a filter, by date: any part of it can be told of at once."""

    def __init__(self, listed: Listed) -> None:
        super().__init__(listed.ids)
        self._listed = listed

    def portion(self, opened: OpenLibrary, after: str | None, limit: int) -> Portion:
        """The pictures from a place on, which the portion says: one that is gone leaves a gap."""
        return super().portion(opened, after, limit)._replace(start=int(after or 0))

    def shape(self, opened: OpenLibrary) -> Shape:
        """Where its pictures lie."""
        return self._listed.shape(opened)

    def place(self, image_id: str) -> int | None:
        """Where the picture stands, from 0; None if it is not among them."""
        try:
            return self._listed.ids.index(image_id)
        except ValueError:
            return None


def _aspect(width: object, height: object) -> int:
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        return min(max(round(_PARTS * width / height), 1), _MOST)
    return 0


class _Lists:
    """A library's pictures by date, for all visitors; one list for each filter."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, Filter], tuple[str, float, Listed]] = OrderedDict()

    def get(self, opened: OpenLibrary, searcher: Searcher, where: Filter) -> Listed:
        key, version, now = (opened.library, where), opened.version, time.monotonic()
        with self._lock:
            known, at, listed = self._kept.get(key, ("", 0.0, Listed((), where)))
            is_recent = len(listed.ids) > _LARGE and now - at < _LISTED_FOR_S
            if known != version and not is_recent:
                by_date = Request(where=where, sort=Order("taken", descending=True))
                listed = Listed(searcher.every_id(by_date), where)
                self._kept[key] = version, now, listed
            self._kept.move_to_end(key)
            while len(self._kept) > _MAX_LISTS:
                self._kept.popitem(last=False)
            return listed


@st.cache_resource(show_spinner=False)
def _lists() -> _Lists:
    return _Lists()


def newest_first(opened: OpenLibrary, searcher: Searcher, where: Filter = ()) -> Listed:
    """All pictures that pass the filter, by date; those without one come last."""
    return _lists().get(opened, searcher, where)
