"""One filter, FIELD OPERATOR VALUES, with its field found among those that a library declares."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from scenesearch.search.quoting import alternatives, plain_text, shortened
from scenesearch.search.request import (
    MAX_ALTERNATIVES,
    MAX_FILTERS,
    MAX_VALUES,
    OFFLINE,
    FieldFilter,
    Operator,
    QueryError,
    RequestFilter,
    field_filters,
)
from scenesearch.search.typed_values import any_of, condition_of
from scenesearch.store.fields import PayloadField, words_field
from scenesearch.store.filters import Has, Not
from scenesearch.store.written import TEXT, WORDS

_COMPARISONS: tuple[Operator, ...] = (">", ">=", "<", "<=")
OPERATORS: dict[str, Operator] = {
    ":": ":",
    "=": "=",
    "!=": "=",
    **{prefix + operator: operator for operator in _COMPARISONS for prefix in ("", ":")},
}
# Names that are no field's, with an example of what follows them.
_EXAMPLES = {
    "has": "caption",
    "is": OFFLINE,
    "like": "IMAGE",
    "near": "55.75,37.62,50km",
    "within": "55.5,37.3,56,38",
}
# Of those, what asks for the field with places.
PLACED = ("near", "within")
NO_PICTURES = "a picture is no filter; it stands in the text or --like"


class NotAFilterError(Exception):
    """Why it is none, what is written may be words; empty when there is no need to say."""


@dataclass(frozen=True)
class Written:
    """A filter as it is written, `raw` before it is split into values."""

    name: str
    op: str
    raw: str
    values: tuple[str, ...]
    negated: bool = False

    @classmethod
    def of(cls, name: str, op: str, raw: str, *, negated: bool = False) -> "Written":
        return cls(name, op, raw, alternatives(raw), negated)

    def __str__(self) -> str:
        return f"{'-' if self.negated else ''}{self.name}{self.op}{self.raw}"


def read_filter(written: Written, fields: Mapping[str, PayloadField], today: date) -> FieldFilter:
    """The filter of a library with these fields.

    Raises NotAFilterError, and QueryError for values that do not fit the field.
    """
    name, op, raw, values = written.name, written.op, written.raw, written.values
    special = name.lower()
    if special in _EXAMPLES and not raw:
        raise NotAFilterError(
            f"no value stands right after it, as in {special}:{_EXAMPLES[special]}"
        )
    if special == "has" and op == ":":
        return _presence(written, fields)
    if special == "is" and op == ":" and plain_text(raw).lower() == OFFLINE:
        return FieldFilter("is", "is", (OFFLINE,), written.negated, None)
    field_name = _asked_field(name, fields)
    if field_name is None and special in PLACED:
        raise NotAFilterError("this library has no places")
    if field_name is None:
        raise NotAFilterError(no_field(name, raw, fields) if name[:1].isalpha() else "")
    if not values:
        raise NotAFilterError(f"no value stands right after it, as in {field_name}:VALUE")
    operator, keyword = OPERATORS[op], fields[field_name].type == "keyword"
    if operator == "=" and not keyword:
        operator = ":"  # only keywords tell 'exactly' from 'about'
    negated = written.negated != (op == "!=")
    found = FieldFilter(field_name, operator, values, negated, None)
    if operator == ":" and (keyword or words_field(field_name, fields)):
        return found
    try:
        condition = condition_of(fields[field_name], operator, values, today, fields)
    except ValueError as error:
        raise QueryError(f"{shortened(str(found))}: {error}") from None
    return replace(found, condition=Not(condition) if negated else condition)


def _presence(written: Written, fields: Mapping[str, PayloadField]) -> FieldFilter:
    """The filter has:FIELD,FIELD."""
    names: list[str] = []
    for value in written.values or (written.raw,):
        name = field_named(plain_text(value), fields)
        if name is None:
            raise NotAFilterError(no_field(plain_text(value), "", fields, special=False))
        names.append(name)
    any_ = any_of([Has(name) for name in names])
    condition = Not(any_) if written.negated else any_
    return FieldFilter("has", "has", tuple(names), written.negated, condition)


def is_filter(written: Written, fields: Mapping[str, PayloadField]) -> bool:
    """Whether it is one, even if its values do not fit the field."""
    special, raw = written.name.lower(), written.raw
    if written.op == ":" and special == "has" and raw:
        names = written.values or (raw,)
        return all(field_named(plain_text(name), fields) for name in names)
    if written.op == ":" and special == "is" and plain_text(raw).lower() == OFFLINE:
        return True
    return bool(written.values) and _asked_field(written.name, fields) is not None


def _asked_field(name: str, fields: Mapping[str, PayloadField]) -> str | None:
    """The declared field, for 'near' and 'within' the one with places."""
    found = field_named(name, fields)
    if found is None and name.lower() in PLACED:
        return next((field.name for field in fields.values() if field.type == "geo"), None)
    return found


def field_named(name: str, fields: Mapping[str, PayloadField]) -> str | None:
    """The declared field: as written, in another case, with blanks or '-' for '_', or singular for
    plural."""
    if name in fields:
        return name
    lower = {known.lower(): known for known in fields}
    name = re.sub(r"[\s-]+", "_", name)
    for candidate in (name.lower(), f"{name.lower()}s", name.lower().removesuffix("s")):
        if candidate in lower:
            return lower[candidate]
    return None


def no_field(
    name: str, raw: str, fields: Mapping[str, PayloadField], *, special: bool = True
) -> str:
    if name.lower() in (TEXT, WORDS):
        return "no text was read from this library's pictures, see scenesearch library read-text"
    names = [*fields, *_EXAMPLES] if special else list(fields)
    near = difflib.get_close_matches(name.lower(), names, 1, 0.7)
    value = f":{shortened(raw)}" if raw else ""
    hint = f"; did you mean {near[0]}{value}?" if near else ""
    return f"this library has no field {name!r}{hint}"


def with_fields(reason: str, fields: Iterable[str]) -> str:
    """The reason, with the names of the fields where it suggests none."""
    if "did you mean" in reason:
        return reason
    names = sorted(fields)
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"{reason}; fields are {', '.join(names[:12])}{more}"


def check_number(filters: Sequence[RequestFilter]) -> None:
    """Raise QueryError if there are too many filters, those in groups counted, or values."""
    found = list(field_filters(filters))
    if len(found) > MAX_FILTERS:
        raise QueryError(f"{len(found)} filters are given, at most {MAX_FILTERS} are taken")
    for one in found:
        if len(one.values) > MAX_VALUES:
            raise QueryError(
                f"{one.field} has {len(one.values)} alternatives, at most {MAX_VALUES} are taken"
            )
    if (together := sum(len(one.values) for one in found)) > MAX_ALTERNATIVES:
        raise QueryError(
            f"the filters have {together} alternatives together, "
            f"at most {MAX_ALTERNATIVES} are taken"
        )
