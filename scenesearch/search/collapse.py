"""Near-duplicates among candidates: the same file, or one that looks the same, becomes one hit.

Two pictures look the same when their perceptual hashes (`scenesearch.pictures.duplicates`) differ
in few bits and their scores hardly at all: a hash alone takes one black frame with a dot for
another.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scenesearch.pictures.duplicates import NEAR
from scenesearch.search.retrieval import Candidate
from scenesearch.store.base import ScoredPoint

MAX_SCORE_GAP = 0.05

# A candidate and the ids of its near-duplicates.
Group = tuple[Candidate, tuple[str, ...]]


def collapse(candidates: Sequence[Candidate], wrong: Sequence[ScoredPoint]) -> list[Group]:
    """The first picture of each group of near-duplicates; those of `wrong` ones are left out."""
    owners = _Owners()
    for position, point in enumerate(wrong, start=-len(wrong)):
        owners.of(position, point.payload, point.score)
    groups: dict[int, list[str]] = {}
    for position, candidate in enumerate(candidates):
        owner = owners.of(position, candidate.point.payload, candidate.point.score)
        if owner == position:
            groups[position] = []
        elif owner >= 0:
            groups[owner].append(candidate.point.image_id)
    return [(candidates[owner], tuple(others)) for owner, others in groups.items()]


class _Owners:
    """Finds for each picture, in ranking order, the first one that it is a duplicate of."""

    def __init__(self) -> None:
        self._by_content: dict[str, int] = {}
        self._hashes = np.zeros(64, np.uint64)
        self._scores = np.zeros(64, np.float64)
        self._positions: list[int] = []

    def of(self, position: int, payload: Mapping[str, Any], score: float) -> int:
        """The position of the picture that this one is a duplicate of; its own if of none."""
        content = payload.get("sha256")
        if content and content in self._by_content:
            return self._by_content[content]
        owner = position
        phash = _read_hash(payload.get("phash"))
        if phash is not None:
            count = len(self._positions)
            distances = np.bitwise_count(self._hashes[:count] ^ phash)
            near = (distances <= NEAR) & (np.abs(self._scores[:count] - score) <= MAX_SCORE_GAP)
            if near.any():
                owner = self._positions[int(near.argmax())]
            else:
                if count == len(self._hashes):
                    self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
                    self._scores = np.concatenate([self._scores, np.zeros_like(self._scores)])
                self._hashes[count], self._scores[count] = phash, score
                self._positions.append(position)
        if content:
            self._by_content[content] = owner
        return owner


def _read_hash(phash: Any) -> np.uint64 | None:
    try:
        bits = int(phash, 16) if isinstance(phash, str) else None
    except ValueError:
        return None
    return None if bits is None or bits >= 1 << 64 else np.uint64(bits)
