"""From our points to what an engine stores: plain JSON values, unit vectors, safe key paths; and
back, without what does not fit its declaration."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenesearch.pictures.records import GeoPoint, point_id
from scenesearch.store.base import CollectionSpec, EncoderMismatch, Point, StoreError
from scenesearch.store.values import checks_of, fitting, is_image_id

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_UNSPEAKABLE = re.compile(r'["\\\x00-\x1f]')


def rfc3339(moment: datetime) -> str:
    """The moment in UTC; one without a time zone is taken as UTC, as the engines take it."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")


def key_path(name: str) -> str:
    """The payload key as the engines' path syntax, where dots and brackets would descend."""
    if not name or _UNSPEAKABLE.search(name):
        raise StoreError(
            f"{name!r} cannot name a payload field: no quotes, backslashes or control characters"
        )
    return name if _BARE_KEY.fullmatch(name) else f'"{name}"'


def point_ids(image_ids: Iterable[str], spec: CollectionSpec) -> list[str]:
    """The engine's ids of these pictures; raises StoreError for an id that can have none."""
    return [point_id(spec.library, check_image_id(image_id)) for image_id in image_ids]


def check_image_id(image_id: str) -> str:
    """Return the id, or raise StoreError: file names may hold bytes that are no Unicode."""
    try:
        image_id.encode()
    except UnicodeEncodeError:
        raise StoreError(
            f"the image id {image_id!r} is not valid Unicode; rename the file"
        ) from None
    if not image_id:
        raise StoreError("an image id is empty")
    return image_id


def named(
    payloads: Iterable[Mapping[str, Any] | None], spec: CollectionSpec
) -> list[tuple[str, Mapping[str, Any]] | None]:
    """Of each stored payload its image id and what of it fits the declared fields.

    None for one that names no picture: it is nobody's, and is passed over.
    """
    checks = checks_of(spec.fields)
    return [
        (payload["image_id"], fitting(payload, checks))
        if payload is not None and is_image_id(payload.get("image_id"))
        else None
        for payload in payloads
    ]


def payload_of(point: Point) -> dict[str, Any]:
    """The point's payload in plain JSON values, with its image id."""
    payload = {key: _plain(value, point.image_id, key) for key, value in point.payload.items()}
    payload["image_id"] = point.image_id
    return payload


def vectors_of(points: Sequence[Point], spec: CollectionSpec) -> list[list[float]]:
    """The points' vectors, or an error that names the point whose vector cannot be stored."""
    for point in points:
        if point.vector is None:
            raise StoreError(f"{point.image_id} has no vector to store")
        check_dimension(point.vector, spec, point.image_id)
    stacked = np.asarray([point.vector for point in points], dtype=np.float32)  # (n, dim)
    finite = np.isfinite(stacked).all(axis=1)
    if not finite.all():
        # Edge stores NaN without a word, and every search then ranks by it.
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


def check_words(spec: CollectionSpec) -> None:
    """Raise StoreError unless the collection's points carry their words."""
    if not spec.words:
        raise StoreError(
            f"library {spec.library} was made before words were indexed; ingest its pictures into "
            "a new one to search both ways"
        )


def _plain(value: Any, image_id: str, key: str) -> Any:
    # Exact types first: nearly every value ends here, and this runs for each value of a library.
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
    """What to fetch of a payload; without its image id a point would have no name."""
    return True if payload is None else [key_path(key) for key in {"image_id", *payload}]


def points_of(records: Iterable[Any], spec: CollectionSpec) -> list[Point]:
    """The points of an engine's or a server's records; those that name no picture are left out."""
    records = list(records)
    payloads = named((record.payload for record in records), spec)
    return [
        Point(own[0], None if record.vector is None else embedding_of(record.vector), own[1])
        for record, own in zip(records, payloads, strict=True)
        if own is not None
    ]


def embedding_of(vector: Any) -> NDArray[np.float32]:
    """A vector as an engine or a server gives it, `(dim,)`."""
    return np.asarray(vector, dtype=np.float32)
