"""Maps that browsers show now, by token: points as bytes, and which picture each of them is.

A browser is told numbers in the place of ids, so that 100,000 pictures are 0.9 MB.
"""

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import streamlit as st
from numpy.typing import NDArray

# Each holds the ids of a library. A browser whose map was forgotten asks for it anew.
_MOST_MAPS = 8
_MOST_COLOURS = 8


@dataclass(frozen=True)
class ShownMap:
    """The pictures of a map, in order. `points` is their number as 32 bits, two 32-bit floats for
    each, then a byte for each: the part that it is in. `colours` has a byte for each by field."""

    ids: Sequence[str]
    points: bytes
    colours: "OrderedDict[str, bytes]" = field(default_factory=OrderedDict)

    def colour(self, name: str, codes: bytes) -> None:
        """Keep the colours by this field, a byte for each picture."""
        self.colours[name] = codes
        while len(self.colours) > _MOST_COLOURS:
            self.colours.popitem(last=False)


def packed(places: NDArray[np.float32], labels: NDArray[np.uint8]) -> bytes:
    """The points of a map as `ShownMap` has them, little-endian."""
    count = np.array([len(places)], "<u4")
    return count.tobytes() + places.astype("<f4").tobytes() + labels.astype("u1").tobytes()


class ShownMaps:
    """The maps shown last. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._maps: OrderedDict[str, ShownMap] = OrderedDict()
        # Nobody can guess the token of a map that this page does not show.
        self._salt = secrets.token_bytes(16)

    def keep(self, ids: Sequence[str], points: bytes) -> tuple[str, ShownMap]:
        """The map, with its token: the same for the same map."""
        token = hashlib.sha256(self._salt + points).hexdigest()[:32]
        with self._lock:
            shown = self._maps.get(token)
            if shown is None or shown.ids != ids:
                shown = self._maps[token] = ShownMap(ids, points)
            self._maps.move_to_end(token)
            while len(self._maps) > _MOST_MAPS:
                self._maps.popitem(last=False)
        return token, shown

    def get(self, token: str) -> ShownMap | None:
        with self._lock:
            return self._maps.get(token)


@st.cache_resource(show_spinner=False)
def shown_maps() -> ShownMaps:
    return ShownMaps()
