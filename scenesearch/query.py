"""Reads `--where` expressions into filters, by the declared payload fields.

    camera=Canon EOS 5D        is              orientation!=square     is not
    tags in sea,boat           any of these    camera=Canon*           begins with
    taken=2019                 that year       taken=2019-05..2021     from .. to, both included
    width>=2000                at least        captions=red boat       all these words
    location=55.75,37.62,50km  within          a=1 and b=2             both
    folder=2020/may            that folder and everything below it

A value with ' and ', a comma or a '*' of its own goes in double quotes.
"""

import difflib
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from scenesearch.errors import SceneSearchError
from scenesearch.library import GeoPoint
from scenesearch.store.fields import PayloadField, by_name
from scenesearch.store.filters import (
    Condition,
    Filter,
    HasWords,
    Near,
    Not,
    OneOf,
    Prefix,
    Range,
)


class QueryError(SceneSearchError):
    """The request cannot be understood; the message is one sentence for the user."""


_CONDITION = re.compile(r"\s*(?P<field>\w+)\s*(?P<op>!=|>=|<=|=|>|<|\bin\b)\s*(?P<value>.*)", re.S)
_AND = re.compile(r'((?:[^"]|"[^"]*")*?)(?:\s+and\s+|$)', re.IGNORECASE)
_NEAR = re.compile(
    r"(?P<lat>[-+\d.]+)\s*,\s*(?P<lon>[-+\d.]+)\s*,\s*(?P<radius>[\d.]+)\s*(?P<unit>km|m)"
)
_PARTIAL_DATE = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?")


def parse_where(expressions: Sequence[str], fields: Sequence[PayloadField]) -> Filter:
    """All conditions of all expressions; raises QueryError naming the part that fails."""
    return tuple(
        _parse_condition(part, by_name(fields))
        for expression in expressions
        for part in _split_and(expression)
    )


def _split_and(expression: str) -> list[str]:
    if expression.count('"') % 2:
        raise QueryError(f"--where {expression}: a double quote is not closed")
    parts = [part.strip() for part in _AND.findall(expression)]
    return [part for part in parts if part]


def _parse_condition(text: str, fields: dict[str, PayloadField]) -> Condition:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise QueryError(f"--where {text}: expected FIELD=VALUE, see `scenesearch search --help`")
    name, op, value = match["field"], match["op"], match["value"].strip()
    field = fields.get(name)
    if field is None:
        near = difflib.get_close_matches(name, fields, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"fields are {', '.join(sorted(fields))}"
        raise QueryError(f"--where {text}: this library has no field {name!r}; {hint}")
    if not value:
        raise QueryError(f"--where {text}: the value is missing")
    if op == "!=":
        return Not(_is(text, field, value))
    if op == "in":
        return _one_of(text, field, [_unquote(part) for part in _split_commas(value)])
    if op == "=":
        return _is(text, field, value)
    return _compare(text, field, op, value)


def _is(text: str, field: PayloadField, value: str) -> OneOf | Range | Prefix | HasWords | Near:
    """What '=' means for the field's type."""
    quoted = value.startswith('"')
    if field.type == "text":
        return HasWords(field.name, _unquote(value))
    if field.type == "geo":
        return _near(text, field, value)
    if field.type == "datetime":
        start, end = _split_range(value)
        return Range(field.name, at_least=_earliest(text, start), below=_after(text, end))
    if field.type in ("integer", "float") and (".." in value or field.type == "float"):
        start, end = _split_range(value)
        return Range(field.name, at_least=_number(text, start), at_most=_number(text, end))
    if field.hierarchical and not quoted:
        return _one_of(text, field, [value.removesuffix("*").rstrip("/") or "."])
    if field.type == "keyword" and value.endswith("*") and not quoted:
        return Prefix(field.name, value[:-1])
    return _one_of(text, field, [_unquote(value)])


def _one_of(text: str, field: PayloadField, values: list[str]) -> OneOf:
    if field.type == "keyword":
        return OneOf(field.name, tuple(values))
    if field.type == "boolean":
        return OneOf(field.name, tuple(_boolean(text, value) for value in values))
    if field.type == "integer":
        return OneOf(field.name, tuple(_integer(text, value) for value in values))
    raise QueryError(
        f"--where {text}: {field.name} is a {field.type} field, a list does not fit it"
    )


def _compare(text: str, field: PayloadField, op: str, value: str) -> Range:
    if field.type == "datetime":
        # 'taken>2019' is after that year, 'taken>=2019' from its first moment.
        if op in (">", "<="):
            moment = _after(text, value)
            return (
                Range(field.name, at_least=moment) if op == ">" else Range(field.name, below=moment)
            )
        moment = _earliest(text, value)
        return Range(field.name, at_least=moment) if op == ">=" else Range(field.name, below=moment)
    if field.type in ("integer", "float"):
        number = _number(text, value)
        bound = {">": "above", ">=": "at_least", "<": "below", "<=": "at_most"}[op]
        return Range(field.name, **{bound: number})
    raise QueryError(f"--where {text}: {field.name} is a {field.type} field, it has no order")


def _near(text: str, field: PayloadField, value: str) -> Near:
    match = _NEAR.fullmatch(value)
    try:
        if match is None:
            raise ValueError
        latitude, longitude = float(match["lat"]), float(match["lon"])
        radius_m = float(match["radius"]) * (1000 if match["unit"] == "km" else 1)
    except ValueError:
        raise QueryError(
            f"--where {text}: expected {field.name}=LATITUDE,LONGITUDE,RADIUS, "
            "like 55.75,37.62,50km"
        ) from None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise QueryError(f"--where {text}: latitude is -90..90 and longitude -180..180")
    return Near(field.name, GeoPoint(latitude, longitude), radius_m)


def _split_range(value: str) -> tuple[str, str]:
    """'a..b' -> (a, b), 'a' -> (a, a); an end may be empty, '2019..' is open."""
    start, dots, end = value.partition("..")
    return (start.strip(), end.strip()) if dots else (value, value)


def _earliest(text: str, value: str) -> datetime | None:
    return _period(text, value)[0] if value else None


def _after(text: str, value: str) -> datetime | None:
    return _period(text, value)[1] if value else None


def _period(text: str, value: str) -> tuple[datetime, datetime]:
    """First moment of a year, month, day or instant, and the first moment after it (UTC)."""
    value = _unquote(value)
    match = _PARTIAL_DATE.fullmatch(value)
    try:
        if match is None:
            moment = datetime.fromisoformat(value)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return moment, moment + timedelta(seconds=1)
        year, month, day = (int(part) if part else None for part in match.groups())
        start = datetime(year or 0, month or 1, day or 1, tzinfo=UTC)
        if day:
            return start, start + timedelta(days=1)
        if month:
            return start, start.replace(year=start.year + month // 12, month=month % 12 + 1)
        return start, start.replace(year=start.year + 1)
    except (ValueError, OverflowError):
        raise QueryError(
            f"--where {text}: {value!r} is not a date; write 2019, 2019-05, 2019-05-31 "
            "or 2019-05-31T18:00"
        ) from None


def _number(text: str, value: str) -> int | float | None:
    if not value:
        return None
    try:
        return int(value)
    except ValueError:
        pass
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if number != number or number in (float("inf"), float("-inf")):
        raise QueryError(f"--where {text}: {value!r} is not a number")
    return number


def _integer(text: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise QueryError(f"--where {text}: {value!r} is not a whole number") from None


def _boolean(text: str, value: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if value.lower() not in known:
        raise QueryError(f"--where {text}: {value!r} is neither true nor false")
    return known[value.lower()]


def _split_commas(value: str) -> list[str]:
    parts = [part.strip() for part in re.findall(r'\s*("[^"]*"|[^,]+)', value)]
    return [part for part in parts if part]


def _unquote(value: str) -> str:
    return value[1:-1] if len(value) >= 2 and value[0] == value[-1] == '"' else value
