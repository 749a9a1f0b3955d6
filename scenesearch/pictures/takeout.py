"""The JSON that Google Takeout puts beside each picture: which picture it is of, what it says.

Takeout names the file after the picture, cuts the name to 46 characters, and counts files of one
name in another place than the pictures: `IMG_1(2).jpg` has `IMG_1.jpg(2).json`, or
`IMG_1.jpg.supplemental-metadata(2).json`, of which any number of letters may be missing. A copy
that was edited has the JSON of its original.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from scenesearch.pictures.moments import Moment
from scenesearch.pictures.records import MAX_CAPTION_CHARS, MAX_TAGS, GeoPoint
from scenesearch.pictures.statements import TAKEOUT, PictureMetadata, Statement, settle
from scenesearch.pictures.words import is_camera_noise, one_line

MAX_TAKEOUT_BYTES: Final = 1024 * 1024
_SUFFIX: Final = ".json"
_ENDING: Final = ".supplemental-metadata"
_CUT_AT: Final = 46  # characters of the name before '.json'
# What Google Photos appends to the name of an edited copy, in the languages of its users.
_EDITED: Final = (
    *("edited", "bearbeitet", "modifié", "editado", "modificato", "bewerkt", "edytowane"),
    *("redigerad", "redigeret", "redigert", "muokattu", "editada", "editat", "upravené"),
    *("upraveno", "szerkesztett", "düzenlendi", "изменено", "відредаговано", "編集済み", "已修改"),
)
_COPY = re.compile(r"\((\d{1,5})\)$")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Its dates are universal time without a zone: behind those of the picture.
_RANK: Final = 8


def takeout_names(names: Collection[str]) -> dict[tuple[str, str], str]:
    """Of these names those of JSON files, under what `takeout_of` looks up."""
    found: dict[tuple[str, str], str] = {}
    for name in sorted(names):
        if name.lower().endswith(_SUFFIX):
            core = name[: -len(_SUFFIX)].lower()
            copy = _COPY.search(core)
            found.setdefault((_COPY.sub("", core), copy[1] if copy else ""), name)
    return found


def takeout_of(picture: str, names: Mapping[tuple[str, str], str]) -> str | None:
    """The name of the JSON file of the picture, of those that `takeout_names` gave."""
    stem, dot, suffix = picture.lower().rpartition(".")
    if not dot:
        stem, suffix = picture.lower(), ""
    for base, copy in _originals(stem):
        for core in _cores(base, f"{dot}{suffix}"):
            if (core, copy) in names:
                return names[core, copy]
    # Some name the count where the picture has it.
    return next(
        (names[core, ""] for core in _cores(stem, f"{dot}{suffix}") if (core, "") in names), None
    )


def _originals(stem: str) -> Iterator[tuple[str, str]]:
    """The name without its count and the count, of the picture and of what it was edited from."""
    copy = _COPY.search(stem)
    base, count = _COPY.sub("", stem), copy[1] if copy else ""
    yield base, count
    for word in _EDITED:
        if base.endswith(f"-{word}"):
            original = base[: -len(word) - 1]
            inner = _COPY.search(original)
            yield (_COPY.sub("", original), inner[1]) if inner else (original, count)


def _cores(base: str, suffix: str) -> Iterator[str]:
    """The names before '.json' that belong to a picture, the longest first."""
    whole = f"{base}{suffix}{_ENDING}"
    least = min(len(base) + len(suffix), _CUT_AT - 1)
    for length in range(min(len(whole), 250), least - 1, -1):
        if length >= len(base) + len(suffix) or length in (_CUT_AT - 1, _CUT_AT, _CUT_AT + 1):
            yield whole[:length]
    if suffix:
        yield base


def read_takeout(data: bytes | str) -> PictureMetadata | None:
    """What the JSON says of its picture; None if it is no JSON of Takeout."""
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not is_takeout(said):
        return None
    return settle(list(_statements(said)))


def is_takeout(said: Any) -> bool:
    """Whether parsed JSON is what Takeout writes of a picture."""
    if not isinstance(said, dict) or not isinstance(said.get("title"), str):
        return False
    return any(isinstance(said.get(key), dict) for key in ("photoTakenTime", "geoData"))


def _statements(said: Mapping[str, Any]) -> Iterator[Statement]:
    yield from _taken(said.get("photoTakenTime"))
    for name in ("geoData", "geoDataExif"):
        yield from _place(name, said.get(name))
    text = one_line(said.get("description"), most=None)
    if text and not is_camera_noise(text):
        why = ""
        if len(text) > MAX_CAPTION_CHARS:
            why = (
                f"the description has {len(text):,} characters; "
                f"the first {MAX_CAPTION_CHARS:,} are kept"
            )
        yield Statement("description", TAKEOUT, "description", text[:MAX_CAPTION_CHARS], why)
    people = said.get("people")
    named = (
        [one.get("name") for one in people if isinstance(one, dict)]
        if isinstance(people, list)
        else []
    )
    if names := tuple(name for name in named if isinstance(name, str))[: MAX_TAGS + 1]:
        yield Statement("people", TAKEOUT, "people", names)
        yield Statement("tags", TAKEOUT, "people", names)
    if said.get("favorited") is True:
        yield Statement("favourite", TAKEOUT, "favorited", True)


def _taken(time: Any) -> Iterator[Statement]:
    written = time.get("timestamp") if isinstance(time, dict) else None
    if written is None:
        return
    try:
        moment = _EPOCH + timedelta(seconds=int(written))
    except (TypeError, ValueError, OverflowError):
        why = f"the date {str(written)[:40]!r} is no date"
        yield Statement("taken", TAKEOUT, "photoTakenTime", None, why)
        return
    meant = Moment(moment.replace(tzinfo=None), zone=UTC)
    yield Statement("taken", TAKEOUT, "photoTakenTime", meant, rank=_RANK)


def _place(name: str, place: Any) -> Iterator[Statement]:
    if not isinstance(place, dict):
        return
    latitude, longitude = place.get("latitude"), place.get("longitude")
    if not isinstance(latitude, int | float) or not isinstance(longitude, int | float):
        return
    if latitude == longitude == 0:  # it has none
        return
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        why = f"the place {latitude:g}, {longitude:g} is not on Earth"
        yield Statement("location", TAKEOUT, name, None, why)
        return
    yield Statement("location", TAKEOUT, name, GeoPoint(float(latitude), float(longitude)))
