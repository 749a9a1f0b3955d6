"""A picture's payload: what its file, its EXIF data and its manifest say, under declared keys."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from scenesearch.pictures.opening import OpenedImage
from scenesearch.pictures.originals import Original, OriginalState
from scenesearch.pictures.records import GeoPoint, ImageRecord, Value

# Keys that only file and picture fill. `own` says what else came from the file itself.
_OF_THE_FILE = {
    *("path", "size_bytes", "modified", "etag", "sidecar", "image_id", "sha256", "phash"),
    *("width", "height", "orientation", "folder", "own"),
}
# What the metadata of a file say in a single value.
_SCALARS = (
    *("taken", "camera", "lens", "exposure_s", "aperture", "iso", "focal_length_mm", "location"),
    *("title", "rating"),
)
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
    payload: dict[str, Any] = {name: _jsonable(value) for name, value in record.metadata.items()}
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
    scalars = {name: getattr(metadata, name) for name in _SCALARS}
    said = {name: _jsonable(value) for name, value in scalars.items() if value is not None}
    own: dict[str, Any] = {"fields": sorted(said)}
    if metadata.description:
        own["captions"] = [metadata.description]
    if metadata.tags:
        own["tags"] = list(metadata.tags)
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
        if name not in _OF_THE_FILE and name not in own["fields"]
    }
    for name in ("captions", "tags"):
        if own.get(name) and name in described:
            described[name] = [text for text in described[name] if text not in own[name]]
            if not described[name]:
                del described[name]
    return described


def redescribed(payload: Mapping[str, Any], described: Mapping[str, Any]) -> dict[str, Any]:
    """A stored payload with another description; what comes from its file stays."""
    own = payload.get("own", _OWN_OF_OLD)
    said = [name for name in own["fields"] if name not in described]
    kept = {name: value for name, value in payload.items() if name in _OF_THE_FILE or name in said}
    after: dict[str, Any] = {**described, **kept}
    if "own" in payload:
        after["own"] = {**own, "fields": said}
    for name in ("captions", "tags"):
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


def _jsonable(value: Value) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, GeoPoint):
        return {"lat": value.latitude, "lon": value.longitude}
    if isinstance(value, tuple):
        return list(value)
    return value
