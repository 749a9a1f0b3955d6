"""Near-duplicates among hits: the same file, or one that looks the same, becomes one hit.

Two pictures look the same when their perceptual hashes (`scenesearch.pictures.duplicates`) differ
in few bits and their scores hardly at all: a hash alone takes one black frame with a dot for
another.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from scenesearch.pictures.duplicates import NEAR

MAX_SCORE_GAP = 0.05


class Copies:
    """Assigns each hit, in ranking order, to the first hit that it is a copy of."""

    def __init__(self) -> None:
        self._by_content: dict[str, int] = {}
        self._hashes = np.zeros(64, np.uint64)
        self._scores = np.zeros(64, np.float64)
        self._owners: list[int] = []

    def first_of(self, position: int, payload: Mapping[str, Any], score: float) -> int:
        """The position of the hit that this one is a copy of, its own when it is none."""
        content = payload.get("sha256")
        looks = _looks(payload.get("phash"))
        if content and content in self._by_content:
            return self._by_content[content]
        first = position
        if looks is not None:
            known = len(self._owners)
            distances = np.bitwise_count(self._hashes[:known] ^ looks)
            near = (distances <= NEAR) & (np.abs(self._scores[:known] - score) <= MAX_SCORE_GAP)
            if near.any():
                first = self._owners[int(near.argmax())]
            else:
                self._remember(position, looks, score)
        if content:
            self._by_content[content] = first
        return first

    def _remember(self, position: int, looks: np.uint64, score: float) -> None:
        known = len(self._owners)
        if known == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
            self._scores = np.concatenate([self._scores, np.zeros_like(self._scores)])
        self._hashes[known], self._scores[known] = looks, score
        self._owners.append(position)


def _looks(phash: Any) -> np.uint64 | None:
    try:
        bits = int(phash, 16) if isinstance(phash, str) else None
    except ValueError:
        return None
    return None if bits is None or bits >= 1 << 64 else np.uint64(bits)
