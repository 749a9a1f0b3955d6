"""What is said of a picture, by whom, and which of it counts.

A picture's metadata come from many places, which may disagree. Each value is a statement with its
source. `ORDER` says, for each field, which source counts before which, and is applied in `settle`
alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from scenesearch.pictures.moments import Moment
from scenesearch.pictures.records import GeoPoint
from scenesearch.pictures.words import distinct

SIDE_FILE: Final = "side file"
TAKEOUT: Final = "Takeout"
XMP: Final = "XMP"
IPTC: Final = "IPTC"
EXIF: Final = "EXIF"
FILE_NAME: Final = "file name"

_WORDS: Final = (SIDE_FILE, TAKEOUT, XMP, IPTC, EXIF)
_MEASUREMENTS: Final = (EXIF, XMP, SIDE_FILE)

# For each field its sources, the first counts before the others. Of lists, all sources count.
ORDER: Final[Mapping[str, tuple[str, ...]]] = {
    "taken": (SIDE_FILE, XMP, IPTC, EXIF, TAKEOUT, FILE_NAME),
    "location": (SIDE_FILE, XMP, EXIF, TAKEOUT),
    "title": _WORDS,
    "description": _WORDS,
    "tags": _WORDS,
    "people": _WORDS,
    "rating": _WORDS,
    "favourite": (TAKEOUT,),
    "camera": _MEASUREMENTS,
    "lens": _MEASUREMENTS,
    "exposure_s": _MEASUREMENTS,
    "aperture": _MEASUREMENTS,
    "iso": _MEASUREMENTS,
    "focal_length_mm": _MEASUREMENTS,
}
LISTS: Final = ("tags", "people")


@dataclass(frozen=True)
class Statement:
    """One value that a source says of a field, under the source's own name for it.

    `value` is None where it makes no sense. `why` says what is odd about it, or why it does not
    count; with `is_noted` the run's notes say so too. `rank` puts some dates of all sources behind
    others: when a picture was scanned, when it was edited.
    """

    field: str
    source: str
    name: str
    value: Any
    why: str = ""
    is_noted: bool = True
    rank: int = 0


@dataclass(frozen=True)
class PictureMetadata:
    """What cameras and people wrote into the file; None or empty where there is nothing.

    `taken` is the wall time where the picture was taken, with a time zone only when it was
    recorded. With `taken_until`, the first moment after it, it is a period: a year, a month, a day.
    `taken_guessed` means that only the file's name says it. `exposure_s` is the shutter time,
    `aperture` the f-number, `focal_length_mm` that of the lens itself. `rating` is 1-5 stars, or
    -1 for rejected. `sources` names the source of each field, `statements` everything that was
    said, and `notes` lists what was written but makes no sense.
    """

    taken: datetime | None = None
    taken_until: datetime | None = None
    taken_guessed: bool | None = None
    camera: str | None = None
    lens: str | None = None
    exposure_s: float | None = None
    aperture: float | None = None
    iso: int | None = None
    focal_length_mm: float | None = None
    location: GeoPoint | None = None
    title: str | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    rating: float | None = None
    favourite: bool | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)
    statements: tuple[Statement, ...] = field(default=(), compare=False, repr=False)


def settle(statements: Sequence[Statement], notes: Sequence[str] = ()) -> PictureMetadata:
    """The metadata that the statements amount to; `notes` are of sources as a whole."""
    notes = [*notes, *(one.why for one in statements if one.why and one.is_noted)]
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name in ORDER:
        said = sorted_by_order(name, statements)
        if not said:
            continue
        if name in LISTS:
            values[name] = distinct((word for one in said for word in one.value), name, notes)
            sources[name] = ", ".join(dict.fromkeys(one.source for one in said if one.value))
            continue
        counts = _most_exact(said) if name == "taken" else said[0]
        values[name] = counts.value
        sources[name] = f"{counts.source} {counts.name}".strip()
        if name == "taken":
            values |= _taken(counts, said)
    return PictureMetadata(
        **values,
        notes=tuple(dict.fromkeys(notes)),
        sources=sources,
        statements=tuple(statements),
    )


def sorted_by_order(field_name: str, statements: Sequence[Statement]) -> list[Statement]:
    """What makes sense of a field, the first of which counts."""
    order = ORDER[field_name]
    said = [one for one in statements if one.field == field_name and one.value is not None]
    return sorted(said, key=lambda one: (one.rank, order.index(one.source)))


def _most_exact(said: Sequence[Statement]) -> Statement:
    """The first date, or one of the same rank that says more exactly when in its period."""
    first: Moment = said[0].value
    if first.until is None:
        return said[0]
    for one in said:
        exact: Moment = one.value
        lies_within = first.start <= exact.start < first.until
        if one.rank == said[0].rank and exact.until is None and lies_within:
            return one
    return said[0]


def _taken(counts: Statement, said: Sequence[Statement]) -> dict[str, Any]:
    moment: Moment = counts.value
    # A zone that another source gives to the same wall time is that of this one.
    zones = (one.value.zone for one in said if one.value.start == moment.start)
    zone = moment.zone or next(filter(None, zones), None)
    return {
        "taken": moment.start.replace(tzinfo=zone),
        "taken_until": moment.until,
        "taken_guessed": True if counts.source == FILE_NAME else None,
    }
