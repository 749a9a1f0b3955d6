"""Changes of what is said of a picture, and its removal."""

import threading
from contextlib import suppress
from datetime import datetime
from http import HTTPStatus
from typing import Any

from scenesearch.errors import SceneSearchError
from scenesearch.pictures.originals import LocalFile
from scenesearch.pictures.records import GeoPoint, Value
from scenesearch.pictures.thumbnails import safe_thumbnail_path
from scenesearch.store import hand_tags
from scenesearch.store.base import Point
from scenesearch.store.catalog import collections_of
from scenesearch.store.description import as_stored, descriptions_of, redescribed
from scenesearch.store.fields import BUILTIN_NAMES, PayloadField, by_name
from scenesearch.store.filters import OneOf
from scenesearch.store.values import checks_of, misfit
from serve.keys import Caller
from serve.libraries import OpenLibrary
from serve.models import ImageChange
from serve.problems import Refused

# A change reads a picture and writes it again: two of one picture must not cross.
_changing = threading.Lock()

_SAID = ("captions", "tags")


def is_writable(field: PayloadField) -> bool:
    """Whether a client may change the field: captions, tags and the library's own columns."""
    return field.name in _SAID or field.name not in BUILTIN_NAMES


def change(library: OpenLibrary, caller: Caller, image_id: str, wanted: ImageChange) -> Point:
    """The picture with what is said of it from now on. What its file says of itself stays."""
    values = told_values(library, wanted.fields)
    for name in _SAID:
        if (texts := getattr(wanted, name)) is not None:
            values[name] = texts or None
    if "tags" in values:
        values[hand_tags.KEY] = None  # from now on these are the tags, whoever changed them before
    with _changing:
        point = library.picture(image_id, library.scope(caller), with_vector=True)
        described = descriptions_of(point.payload) | values
        described = {name: value for name, value in described.items() if value is not None}
        after = Point(point.image_id, point.vector, redescribed(point.payload, described))
        library.store.upsert(library.collection, [after])
        library.store.flush(library.collection)
    return after


def remove(library: OpenLibrary, caller: Caller, image_id: str) -> None:
    """Remove the picture from every collection of the library, and its thumbnail.

    The file of an upload is deleted too. Any other is not ours: the next ingest of its folder
    brings the picture back.
    """
    with _changing:
        point = library.picture(image_id, library.scope(caller))
        names = [entry.name for entry in collections_of(library.store, library.name)]
        for name in names:
            library.store.delete(name, [image_id])
            library.store.flush(name)
        content = str(point.payload.get("sha256", ""))
        same = (OneOf("sha256", (content,)),)
        if not any(library.store.count(name, where=same) for name in names):
            path = safe_thumbnail_path(library.files.thumbnails, content)
            if path is not None:
                path.unlink(missing_ok=True)
    original = library.installation.originals.original(point.payload)
    if isinstance(original, LocalFile) and original.path.is_relative_to(library.files.received):
        with suppress(OSError):
            original.path.unlink(missing_ok=True)


def told_values(library: OpenLibrary, given: dict[str, Any]) -> dict[str, Any]:
    """Values of custom fields as they are stored, None for one to be taken away; refused for a
    field that the library does not have, and for a value of another type."""
    known, found = by_name(library.fields), dict[str, Any]()
    for name, value in given.items():
        field = known.get(name)
        if field is None or name in BUILTIN_NAMES:
            own = ", ".join(sorted(one.name for one in library.fields if is_writable(one)))
            raise _wrong(f"fields.{name[:100]}: this cannot be changed; there are {own}")
        found |= {name: None} if value is None else as_stored(name, _value(field, value))
    wrong = misfit({k: v for k, v in found.items() if v is not None}, checks_of(library.fields))
    if wrong is not None:
        raise _wrong(f"fields.{wrong}: not a value of a {known[wrong].type} field")
    return found


def _value(field: PayloadField, value: Any) -> Value:
    try:
        if field.type == "datetime" and isinstance(value, str):
            return datetime.fromisoformat(value)
        if field.type == "geo" and isinstance(value, dict) and value.keys() == {"lat", "lon"}:
            return GeoPoint(float(value["lat"]), float(value["lon"]))
    except (ValueError, TypeError):
        raise _wrong(f"fields.{field.name}: not a value of a {field.type} field") from None
    if field.type == "float" and type(value) is int:
        return float(value)
    if isinstance(value, list):
        return tuple(value)
    plain: Value = value  # checked with all others
    return plain


def _wrong(detail: str) -> SceneSearchError:
    return Refused(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
