"""A gallery's vectors in memory, ranked for many descriptions by one matrix product.

It gives the order of `Searcher.ranking`, which a store finds in the same way where it scans: the
engine asks and answers one request at a time, and making a thousand hits of each takes longer
than all products together.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scenesearch.store.ask import RESCORED, Penalty
from scenesearch.store.base import VectorStore
from scenesearch.store.filters import Filter

# Up to so many pictures every home scans; 20,000 vectors of 512 dimensions are 41 MB.
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
        """What the collection holds and the filter lets pass."""
        points = store.scroll(collection, where=where, payload=(), with_vectors=True)
        held = [(point.image_id, point.vector) for point in points if point.vector is not None]
        return cls([name for name, _ in held], np.stack([vector for _, vector in held]), penalty)

    def rank(
        self, queries: NDArray[np.float32], depth: int
    ) -> list[tuple[list[str], NDArray[np.float64]]]:
        """Of each query, `(n, dimension)`, the `depth` first ids with falling scores.

        As in `Searcher.ranking`, the nearest are ranked again by their cosines less their
        penalty, and the highest cosine goes to the first, whichever picture it is.
        """
        cosines = queries @ self._vectors.T  # (queries, pictures)
        order = np.argsort(-cosines, axis=1, kind="stable")
        ranked = []
        for row, nearest in zip(cosines, order, strict=True):
            if self._penalties is not None:
                first = np.sort(nearest[:RESCORED])  # by id, for ties
                worth = row[first].astype(np.float64) - self._penalties[first]
                nearest[: len(first)] = first[np.argsort(-worth, kind="stable")]
            kept = nearest[:depth]
            scores = np.sort(row[kept].astype(np.float64))[::-1]
            ranked.append((self._ids[kept].tolist(), scores))
        return ranked
