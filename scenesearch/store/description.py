"""What people say of a picture, in its stored payload beside what its file says of itself.

`own` keeps both apart: which values are the file's. So a description can be changed without reading
the file, and survives when the file changes.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from scenesearch.datasets.columns import KEPT_AS
from scenesearch.pictures.records import GeoPoint, Value
from scenesearch.store import hand_tags, written
from scenesearch.store.fields import COMPANIONS, INSTANT
from scenesearch.store.hand_tags import hand_tags_of, table_tags_of, with_hand_tags

# Keys that only file and picture fill. `own` says what else came from the file itself.
OF_THE_FILE = {
    *("path", "size_bytes", "modified", "etag", "sidecar", "image_id", "sha256", "phash"),
    "metadata_version",
    *written.KEYS,
    *("width", "height", "orientation", "folder", "own"),
}
# What a file says in several, which are joined with those of a manifest.
_LISTS = ("captions", "tags", "people")
# Points written before there was `own` hold these, and no words, of the file itself.
_OWN_OF_OLD: Mapping[str, Any] = {"fields": ["taken", "camera", "lens", "location"]}


def descriptions_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a stored payload that no picture file says: captions, tags, custom columns, and
    the tags that were changed by hand."""
    own = payload.get("own", _OWN_OF_OLD)
    by_hand = hand_tags_of(payload)
    if by_hand:
        payload = {**payload, "tags": table_tags_of(payload), hand_tags.KEY: by_hand.to_json()}
    described = {
        name: value
        for name, value in payload.items()
        if name not in OF_THE_FILE and name not in own["fields"]
    }
    for name in _LISTS:
        if name in described and (own.get(name) or by_hand):
            said = own.get(name, ())
            described[name] = [text for text in described[name] if text not in said]
            if not described[name]:
                del described[name]
    return described


def differing(described: Mapping[str, Any], payload: Mapping[str, Any]) -> dict[str, Any]:
    """The description without columns that say what the picture itself says: a table's `width`
    that is the picture's."""
    return {
        name: value
        for name, value in described.items()
        if not name.startswith(KEPT_AS) or payload.get(name.removeprefix(KEPT_AS)) != value
    }


def redescribed(payload: Mapping[str, Any], described: Mapping[str, Any]) -> dict[str, Any]:
    """A stored payload with another description; what comes from its file stays."""
    by_hand = hand_tags_of(described)
    described = {name: value for name, value in described.items() if name != hand_tags.KEY}
    own = payload.get("own", _OWN_OF_OLD)
    replaced = {*described}.union(*(COMPANIONS.get(name, ()) for name in described))
    said = [name for name in own["fields"] if name not in replaced]
    kept = {name: value for name, value in payload.items() if name in OF_THE_FILE or name in said}
    after: dict[str, Any] = {**differing(described, kept), **kept}
    if "own" in payload:
        after["own"] = {**own, "fields": said}
    for name in _LISTS:
        already = {text.casefold() for text in described.get(name, ())}
        further = [text for text in own.get(name, ()) if text.casefold() not in already]
        if further:
            after[name] = [*described.get(name, ()), *further]
        if name in own:
            after["own"].pop(name)
            if further:
                after["own"][name] = further
    return with_hand_tags(after, by_hand) if by_hand else after


def as_stored(name: str, value: Value) -> dict[str, Any]:
    """The value as it is stored. A picture's day is that of its local time: 'taken' has no time
    zone, and the moment, where the zone is known, a key of its own."""
    if name in INSTANT and isinstance(value, datetime) and value.tzinfo is not None:
        local = value.replace(tzinfo=None)
        return {name: local.isoformat(), INSTANT[name]: value.isoformat()}
    return {name: _jsonable(value)}


def _jsonable(value: Value) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, GeoPoint):
        return {"lat": value.latitude, "lon": value.longitude}
    if isinstance(value, tuple):
        return list(value)
    return value
