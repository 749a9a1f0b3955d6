"""Conditions checked against the declared fields, so that both homes refuse the same ones.

For a field without an index a server in strict mode refuses to filter, and an embedded shard scans
every payload. A condition of the wrong type silently matches nothing in either.
"""

import math
from collections.abc import Iterable, Iterator
from datetime import datetime
from difflib import get_close_matches
from uuid import UUID

from scenesearch.store.base import CollectionSpec, StoreError
from scenesearch.store.fields import GUESS, PERIOD_END, PayloadField, by_name
from scenesearch.store.filters import (
    Condition,
    Filter,
    Has,
    HasPhrase,
    HasWords,
    Near,
    Not,
    OneOf,
    Plain,
    Prefix,
    Range,
    Within,
    plain_conditions,
)
from scenesearch.store.payload import rfc3339

_VALUE_TYPES = {"keyword": str, "integer": int, "boolean": bool}
_MAX_INTEGER = 2**63 - 1

# The id of no point: ids are UUIDs of version 5. Both homes ask for it where a condition has no
# alternatives and so nothing can pass; engines differ in what an empty list lets pass.
NO_POINT = UUID(int=0)


def checked(where: Filter, spec: CollectionSpec) -> Iterator[tuple[Condition, bool]]:
    """Each condition without its Not, and whether it had one; raises StoreError."""
    for condition in where:
        for plain in plain_conditions(condition):
            _check(plain, declared_field(plain.field, spec))
        if isinstance(condition, Not):
            yield condition.condition, True
        else:
            yield condition, False


def excluded_by(condition: Plain, spec: CollectionSpec) -> Range | Has | None:
    """What a point must not be that passes the condition, because of the field's companions.

    A date that is a period lies before an end only if all of it does. A guessed date is none when
    a picture is asked to have one.
    """
    declared = {field.name for field in spec.fields}
    match condition:
        case Range(field=name, below=datetime() as end):
            until = PERIOD_END.get(name)
            return Range(until, above=end) if until in declared and until else None
        case Has(field=name):
            guess = GUESS.get(name)
            return Has(guess) if guess in declared and guess else None
    return None


def bounds_of(condition: Range) -> tuple[dict[str, float], dict[str, str]]:
    """The range's bounds under the engines' names, numbers and moments (RFC 3339) apart."""
    bounds = {
        "gte": condition.at_least,
        "lte": condition.at_most,
        "gt": condition.above,
        "lt": condition.below,
    }
    numbers = {name: float(b) for name, b in bounds.items() if isinstance(b, int | float)}
    moments = {name: rfc3339(b) for name, b in bounds.items() if isinstance(b, datetime)}
    return numbers, moments


# In degrees: 0.1 mm on the ground.
_EDGE = 1e-9
_HIGHEST = 90 - 1e-7


def boxes_of(box: Within) -> list[tuple[float, float, float, float]]:
    """South, west, north and east of what the engines can be asked for: they leave out what lies
    on an edge, and find nothing in a box that touches a pole, crosses the 180th meridian or goes
    around the Earth."""
    south, north = max(box.south - _EDGE, -_HIGHEST), min(box.north + _EDGE, _HIGHEST)
    west, east = max(box.west - _EDGE, -180.0), min(box.east + _EDGE, 180.0)
    if box.west > box.east:
        return [(south, west, north, 180.0), (south, -180.0, north, east)]
    middle = (west + east) / 2
    return [(south, west, north, middle + _EDGE), (south, middle - _EDGE, north, east)]


def declared_field(name: str, spec: CollectionSpec) -> PayloadField:
    """The field's declaration; raises StoreError with the most similar names."""
    fields = by_name(spec.fields)
    if name in fields:
        return fields[name]
    near = get_close_matches(name, fields, n=3, cutoff=0.5) or sorted(fields)[:12]
    hint = f"did you mean {' or '.join(near)}?" if near else "it has none"
    raise StoreError(f"library {spec.library} has no field {name!r}; {hint}")


def facet_field(name: str, spec: CollectionSpec) -> PayloadField:
    """The same for a field whose values can be counted."""
    field = declared_field(name, spec)
    if field.type not in _VALUE_TYPES:
        raise StoreError(f"the values of {name} ({field.type}) cannot be counted")
    return field


def new_fields(spec: CollectionSpec, wanted: Iterable[PayloadField]) -> tuple[PayloadField, ...]:
    """Those not declared yet, each once; raises StoreError for another type of a declared one."""
    names = by_name(spec.fields)
    added: list[PayloadField] = []
    for field in wanted:
        declared = names.setdefault(field.name, field)
        if declared is field:
            added.append(field)
        elif declared.type != field.type:
            raise StoreError(
                f"library {spec.library} has {field.name} as a field of type {declared.type}, and "
                f"it cannot be of type {field.type} as well: rename the column in the table, or "
                "bring the table into another library with --library NAME"
            )
    return tuple(added)


def _check(condition: Plain, field: PayloadField) -> None:
    match condition:
        case OneOf():
            _check_values(condition, field)
        case Range():
            _check_bounds(condition, field)
        case Prefix():
            _check_type(field, "keyword", "searched by prefix")
        case HasWords():
            _check_type(field, "text", "searched for words")
        case HasPhrase():
            _check_type(field, "text", "searched for a phrase")
        case Near():
            _check_type(field, "geo", "searched by distance")
            _check_circle(condition)
        case Within():
            _check_type(field, "geo", "searched by a box of places")
            _check_box(condition)
        case Has():
            pass  # any field can have a value


def _check_type(field: PayloadField, type_: str, what: str) -> None:
    if field.type != type_:
        raise StoreError(f"{field.name} is a {field.type} field and cannot be {what}")


def _check_values(condition: OneOf, field: PayloadField) -> None:
    expected = _VALUE_TYPES.get(field.type)
    if expected is None:
        raise StoreError(
            f"{field.name} is a {field.type} field and cannot be compared with a value"
        )
    for value in condition.values:
        # A bool is an int in Python, but not to an index.
        if type(value) is not expected:
            raise StoreError(
                f"{field.name} is a {field.type} field; {value!r} is not one of its values"
            )
        if type(value) is int and abs(value) > _MAX_INTEGER:
            raise StoreError(f"{value} is too large for {field.name}")


def _check_bounds(condition: Range, field: PayloadField) -> None:
    if field.type not in ("integer", "float", "datetime"):
        raise StoreError(f"{field.name} is a {field.type} field and has no range")
    for bound in (condition.at_least, condition.at_most, condition.above, condition.below):
        if bound is None:
            continue
        if isinstance(bound, bool) or (field.type == "datetime") != isinstance(bound, datetime):
            raise StoreError(
                f"{field.name} is a {field.type} field; {bound!r} cannot bound its range"
            )
        if isinstance(bound, float) and not math.isfinite(bound):
            raise StoreError(f"{bound} cannot bound the range of {field.name}")


def _check_circle(condition: Near) -> None:
    center = condition.center
    if not (abs(center.latitude) <= 90 and abs(center.longitude) <= 180):
        raise StoreError(f"{center.latitude}, {center.longitude} is not a place on Earth")
    if not (math.isfinite(condition.radius_m) and condition.radius_m > 0):
        raise StoreError(f"a radius of {condition.radius_m} m contains no place")


def _check_box(box: Within) -> None:
    if not all(abs(one) <= 90 for one in (box.south, box.north)) or not all(
        abs(one) <= 180 for one in (box.west, box.east)
    ):
        raise StoreError(f"{box.south}, {box.west} to {box.north}, {box.east} is not on Earth")
    if box.south > box.north:
        raise StoreError(f"a box from {box.south} north to {box.north} contains no place")
