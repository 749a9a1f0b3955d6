"""A picture's payload: what its file, its EXIF data and its manifest say, under declared keys."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from scenesearch.datasets.columns import KEPT_AS
from scenesearch.pictures.opening import OpenedImage
from scenesearch.pictures.originals import Original, OriginalState
from scenesearch.pictures.records import GeoPoint, ImageRecord, Value
from scenesearch.store.fields import COMPANIONS, INSTANT

# Keys that only file and picture fill. `own` says what else came from the file itself.
OF_THE_FILE = {
    *("path", "size_bytes", "modified", "etag", "sidecar", "image_id", "sha256", "phash"),
    "metadata_version",
    *("width", "height", "orientation", "folder", "own"),
}
# What the metadata of a file say in a single value.
_SCALARS = (
    *("taken_until", "taken_guessed", "camera", "lens", "exposure_s", "aperture", "iso"),
    *("focal_length_mm", "location", "title", "rating", "favourite"),
)
# What they say in several, which are joined with those of a manifest.
_LISTS = ("captions", "tags", "people")
# Raised when metadata are read in another way; an ingest then reads those of all pictures anew.
METADATA_VERSION = 2
# Points written before there was `own` hold these, and no words, of the file itself.
_OWN_OF_OLD: Mapping[str, Any] = {"fields": ["taken", "camera", "lens", "location"]}


def file_payload(original: Original, state: OriginalState) -> dict[str, Any]:
    """What shows, without reading the original, whether it is the one that was ingested."""
    payload: dict[str, Any] = {"path": str(original), "size_bytes": state.size_bytes}
    if state.modified is not None:
        payload["modified"] = state.modified.isoformat(timespec="microseconds")
    if state.version:
        payload["etag"] = state.version
    return payload


def described_payload(record: ImageRecord) -> dict[str, Any]:
    """What the manifest says; its columns win over what the file says of itself."""
    payload: dict[str, Any] = {
        key: told
        for name, value in record.metadata.items()
        for key, told in _told(name, value).items()
    }
    if record.captions:
        payload["captions"] = list(record.captions)
    if record.tags:
        payload["tags"] = list(record.tags)
    return payload


def picture_payload(
    image_id: str,
    opened: OpenedImage,
    phash: str | None,
    described: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """The picture's own metadata joined with what manifests say of it, `described`.

    A column wins over what the file says; captions and tags of both are kept. `own` keeps apart
    what came from the file, for when the file says something else.
    """
    metadata = opened.metadata
    said = {} if metadata.taken is None else _told("taken", metadata.taken)
    for name in _SCALARS:
        if (value := getattr(metadata, name)) is not None:
            said |= _told(name, value)
    own: dict[str, Any] = {"fields": sorted(said), "sources": dict(metadata.sources)}
    if metadata.description:
        own["captions"] = [metadata.description]
    for name in ("tags", "people"):
        if words := getattr(metadata, name):
            own[name] = list(words)
    payload: dict[str, Any] = {
        "sha256": opened.sha256,
        "width": opened.width,
        "height": opened.height,
        "orientation": opened.orientation,
        "folder": folders_of(image_id),
        "own": own,
        **said,
    }
    if phash is not None:
        payload["phash"] = phash
    return redescribed(payload, described)


def descriptions_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a stored payload that no picture file says: captions, tags, custom columns."""
    own = payload.get("own", _OWN_OF_OLD)
    described = {
        name: value
        for name, value in payload.items()
        if name not in OF_THE_FILE and name not in own["fields"]
    }
    for name in _LISTS:
        if own.get(name) and name in described:
            described[name] = [text for text in described[name] if text not in own[name]]
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
    return after


def folders_of(image_id: str) -> list[str]:
    """The picture's folder and its ancestors, outermost first; '.' at the top."""
    parents = [str(parent) for parent in PurePosixPath(image_id).parents if str(parent) != "."]
    return parents[::-1] or ["."]


def _told(name: str, value: Value) -> dict[str, Any]:
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
