"""From the written values of a filter to a condition for the store, by the type of the field.

Functions raise ValueError with what does not fit.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from scenesearch.pictures.records import GeoPoint
from scenesearch.search.dates import names_zone, period
from scenesearch.search.quoting import plain_text, segments
from scenesearch.search.request import Operator
from scenesearch.store.fields import INSTANT, PayloadField
from scenesearch.store.filters import (
    AnyOf,
    HasWords,
    Near,
    OneOf,
    Plain,
    Prefix,
    Range,
    Within,
)

_NEAR = re.compile(
    r"(?P<lat>[-+]?[\d.]+),(?P<lon>[-+]?[\d.]+)(?:,(?P<radius>[\d.]+)\s*(?P<unit>km|m))?"
)
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)"
_BOX = re.compile(rf"({_NUMBER}),({_NUMBER}),({_NUMBER}),({_NUMBER})")
_DEFAULT_RADIUS_M = 10_000.0
_BOUNDS = {">": "above", ">=": "at_least", "<": "below", "<=": "at_most"}
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_BACKWARDS = "the range ends before it begins"


def condition_of(
    field: PayloadField,
    operator: Operator,
    values: Sequence[str],
    today: date,
    declared: Collection[str] = (),
) -> Plain | AnyOf:
    """What the values ask of the field; `today` is what 'last year' counts from.

    `declared` are the names of the library's fields. A date with a time zone asks for a moment,
    which another field than the local time has.
    """
    if field.type == "geo":
        text = "".join(",".join(map(plain_text, values)).split())
        return _within(field.name, text) if _BOX.fullmatch(text) else _near(field.name, text)
    instant = INSTANT.get(field.name)
    if instant and instant in declared and any(names_zone(plain_text(value)) for value in values):
        field = replace(field, name=instant)
    if operator in _BOUNDS:
        if len(values) > 1:
            raise ValueError(f"only one value can follow {operator}")
        return _compared(field, operator, plain_text(values[0]), today)
    return any_of([_one(field, value, today) for value in values])


def any_of(alternatives: Sequence[Plain]) -> Plain | AnyOf:
    """One condition for all of them; values of one field are asked for together."""
    if len(alternatives) == 1:
        return alternatives[0]
    named = [alternative for alternative in alternatives if isinstance(alternative, OneOf)]
    if len(named) < len(alternatives):
        return AnyOf(tuple(alternatives))
    return OneOf(named[0].field, tuple(value for one in named for value in one.values))


def _one(field: PayloadField, value: str, today: date) -> Plain:
    name, text = field.name, plain_text(value)
    kinds = [kind for kind, _ in segments(value)]
    match field.type:
        case "text":
            return HasWords(name, text.replace("*", " "))
        case "boolean":
            if text.lower() not in _BOOLEANS:
                raise ValueError(f"{text!r} is neither true nor false")
            return OneOf(name, (_BOOLEANS[text.lower()],))
        case "datetime":
            start, end = _ends(value)
            since = _period(start, today)[0] if start else None
            until = _period(end, today)[1] if end else None
            if since and until and since >= until:
                raise ValueError(_BACKWARDS)
            return Range(name, at_least=since, below=until)
        case "integer" if "dots" not in kinds:
            try:
                return OneOf(name, (int(text),))
            except ValueError:
                raise ValueError(f"{text!r} is not a whole number") from None
        case "integer" | "float":
            least, most = (_number(end) if end else None for end in _ends(value))
            if least is not None and most is not None and least > most:
                raise ValueError(_BACKWARDS)
            return Range(name, at_least=least, at_most=most)
    if field.hierarchical:
        return OneOf(name, ((text[:-1] if kinds[-1:] == ["star"] else text).rstrip("/") or ".",))
    if kinds[-1:] == ["star"] and kinds.count("star") == 1:
        return Prefix(name, text[: -len(segments(value)[-1][1])])
    return OneOf(name, (text,))


def _ends(value: str) -> tuple[str, str]:
    """'a..b' -> (a, b), 'a' -> (a, a); an end may be empty, '2019..' is open."""
    found = segments(value)
    marks = [number for number, (kind, _) in enumerate(found) if kind == "dots"]
    if not marks:
        return plain_text(value), plain_text(value)
    if len(marks) > 1:
        raise ValueError("a range is written FROM..TO")
    start = "".join(text for _, text in found[: marks[0]])
    end = "".join(text for _, text in found[marks[0] + 1 :])
    if not (start or end):
        raise ValueError("a range is written FROM..TO, FROM.. or ..TO")
    return start, end


def _compared(field: PayloadField, operator: Operator, text: str, today: date) -> Range:
    if field.type == "datetime":
        # 'taken:>2019' is after that year, 'taken:>=2019' from its first moment.
        first, after = _period(text, today) if text else (None, None)
        moment = after if operator in (">", "<=") else first
        if ">" in operator:
            return Range(field.name, at_least=moment)
        return Range(field.name, below=moment)
    if field.type in ("integer", "float"):
        bound: dict[str, Any] = {_BOUNDS[operator]: _number(text) if text else None}
        return Range(field.name, **bound)
    raise ValueError(f"{field.name} is a {field.type} field, it has no order")


def _within(name: str, text: str) -> Within:
    south, west, north, east = map(float, text.split(","))
    if not (-90 <= south <= 90 and -90 <= north <= 90 and min(west, east) >= -180) or (
        max(west, east) > 180
    ):
        raise ValueError("latitude is -90..90 and longitude -180..180")
    if south > north:
        raise ValueError("a box is written SOUTH,WEST,NORTH,EAST")
    return Within(name, south, west, north, east)


def _near(name: str, text: str) -> Near:
    match = _NEAR.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        latitude, longitude = float(match["lat"]), float(match["lon"])
        radius_m = _DEFAULT_RADIUS_M
        if match["radius"]:
            radius_m = float(match["radius"]) * (1000 if match["unit"] == "km" else 1)
    except ValueError:
        raise ValueError(
            "expected near:LATITUDE,LONGITUDE,RADIUS, like near:55.75,37.62,50km, or a box, "
            "within:SOUTH,WEST,NORTH,EAST"
        ) from None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise ValueError("latitude is -90..90 and longitude -180..180")
    if radius_m <= 0:
        raise ValueError("the radius is above 0")
    return Near(name, GeoPoint(latitude, longitude), radius_m)


def _period(text: str, today: date) -> tuple[datetime, datetime]:
    try:
        return period(text, today)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a date; write 2019, 2019-05, 2019-05-31, may-2019, "
            "summer-2020 or last-year"
        ) from None


def _number(text: str) -> int | float:
    for kind in (int, float):
        try:
            number: int | float = kind(text)
        except ValueError:
            continue
        if abs(number) < float("inf"):  # neither infinite nor NaN
            return number
    raise ValueError(f"{text!r} is not a number")
