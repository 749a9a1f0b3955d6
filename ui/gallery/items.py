"""What the gallery in the browser is told of pictures, before one is opened."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from ui.gallery.answers import Answer
from ui.gallery.placeholders import colours
from ui.pictures import Picture
from ui.resources import OpenLibrary, api_library, library_files, presence

Item = dict[str, str | int]

# So many pictures fill the first screen: the colours of others are not waited for.
FIRST_SCREEN = 24

# Of a content hash: an address that is another one when the picture is.
_VERSION_CHARS = 16

_MAX_TITLE = 300


def items(
    opened: OpenLibrary,
    answer: Answer,
    ids: Sequence[str],
    payloads: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    start: int | None = None,
    coloured: int | None = None,
) -> list[Item]:
    """The pictures of these ids, without those that are gone; `payloads` are read where they are
    not given. With the place of the first as `start`, each says its own. Only the first `coloured`
    have colours, None for all."""
    if payloads is None:
        points = opened.store.retrieve(opened.library, ids) if ids else {}
        payloads = {image_id: point.payload for image_id, point in points.items()}
    pictures = [Picture(one, payloads[one]) for one in ids if one in payloads]
    drawn: list[str] = []
    if api_library() is None:  # a server keeps its thumbnails to itself
        hashes = [str(one.payload.get("sha256", "")) for one in pictures[:coloured]]
        drawn = colours(library_files().thumbnails, hashes)
    drawn += [""] * (len(pictures) - len(drawn))
    away = presence()
    told: list[Item] = [
        {
            "id": one.image_id,
            "title": one.title[:_MAX_TITLE],
            "w": _side(one, "width"),
            "h": _side(one, "height"),
            "v": version_of(one),
            "colours": colour,
            "date": day_of(one.payload),
            "score": answer.found(one.image_id).score,
            "note": "offline" if away.offline(one.path) else "",
        }
        for one, colour in zip(pictures, drawn, strict=True)
    ]
    if start is not None:
        places = {image_id: place for place, image_id in enumerate(ids, start)}
        for item in told:
            item["at"] = places[str(item["id"])]
    return told


def version_of(picture: Picture) -> str:
    """What its addresses end with: another text for another content."""
    return str(picture.payload.get("sha256", ""))[:_VERSION_CHARS]


def day_of(payload: Mapping[str, Any]) -> str:
    """The day it was taken, as 2019-07-12; '' where that is not known."""
    try:
        return date.fromisoformat(str(payload.get("taken", ""))[:10]).isoformat()
    except ValueError:
        return ""


def _side(picture: Picture, name: str) -> int:
    """Its width or height in pixels, 0 where that is not known."""
    value = picture.payload.get(name)
    return value if isinstance(value, int) and 0 < value < 10**6 else 0
