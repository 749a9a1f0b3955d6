"""Reads filters that programs write: `{"or": [{"field": "camera", "value": "canon"}, ...]}`.

A filter has `field`, `operator` (':' if there is none) and `value`, which mean what they mean in
text. A list of values are alternatives. With '=' and '!=' a text is taken as it is; with ':' it may
have '*', '..' and quotes. A group has one of `and`, `or` (lists) and `not`.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, TypeGuard

from scenesearch.datasets.cells import composed
from scenesearch.search.field_filter import (
    NO_PICTURES,
    OPERATORS,
    PLACED,
    NotAFilterError,
    Written,
    field_named,
    read_filter,
    with_fields,
)
from scenesearch.search.nesting import EMPTY_GROUP, TOO_DEEP
from scenesearch.search.quoting import alternatives, as_value, plainest, shortened
from scenesearch.search.request import (
    MAX_DEPTH,
    MAX_FILTERS,
    MAX_VALUES,
    FieldFilter,
    Joint,
    QueryError,
    RequestFilter,
    check_text,
    joined,
    negation,
    split,
)
from scenesearch.store.fields import PayloadField

_GROUPS = ("and", "or", "not")
_SIGNS = tuple(sign for sign in OPERATORS if sign == ":" or ":" not in sign)
_SHAPE = "a filter has field, operator and value, a group one of and, or, not"


def read_tree(
    where: Mapping[str, Any], fields: Mapping[str, PayloadField], today: date
) -> tuple[RequestFilter, ...]:
    """The filters, all of which hold; raises QueryError naming the part that fails."""
    filters = split("and", _Reader(fields, today).read(where, "where", 0))
    check_text("where", " ".join(map(str, filters)))
    return filters


class _Reader:
    def __init__(self, fields: Mapping[str, PayloadField], today: date) -> None:
        self.fields, self.today = fields, today
        self.count = 0

    def read(self, node: object, place: str, depth: int) -> RequestFilter:
        if not isinstance(node, Mapping):
            raise QueryError(f"{place}: {shortened(repr(node)[:200])} is no filter: {_SHAPE}")
        found = [key for key in _GROUPS if key in node]
        if not found:
            return self.filter(node, place)
        if len(node) > 1:
            raise QueryError(f"{place}: {found[0]!r} does not stand alone: {_SHAPE}")
        if depth == MAX_DEPTH:
            raise QueryError(f"{place}: {TOO_DEEP}")
        (key,) = found
        if key == "not":
            return negation(self.read(node[key], f"{place}.not", depth + 1))
        joint: Joint = "or" if key == "or" else "and"
        return joined(joint, self.several(node[key], f"{place}.{key}", depth + 1))

    def several(self, nodes: object, place: str, depth: int) -> list[RequestFilter]:
        if not _is_list(nodes):
            raise QueryError(f"{place}: expected a list of filters")
        if not nodes:
            raise QueryError(f"{place}: {EMPTY_GROUP}")
        return [self.read(node, f"{place}[{number}]", depth) for number, node in enumerate(nodes)]

    def filter(self, node: Mapping[str, Any], place: str) -> FieldFilter:
        self.count += 1
        if self.count > MAX_FILTERS:
            raise QueryError(
                f"more than {MAX_FILTERS} filters are given, at most {MAX_FILTERS} are taken"
            )
        written = self.written(node, place)
        named = f"{place} {shortened(str(written))}"
        if not written.values:
            raise QueryError(f"{named}: the value is missing")
        if written.name.lower() == "like":
            raise QueryError(f"{named}: {NO_PICTURES}")
        try:
            return read_filter(written, self.fields, self.today)
        except QueryError as error:
            raise QueryError(f"{place} {error}") from None
        except NotAFilterError as error:
            reason = str(error) or "expected a field"
            raise QueryError(f"{named}: {with_fields(reason, self.fields)}") from None

    def written(self, node: Mapping[str, Any], place: str) -> Written:
        unknown = [key for key in node if key not in ("field", "operator", "value")]
        if unknown:
            raise QueryError(f"{place}: {shortened(str(unknown[0])[:200])!r} is unknown: {_SHAPE}")
        name, op = node.get("field"), node.get("operator", ":")
        if not isinstance(name, str) or not name.strip():
            raise QueryError(f"{place}: expected the name of a field as field")
        check_text(f"{place}.field", name)
        if not isinstance(op, str) or op not in _SIGNS:
            raise QueryError(f"{place}: expected one of {' '.join(_SIGNS)} as operator")
        given = node.get("value")
        values: Sequence[object] = given if _is_list(given) else (given,)
        if len(values) > MAX_VALUES:
            raise QueryError(
                f"{place}: {shortened(name)} has {len(values)} alternatives, "
                f"at most {MAX_VALUES} are taken"
            )
        declared = self.fields.get(field_named(name, self.fields) or "")
        texts = [_text(value, f"{place}.value") for value in values]
        if name.lower() in PLACED or (declared and declared.type == "geo"):
            found = alternatives(",".join(texts))
        elif op in ("=", "!=") and declared and declared.type == "keyword":
            found = tuple(as_value(text) for text in texts if text.strip())
        else:
            found = tuple(filter(None, map(plainest, texts)))
        return Written(name.strip(), op, ",".join(found), found)


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _text(value: object, place: str) -> str:
    """The value as it is written in text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() <= 64:
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        check_text(place, value)
        return composed(value)
    raise QueryError(f"{place}: expected a text, a number, true or false, or a list of these")
