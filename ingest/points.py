"""A picture's payload: what its file, its EXIF data and its manifest say, under declared keys."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from scenesearch.images import OpenedImage
from scenesearch.library import GeoPoint, ImageRecord, Value
from scenesearch.originals import Original, OriginalState

# Keys that file and picture themselves fill; everything else was told by a manifest.
_FROM_PICTURE = {
    "path",
    "size_bytes",
    "modified",
    "version",
    "image_id",
    "sha256",
    "width",
    "height",
    "orientation",
    "folder",
    "taken",
    "camera",
    "lens",
    "location",
}


def file_payload(original: Original, state: OriginalState) -> dict[str, Any]:
    """What tells, without reading the original, whether it is the one that was ingested."""
    payload: dict[str, Any] = {"path": str(original), "size_bytes": state.size_bytes}
    if state.modified is not None:
        payload["modified"] = state.modified.isoformat(timespec="microseconds")
    if state.version:
        payload["version"] = state.version
    return payload


def described_payload(record: ImageRecord) -> dict[str, Any]:
    """What the manifest says; its columns win over what the file says of itself."""
    payload: dict[str, Any] = {name: _jsonable(value) for name, value in record.metadata.items()}
    if record.captions:
        payload["captions"] = list(record.captions)
    if record.tags:
        payload["tags"] = list(record.tags)
    return payload


def picture_payload(image_id: str, opened: OpenedImage) -> dict[str, Any]:
    """What the picture itself says."""
    payload: dict[str, Any] = {
        "sha256": opened.sha256,
        "width": opened.width,
        "height": opened.height,
        "orientation": opened.orientation,
        "folder": folders_of(image_id),
    }
    exif: Mapping[str, Value | None] = {
        "taken": opened.exif.taken,
        "camera": opened.exif.camera,
        "lens": opened.exif.lens,
        "location": opened.exif.location,
    }
    payload.update({name: _jsonable(value) for name, value in exif.items() if value is not None})
    return payload


def descriptions_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a stored payload that no picture file says: captions, tags, custom columns."""
    return {name: value for name, value in payload.items() if name not in _FROM_PICTURE}


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
