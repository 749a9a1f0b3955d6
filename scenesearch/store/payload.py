"""From points to what an engine stores, and back, for both homes.

What is written are plain JSON values, unit vectors and safe key paths. Values that do not fit
their field's declaration are left out of what is read.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scenesearch.pictures.records import GeoPoint, point_id
from scenesearch.runtime.cancel import check_cancelled
from scenesearch.store.base import CollectionSpec, EncoderMismatch, Point, StoreError
from scenesearch.store.sparse import SparseVector, payload_words
from scenesearch.store.values import checks_of, is_image_id, without_misfits

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_UNQUOTABLE = re.compile(r'["\\\x00-\x1f]')


def rfc3339(moment: datetime) -> str:
    """The moment in UTC; without a time zone it is taken as UTC, as the engines do."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")


def key_path(name: str) -> str:
    """The payload key in the engines' path syntax, where dots and brackets would descend."""
    if not name or _UNQUOTABLE.search(name):
        raise StoreError(
            f"{name!r} cannot name a payload field: no quotes, backslashes or control characters"
        )
    return name if _BARE_KEY.fullmatch(name) else f'"{name}"'


def point_ids(image_ids: Iterable[str], spec: CollectionSpec) -> list[str]:
    """The engine's ids of these pictures; raises StoreError for an id that cannot be stored."""
    return [point_id(spec.library, check_image_id(image_id)) for image_id in image_ids]


def check_image_id(image_id: str) -> str:
    """Return the id, or raise StoreError: file names may hold bytes that are not Unicode."""
    try:
        image_id.encode()
    except UnicodeEncodeError:
        raise StoreError(
            f"the image id {image_id!r} is not valid Unicode; rename the file"
        ) from None
    if not image_id:
        raise StoreError("an image id is empty")
    return image_id


def named_payloads(
    payloads: Iterable[Mapping[str, Any] | None], spec: CollectionSpec
) -> list[tuple[str, Mapping[str, Any]] | None]:
    """The image id of each stored payload, and the values that fit their fields.

    None for a payload that names no picture: some other program wrote it, and it is skipped.
    """
    checks = checks_of(spec.fields)
    return [
        (payload["image_id"], without_misfits(payload, checks))
        if payload is not None and is_image_id(payload.get("image_id"))
        else None
        for payload in payloads
    ]


class StoredPoint(NamedTuple):
    """What an engine stores of a point."""

    id: str
    vector: list[float]
    payload: dict[str, Any]
    words: SparseVector | None


def stored_points(points: Sequence[Point], spec: CollectionSpec) -> list[StoredPoint]:
    """The points as an engine stores them; raises StoreError for one that cannot be stored."""
    ids = point_ids((point.image_id for point in points), spec)
    payloads = list(map(_payload_of, points))
    words = map(payload_words, payloads) if spec.words else repeat(None)
    return list(map(StoredPoint, ids, _vectors_of(points, spec), payloads, words))


def _payload_of(point: Point) -> dict[str, Any]:
    """The point's payload as plain JSON values, with its image id."""
    payload = {key: _plain(value, point.image_id, key) for key, value in point.payload.items()}
    payload["image_id"] = point.image_id
    return payload


def _vectors_of(points: Sequence[Point], spec: CollectionSpec) -> list[list[float]]:
    """The points' vectors; raises StoreError with the point whose vector cannot be stored."""
    for point in points:
        if point.vector is None:
            raise StoreError(f"{point.image_id} has no vector to store")
        check_dimension(point.vector, spec, point.image_id)
    stacked = np.asarray([point.vector for point in points], dtype=np.float32)  # (n, dim)
    finite = np.isfinite(stacked).all(axis=1)
    if not finite.all():
        # Edge stores NaN silently, and every search then ranks by it.
        raise StoreError(f"the vector of {points[int(finite.argmin())].image_id} is not finite")
    rows: list[list[float]] = stacked.tolist()
    return rows


def check_dimension(vector: NDArray[np.float32], spec: CollectionSpec, what: str) -> None:
    """Raise EncoderMismatch unless the vector has the collection's shape."""
    if vector.shape != (spec.dimension,):
        shape = "x".join(map(str, vector.shape))
        raise EncoderMismatch(
            f"library {spec.library} holds {spec.dimension}-d vectors of encoder {spec.encoder}; "
            f"that of {what} is {shape}-d"
        )


def _plain(value: Any, image_id: str, key: str) -> Any:
    # Exact types first: nearly every value ends here, and this runs for every value of a library.
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is float:
        if math.isfinite(value):
            return value
        raise StoreError(f"{key} of {image_id} is {value}, which cannot be stored")
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(part, image_id, key) for part in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(part, image_id, key) for name, part in value.items()}
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, GeoPoint):
        return {"lat": value.latitude, "lon": value.longitude}
    if isinstance(value, np.generic):
        return _plain(value.item(), image_id, key)
    raise StoreError(f"{key} of {image_id} is a {kind.__name__}, which cannot be stored")


def payload_keys(payload: Sequence[str] | None) -> bool | list[str]:
    """The payload keys to read, always with the image id, which is the point's name."""
    return True if payload is None else [key_path(key) for key in {"image_id", *payload}]


def points_of(records: Iterable[Any], spec: CollectionSpec) -> list[Point]:
    """The points of an engine's or a server's records, without those that name no picture."""
    records = list(records)
    payloads = named_payloads((record.payload for record in records), spec)
    return [
        Point(own[0], None if record.vector is None else embedding_of(record.vector), own[1])
        for record, own in zip(records, payloads, strict=True)
        if own is not None
    ]


def scrolled(
    fetch: Callable[[Any], tuple[Sequence[Any], Any]], spec: CollectionSpec, after: str | None
) -> Iterator[Point]:
    """The points of a scroll, where `fetch(offset)` gives the next records and their next offset.

    An offset is an engine's id and included, so the picture `after` is left out here.
    """
    offset = None if after is None else point_ids([after], spec)[0]
    while True:
        check_cancelled()
        records, offset = fetch(offset)
        yield from (point for point in points_of(records, spec) if point.image_id != after)
        if offset is None:
            return


def vector_names(with_vectors: bool) -> bool | list[str]:
    """The vectors to read: the embedding, which has no name, and never the words."""
    return [""] if with_vectors else False


def embedding_of(vector: Any) -> NDArray[np.float32]:
    """A vector from an engine or a server as an array, `(dim,)`."""
    return np.asarray(vector, dtype=np.float32)
