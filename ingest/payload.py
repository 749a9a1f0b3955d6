"""A picture's payload: what its file, its EXIF data and its manifest say, under declared keys."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from scenesearch.pictures.opening import OpenedImage
from scenesearch.pictures.originals import Original, OriginalState
from scenesearch.pictures.records import ImageRecord
from scenesearch.store.description import as_stored, redescribed

# What the metadata of a file say in a single value.
_SCALARS = (
    *("taken_until", "taken_guessed", "camera", "lens", "exposure_s", "aperture", "iso"),
    *("focal_length_mm", "location", "title", "rating", "favourite"),
)
# Raised when metadata are read in another way; an ingest then reads those of all pictures anew.
METADATA_VERSION = 2
# The same for the text in pictures, which `read-text` then reads anew.
TEXT_VERSION = 1


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
        key: stored
        for name, value in record.metadata.items()
        for key, stored in as_stored(name, value).items()
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
    said = {} if metadata.taken is None else as_stored("taken", metadata.taken)
    for name in _SCALARS:
        if (value := getattr(metadata, name)) is not None:
            said |= as_stored(name, value)
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


def folders_of(image_id: str) -> list[str]:
    """The picture's folder and its ancestors, outermost first; '.' at the top."""
    parents = [str(parent) for parent in PurePosixPath(image_id).parents if str(parent) != "."]
    return parents[::-1] or ["."]
