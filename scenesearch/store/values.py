"""Whether the values of a payload are what its fields declare.

A payload comes from anyone who could write to the store or a backup. A restore refuses a value
that does not fit. Reading from a store leaves it out, so that nothing above the store meets a
number where it expects text, or a path where it expects a content hash.
"""

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from scenesearch.pictures.records import MetadataType
from scenesearch.store import hand_tags, written
from scenesearch.store.fields import (
    BUILTIN_FIELDS,
    LONGEST_NAME,
    LONGEST_TEXT,
    UNSEARCHED_FIELDS,
    Limits,
    PayloadField,
    by_name,
)

Check = Callable[[Any], bool]

_MOST_VALUES = 10_000  # of a field that may hold several
_MOST_DEPTH = 8  # of lists and objects under undeclared keys
_INTEGERS = range(-(2**63), 2**63)


@lru_cache(maxsize=32)
def checks_of(fields: tuple[PayloadField, ...]) -> Mapping[str, Check]:
    """A check for each field, whether a value may be its value.

    A collection of an early version may declare a manifest's column under a name that has become
    a built-in field since. Then the collection's type counts, except for fixed fields.
    """
    checks: dict[str, Check] = {
        "own": _is_own,
        hand_tags.KEY: _is_by_hand,
        written.LINES: written.are_places,
    }
    declared = by_name(fields)
    for field in (*BUILTIN_FIELDS, *UNSEARCHED_FIELDS):
        recorded = declared.pop(field.name, field)
        is_ours = field.is_fixed or recorded.type == field.type
        checks[field.name] = _check(field if is_ours else recorded)
    return checks | {field.name: _check(field) for field in declared.values()}


def misfit(payload: Mapping[str, Any], checks: Mapping[str, Check]) -> str | None:
    """The first key whose value does not fit its field; None if all do."""
    for key, value in payload.items():
        if not checks.get(key, _is_storable)(value):
            return key
    return None


def without_misfits(payload: Mapping[str, Any], checks: Mapping[str, Check]) -> Mapping[str, Any]:
    """The payload without the values that do not fit their field."""
    # Nearly always all values fit, and this runs for each point that is read.
    if misfit(payload, checks) is None:
        return payload
    return {key: value for key, value in payload.items() if checks.get(key, _is_storable)(value)}


def is_image_id(value: Any) -> bool:
    """Whether the value can be an image id."""
    return type(value) is str and 0 < len(value) <= LONGEST_NAME and "\0" not in value


def _check(field: PayloadField) -> Check:
    if field.name == "image_id":
        return is_image_id
    single = _CHECKS[field.type](field.limits)
    if field.type not in ("keyword", "text"):
        return single

    def several(value: Any) -> bool:
        return type(value) is list and len(value) <= _MOST_VALUES and all(map(single, value))

    if field.multiple and not field.hierarchical:
        return several
    if field.of_the_file and not field.hierarchical:
        return single
    # A manifest may give several values; a path may come without its ancestors.
    return lambda value: single(value) or several(value)


def _text(limits: Limits) -> Check:
    if limits.form:
        matches = re.compile(limits.form).fullmatch
        return lambda value: type(value) is str and matches(value) is not None
    longest = limits.longest
    # No path with a zero byte can be opened.
    return lambda value: type(value) is str and len(value) <= longest and "\0" not in value


def _integer(limits: Limits) -> Check:
    least, most = max(limits.least, _INTEGERS[0]), min(limits.most, _INTEGERS[-1])
    return lambda value: type(value) is int and least <= value <= most


def _number(limits: Limits) -> Check:
    return lambda value: _is_finite(value) and limits.least <= value <= limits.most


def _is_finite(value: Any) -> bool:
    if type(value) is int:
        return value in _INTEGERS
    return type(value) is float and math.isfinite(value)


def _is_moment(value: Any) -> bool:
    if type(value) is not str or len(value) > 64:
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_place(value: Any) -> bool:
    return (
        type(value) is dict
        and value.keys() == {"lat", "lon"}
        and all(map(_is_finite, value.values()))
        and abs(value["lat"]) <= 90
        and abs(value["lon"]) <= 180
    )


def _is_own(value: Any) -> bool:
    """Whether it records which values came from the file itself (fields, captions, tags, people),
    and from where in it (sources)."""
    if type(value) is not dict or "fields" not in value:
        return False
    lists = {name: texts for name, texts in value.items() if name != "sources"}
    sources = value.get("sources", {})
    return (
        lists.keys() <= {"fields", "captions", "tags", "people"}
        and all(type(texts) is list and _are_texts(texts) for texts in lists.values())
        and type(sources) is dict
        and _are_texts([*sources, *sources.values()])
    )


def _is_by_hand(value: Any) -> bool:
    return hand_tags.is_by_hand(value) and all(map(_are_texts, value.values()))


def _are_texts(texts: list[Any]) -> bool:
    return len(texts) <= _MOST_VALUES and all(
        type(text) is str and len(text) <= LONGEST_TEXT for text in texts
    )


def _is_storable(value: Any, depth: int = _MOST_DEPTH) -> bool:
    """Whether the engines can store it: 64-bit numbers, text, limited nesting."""
    if isinstance(value, dict | list):
        if isinstance(value, dict) and not all("\0" not in key for key in value):
            return False
        parts = value.values() if isinstance(value, dict) else value
        return depth > 0 and all(_is_storable(part, depth - 1) for part in parts)
    if isinstance(value, str):
        return len(value) <= LONGEST_TEXT and "\0" not in value
    return value is None or isinstance(value, bool) or _is_finite(value)


_CHECKS: Mapping[MetadataType, Callable[[Limits], Check]] = {
    "keyword": _text,
    "text": _text,
    "integer": _integer,
    "float": _number,
    "boolean": lambda limits: lambda value: type(value) is bool,
    "datetime": lambda limits: _is_moment,
    "geo": lambda limits: _is_place,
}
