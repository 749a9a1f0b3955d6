"""What the gallery is told of a picture that is open."""

import base64
import io
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np
from PIL import Image

from scenesearch.errors import SceneSearchError
from scenesearch.home.titles import written_day
from scenesearch.pictures.moments import shown_period
from scenesearch.pictures.opening import open_image
from scenesearch.search.request import QueryError, Request
from scenesearch.search.text_match import AskedWords
from scenesearch.search.why import HeatMap
from scenesearch.store.fields import PayloadField
from scenesearch.store.written import written_lines
from ui.access import shows_paths, shows_places
from ui.feedback import marks_of, takes_marks
from ui.gallery.answers import Answer
from ui.pictures import Picture
from ui.resources import OpenLibrary, presence

# Shown in another way, or useless to a visitor.
_NOT_LISTED = {
    "taken_at",
    "taken_until",
    "taken_guessed",
    "image_id",
    "sha256",
    "phash",
    "captions",
    "width",
    "height",
    "modified",
    "orientation",
    "text",
    "text_words",
    "location",
}
# Of a page of a newspaper.
_MOST_LINES = 200

# The picture in which an explanation looks for what was asked for, and the longest side of the map.
_WHY_SIDE = 900
_HEAT_SIDE = 160


def details(opened: OpenLibrary, picture: Picture, answer: Answer | None) -> dict[str, Any]:
    """Its words, facts, and text; `answer` is the one that it was found in."""
    request = answer.request if answer is not None else None
    payload = picture.payload
    lines = written_lines(payload)[:_MOST_LINES]
    marked = [] if request is None else AskedWords.of(request).lines(payload)
    shows = opened.settings
    return {
        "title": picture.title,
        "captions": [str(caption) for caption in payload.get("captions") or ()],
        "facts": [[name, value] for name, value in _facts(payload, opened.fields)],
        "found": answer.found(picture.image_id).detail if answer is not None else "",
        "lines": [
            {"text": one.text, "box": _around(one.box), "marked": one in marked} for one in lines
        ],
        "place": _place(payload) if shows_places(shows) else None,
        "path": str(picture.original) if shows_paths(shows) else None,
        "mark": _mark(request, picture.image_id),
        "problem": _problem(picture, tells=shows_paths(shows)),
    }


def _around(box: tuple[float, ...]) -> list[float]:
    """Left, top, right and bottom of a line whose corners these are."""
    xs, ys = box[::2], box[1::2]
    return [min(xs), min(ys), max(xs), max(ys)]


def _place(payload: Mapping[str, Any]) -> dict[str, float] | None:
    try:
        location = payload["location"]
        return {"lat": float(location["lat"]), "lon": float(location["lon"])}
    except (KeyError, TypeError, ValueError):
        return None


def _mark(request: Request | None, image_id: str) -> str | None:
    """What visitors called the picture for the text that it was found by."""
    if request is None or not request.text or not takes_marks():
        return None
    right, wrong = marks_of(request.text)
    return "right" if image_id in right else "wrong" if image_id in wrong else None


def _problem(picture: Picture, *, tells: bool) -> str | None:
    """Why the original cannot be shown; None where it is there. `tells` allows its path."""
    if presence().offline(picture.path):
        return "Offline: the original's disk is away. The picture is back with it."
    try:
        picture.original.state()
    except SceneSearchError as error:
        return problem_of(error, tells=tells)
    return None


def problem_of(error: SceneSearchError, *, tells: bool) -> str:
    """The sentence for an original that cannot be shown."""
    if not tells:
        return "The original cannot be shown now."
    return f"The original cannot be shown: {error}. If it was moved, ingest its new folder."


# --- facts -----------------------------------------------------------------------------------


def _facts(
    payload: Mapping[str, Any], fields: tuple[PayloadField, ...]
) -> Iterator[tuple[str, str]]:
    if payload.get("width") and payload.get("height"):
        yield "Size", f"{payload['width']} × {payload['height']} pixels"
    for field in fields:
        value = payload.get(field.name)
        if field.name not in _NOT_LISTED and value not in (None, "", [], ["."]):
            shown = _taken(payload) if field.name == "taken" else ""
            yield field.label, shown or _format(field, value)


def _taken(payload: Mapping[str, Any]) -> str:
    """'12 July 2019, 14:30'; a date that is a period as it was written, and whether it was
    guessed; '' for others."""
    try:
        start = datetime.fromisoformat(str(payload["taken"]))
        until = payload.get("taken_until")
        end = datetime.fromisoformat(str(until)) if until else None
        shown = _moment(start) if end is None else _period(start, end)
    except (KeyError, TypeError, ValueError):
        return ""
    return f"{shown} (guessed from its name)" if payload.get("taken_guessed") else shown


def _period(start: datetime, end: datetime) -> str:
    """A day is written in words; other periods as they were."""
    written = shown_period(start, end)
    return written_day(start) if len(written) == len("2019-07-12") else written


def _moment(at: datetime) -> str:
    return f"{written_day(at)}, {at:%H:%M}"


_MOST_STARS = 10

# As photographers write them.
_FORMATS: Mapping[str, Callable[[float], str]] = {
    "exposure_s": lambda seconds: f"1/{1 / seconds:.0f} s" if seconds < 0.4 else f"{seconds:g} s",
    "aperture": lambda number: f"f/{number:g}",
    "focal_length_mm": lambda length: f"{length:g} mm",
    "rating": lambda stars: "★" * round(stars) if stars <= _MOST_STARS else f"{stars:g}",
}


def _format(field: PayloadField, value: Any) -> str:
    if field.hierarchical and isinstance(value, list):
        return str(value[-1])  # the others are its ancestors
    if isinstance(value, list):
        return ", ".join(str(part) for part in value)
    if field.name == "size_bytes":
        return f"{value / 1e6:.1f} MB" if value >= 1e5 else f"{value / 1e3:.1f} kB"
    if field.name in _FORMATS and isinstance(value, int | float) and value > 0:
        return _FORMATS[field.name](value)
    if field.type == "geo" and isinstance(value, Mapping):
        return f"{value['lat']:.4f}, {value['lon']:.4f}"
    if field.type == "boolean":
        return "yes" if value else "no"
    if field.type == "datetime":
        try:
            return _moment(datetime.fromisoformat(str(value)))
        except ValueError:
            return str(value)
    return str(value)


# --- why -------------------------------------------------------------------------------------


def reasons(opened: OpenLibrary, picture: Picture, request: Request | None) -> dict[str, Any]:
    """What each word of the request adds, and where in the picture it is seen. Takes as long as
    encoding 50 pictures; raises QueryError, ImageError."""
    if request is None or all(part.excluded for part in request.parts):
        raise QueryError("the picture was not found by what it shows")
    image = open_image(
        picture.original, reduce_to=_WHY_SIDE, max_megapixels=opened.settings.max_megapixels
    ).image
    image.thumbnail((_WHY_SIDE, _WHY_SIDE))
    because = opened.why(request, picture.image_id, image)
    heat = None if because.heat is None else _overlay(because.heat, image.size)
    return {
        "words": [[one.word, round(one.effect, 3)] for one in because.words],
        "more": because.more_words,
        "heat": heat,
    }


def _overlay(heat: HeatMap, size: tuple[int, int]) -> str:
    """A PNG to lay over the whole picture, red where the effect is largest, as a data address."""
    scale = _HEAT_SIDE / max(size)
    width, height = (max(1, round(side * scale)) for side in size)
    strength = np.clip(heat.cells / max(float(heat.cells.max()), 1e-6), 0, 1)
    left, top, right, bottom = heat.box
    seen = (max(1, round((right - left) * width)), max(1, round((bottom - top) * height)))
    shade = Image.fromarray((strength * 160).astype(np.uint8))
    alpha = Image.new("L", (width, height))
    alpha.paste(
        shade.resize(seen, Image.Resampling.BICUBIC), (round(left * width), round(top * height))
    )
    overlay = Image.new("RGBA", (width, height), (230, 30, 30, 0))
    overlay.putalpha(alpha)
    buffer = io.BytesIO()
    overlay.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
