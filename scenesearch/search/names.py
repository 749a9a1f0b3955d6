"""The pictures that `like:` names: by an id, by the end of one, or by a path that ends with one."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scenesearch.datasets.names import find_pictures
from scenesearch.search.request import QueryError
from scenesearch.store.base import Point, StoreError, VectorStore
from scenesearch.store.filters import Filter, OneOf
from scenesearch.store.payload import check_image_id

# A name that was the end of one id alone is taken to be so still for this long; this many names
# are remembered.
_FRESH_S = 60.0
_MAX_REMEMBERED = 1000

# The batch where all points that pass a filter are listed: for each batch the engine filters anew.
LISTED = 10_000


class Example(NamedTuple):
    """A picture of the library with its embedding, `(dimension,)`."""

    image_id: str
    vector: NDArray[np.float32]


class PictureNames:
    """Finds the pictures of a collection by their names."""

    def __init__(self, store: VectorStore, collection: str, library: str) -> None:
        self._store, self._collection, self._library = store, collection, library
        self._remembered: dict[tuple[str, Filter], tuple[str, float]] = {}

    def find(self, names: Sequence[str], scope: Filter = ()) -> dict[str, Example]:
        """The picture of each name: the one of this id, or the only one that `find_pictures` gives.

        One retrieval; for ends that are not remembered, one listing of all ids and another
        retrieval. Pictures outside the `scope` are not there. Raises QueryError for a name that
        no picture has, or several.
        """
        if not names:
            return {}
        for name in names:
            try:
                check_image_id(name)
            except StoreError:  # empty, or half a character
                raise QueryError(f"like:{name!r} cannot name a picture") from None
        meant = {name: self._remembered_id(name, scope) for name in names}
        points = self._retrieve([*names, *meant.values()], scope)
        ids = {name: name if name in points else meant[name] for name in names}
        unknown = [name for name, image_id in ids.items() if image_id not in points]
        if unknown:
            found = self._look_up(unknown, scope)
            ids |= found
            points |= self._retrieve(list(found.values()), scope)
        examples: dict[str, Example] = {}
        for name, image_id in ids.items():
            if image_id not in points or (vector := points[image_id].vector) is None:
                raise QueryError(f"like:{name}: the picture has just been removed")
            examples[name] = Example(image_id, vector)
        return examples

    def _remembered_id(self, name: str, scope: Filter) -> str:
        image_id, read_at = self._remembered.get((name, scope), (name, 0.0))
        return image_id if time.monotonic() - read_at < _FRESH_S else name

    def _retrieve(self, image_ids: Sequence[str], scope: Filter) -> dict[str, Point]:
        wanted = list(dict.fromkeys(image_ids))
        return seen(self._store, self._collection, wanted, scope, with_vectors=True)

    def _look_up(self, names: Sequence[str], scope: Filter) -> dict[str, str]:
        """The id that each name ends."""
        points = self._store.scroll(self._collection, where=scope, payload=(), batch_size=LISTED)
        meant = find_pictures(names, (point.image_id for point in points))
        found: dict[str, str] = {}
        for name, ids in meant.items():
            if not ids:
                raise QueryError(f"like:{name}: library {self._library} has no such picture")
            if len(ids) > 1:
                listed = ", ".join(sorted(ids)[:3])
                raise QueryError(
                    f"like:{name} may be {len(ids)} pictures: {listed}; write more of it"
                )
            found[name] = ids[0]
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        now = time.monotonic()
        self._remembered |= {(name, scope): (image_id, now) for name, image_id in found.items()}
        return found


def seen(
    store: VectorStore,
    collection: str,
    image_ids: Sequence[str],
    scope: Filter,
    *,
    with_vectors: bool = False,
) -> dict[str, Point]:
    """Those of the pictures that exist and lie in the scope, by image id."""
    if not scope:
        return store.retrieve(collection, image_ids, with_vectors=with_vectors)
    wanted = (OneOf("image_id", tuple(image_ids)), *scope)
    points = store.scroll(collection, where=wanted, with_vectors=with_vectors)
    return {point.image_id: point for point in points}


def point_named(store: VectorStore, library: str, name: str, path: str = "") -> Point:
    """The picture of this id, at this path, or the only one that the name means; raises
    QueryError."""
    if name and (found := store.retrieve(library, [name])):
        return found[name]
    ids: list[str] = []
    near: list[str] = []
    for point in store.scroll(library, payload=("path",), batch_size=LISTED):
        if path and point.payload.get("path") == path:
            near = [point.image_id]
            break
        ids.append(point.image_id)
    else:
        near = find_pictures([name], ids)[name]
    if len(near) > 1:
        listed = ", ".join(sorted(near)[:3])
        raise QueryError(f"{name} may be {len(near)} pictures: {listed}; write more of it")
    if not near or not (found := store.retrieve(library, near)):
        raise QueryError(f"{name}: library {library} has no such picture, and no file is there")
    return found[near[0]]
