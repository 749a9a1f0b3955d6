"""A gallery's vectors in memory: ranks it for many descriptions with one matrix product.

It gives the order of `Searcher.ranking`, as a store that scans does. A store answers one request at
a time, and building a thousand hits for each takes longer than all products together.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scenesearch.store.ask import RESCORED, Penalty
from scenesearch.store.base import VectorStore
from scenesearch.store.filters import Filter

# Up to this size every store scans; 20,000 vectors of 512 dimensions are 41 MB.
MAX_PICTURES = 20_000


class Gallery:
    """Image ids with their vectors, `(n, dimension)`, in the order of the ids."""

    def __init__(
        self, image_ids: Sequence[str], vectors: NDArray[np.float32], penalty: Penalty | None
    ) -> None:
        order = sorted(range(len(image_ids)), key=image_ids.__getitem__)
        # Sorted by id, a stable sort by score leaves ties in the order of their ids.
        self._ids = np.array([image_ids[n] for n in order], dtype=object)
        self._vectors = vectors[order]
        self._penalties = None if penalty is None else penalty(self._vectors)

    @classmethod
    def of(
        cls, store: VectorStore, collection: str, where: Filter, penalty: Penalty | None
    ) -> "Gallery":
        """The pictures of the collection that pass the filter."""
        points = store.scroll(collection, where=where, payload=(), with_vectors=True)
        found = [(point.image_id, point.vector) for point in points if point.vector is not None]
        return cls([name for name, _ in found], np.stack([vector for _, vector in found]), penalty)

    def rank(
        self, queries: NDArray[np.float32], depth: int
    ) -> list[tuple[list[str], NDArray[np.float64]]]:
        """For each query, `(n, dimension)`: the first `depth` ids, and scores that only fall.

        As in `Searcher.ranking`, the nearest pictures are ranked again by cosine minus penalty. The
        cosines are then handed out in descending order, so a score may belong to another picture.
        """
        cosines = queries @ self._vectors.T  # (queries, pictures)
        order = np.argsort(-cosines, axis=1, kind="stable")
        ranked = []
        for row, nearest in zip(cosines, order, strict=True):
            if self._penalties is not None:
                first = np.sort(nearest[:RESCORED])  # by id, for ties
                worth = row[first].astype(np.float64) - self._penalties[first]
                nearest[: len(first)] = first[np.argsort(-worth, kind="stable")]
            top = nearest[:depth]
            scores = np.sort(row[top].astype(np.float64))[::-1]
            ranked.append((self._ids[top].tolist(), scores))
        return ranked
