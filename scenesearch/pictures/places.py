"""Where a picture was taken, as EXIF and XMP write it: degrees, with a letter for the hemisphere.

A hemisphere that is not written is not guessed: the place is left out with a note. Only a negative
number shows without a letter that the writer uses signs.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scenesearch.pictures.records import GeoPoint
from scenesearch.pictures.words import one_line

_MAX_CHARS = 80  # of one angle; the pattern below is slow with very long ones
_NUMBER = r"\d+(?:\.\d+)?"
_XMP = re.compile(
    rf"(?P<sign>[-+]?)(?P<numbers>{_NUMBER}(?:[,\s°'′:]+(?:deg\s*)?{_NUMBER}){{0,2}})"
    r"[\s\"'″′°]*(?:deg)?\s*(?P<reference>[A-Za-z]*)"
)


class PlaceError(ValueError):
    """The message says what is wrong with the place."""


@dataclass(frozen=True)
class _Angle:
    degrees: float  # without a sign
    is_negative: bool
    sign: int  # of the letter; 0 where there is none
    why: str = ""


def place_of_exif(
    latitude: Any, latitude_reference: Any, longitude: Any, longitude_reference: Any
) -> tuple[GeoPoint | None, str]:
    """The place, None where there was no fix, and a note; raises PlaceError."""
    return _place(
        _angle(_floats(latitude), one_line(latitude_reference), "ns"),
        _angle(_floats(longitude), one_line(longitude_reference), "ew"),
    )


def place_of_xmp(latitude: str, longitude: str) -> tuple[GeoPoint | None, str]:
    """The same of '57,44.5N' and '10,35.6E', also '57.74' and '57,44,30N'."""
    angles = []
    for text, letters in ((latitude, "ns"), (longitude, "ew")):
        written = _XMP.fullmatch(text[:_MAX_CHARS].strip())
        if written is None:
            raise PlaceError(f"the place {text[:40]!r} is not written in degrees")
        numbers = [float(number) for number in re.findall(_NUMBER, written["numbers"])]
        if written["sign"] == "-":
            numbers[0] = -numbers[0]
        angles.append(_angle(numbers, written["reference"], letters))
    return _place(*angles)


def _floats(value: Any) -> list[float]:
    parts = value if isinstance(value, tuple | list) else [value]
    try:
        return [float(part) for part in parts]
    except (TypeError, ValueError, ZeroDivisionError):
        raise PlaceError("the place is not written in degrees") from None


def _angle(numbers: Sequence[float], reference: str | None, letters: str) -> _Angle | None:
    """None where nothing was measured: cameras write 0/0 then, which is read as NaN."""
    if not 1 <= len(numbers) <= 3:
        raise PlaceError("the place is not written in degrees")
    if all(math.isnan(number) for number in numbers):
        return None
    if math.isnan(numbers[0]):
        raise PlaceError("the place has no degrees")
    whole, *parts = [0.0 if math.isnan(number) else abs(number) for number in numbers]
    if any(part > 60 for part in parts):
        raise PlaceError("the place has more than 60 minutes or seconds")
    why = "the place is exact to minutes or degrees only" if any(map(math.isnan, numbers)) else ""
    degrees = whole + sum(part / 60**power for power, part in enumerate(parts, 1))
    letter = (reference or "")[:1].lower()
    sign = {letters[0]: 1, letters[1]: -1}.get(letter, 0)
    is_negative = any(math.copysign(1, number) < 0 and number != 0 for number in numbers)
    return _Angle(degrees, is_negative, sign, why)


def _place(latitude: _Angle | None, longitude: _Angle | None) -> tuple[GeoPoint | None, str]:
    if latitude is None or longitude is None:
        return None, ""
    if latitude.degrees == longitude.degrees == 0:
        return None, ""  # written by cameras without a fix
    if latitude.degrees > 90 or longitude.degrees > 180:
        raise PlaceError(f"the place {latitude.degrees:g}, {longitude.degrees:g} is not on Earth")
    notes = list(filter(None, {latitude.why, longitude.why}))
    has_signs = any(one.is_negative and not one.sign for one in (latitude, longitude))
    values = []
    for one, hemispheres in ((latitude, "north or south"), (longitude, "east or west")):
        if not one.sign and not has_signs:
            raise PlaceError(f"the place does not say {hemispheres}")
        if one.is_negative and one.sign > 0:
            notes.append(
                f"the place has {-one.degrees:g} degrees {hemispheres.split()[0]}, "
                f"read as {hemispheres.split()[-1]}"
            )
        values.append(-one.degrees if one.is_negative or one.sign < 0 else one.degrees)
    if has_signs:
        notes.append("the place has no letters for its hemispheres and was read by its signs")
    return GeoPoint(round(values[0], 7), round(values[1], 7)), "; ".join(notes)
