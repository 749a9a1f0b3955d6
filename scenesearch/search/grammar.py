"""Reads a request from text: `dog on a beach + like:IMG_12 - people camera:canon taken:2019..2021`.

docs/search.md describes the grammar. Three decisions keep plain language safe:

- Only a '+' or '-' between blanks, or right before a letter or a quote at the beginning of a word,
  is an operator; hyphens and signs inside words, longer dashes and numbers ('-5') are text.
- Only `NAME:` of a declared field (or has, like, near) begins a filter. Everything else with a
  colon stays words, and a notice says so.
- A double quote, straight or curly, opens a phrase only where it is closed again. A minus sign is a
  '-' too.

`--where` takes the same filters; with no words around, their values may hold blanks and several
are joined by 'and' or a blank.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import zip_longest

from scenesearch.datasets.cells import composed
from scenesearch.search.quoting import alternatives, in_ascii, plain_text, shortened, unquoted
from scenesearch.search.request import (
    MAX_ALTERNATIVES,
    MAX_CHARACTERS,
    MAX_FILTERS,
    MAX_PARTS,
    MAX_PHRASES,
    MAX_VALUES,
    MAX_WEIGHT,
    OFFLINE,
    FieldFilter,
    Like,
    Operator,
    Order,
    Part,
    Phrase,
    QueryError,
    Request,
    Text,
)
from scenesearch.search.typed_values import any_of, condition_of
from scenesearch.store.fields import PayloadField, by_name
from scenesearch.store.filters import Has, Not

_QUOTED = r'"(?>(?:[^"]|"")*)"'
_WEIGHT = r"\^(?P<weight>\d{1,4}(?:\.\d{1,4})?)"
_SPACE = re.compile(r"\s+")
_OPERATOR = re.compile(r"(?P<sign>[+-])(?=\s|$)")
# How a filter begins is written once, for the text and for --where alike.
_NAME = r'(?P<name>\w++(?:-\w++)*+|"\w[^"]*")'
_ORDER = r">=|<=|>|<"
_FILTER = re.compile(
    rf"(?P<sign>[+-]?){_NAME}(?P<op>:(?:{_ORDER})?|!=|{_ORDER}|=)(?P<raw>(?>{_QUOTED}|\S)*)"
)
_SPACED_FILTER = re.compile(
    rf"(?<!\S)(?P<sign>(?:[+-]\s*+)?){_NAME}\s*+"
    rf"(?P<op>:\s*+(?:{_ORDER})?|!=|{_ORDER}|=|(?<=\s)in\s)\s*+|{_QUOTED}"
)
_PHRASE = re.compile(rf"(?P<sign>[+-]?)(?P<quoted>{_QUOTED})(?:{_WEIGHT})?(?=\s|$)")
_WORD = re.compile(rf"(?P<sign>[+-](?=[^\W\d]))?(?P<text>\S+?)(?:{_WEIGHT})?(?=\s|$)")
_LIKE = re.compile(rf"(?P<id>{_QUOTED}|\S+?)(?:{_WEIGHT})?")
_COMPARISONS: tuple[Operator, ...] = (">", ">=", "<", "<=")
_OPERATORS: dict[str, Operator] = {
    ":": ":",
    "=": "=",
    "!=": "=",
    **{prefix + operator: operator for operator in _COMPARISONS for prefix in ("", ":")},
}
# Names that are no field's, with an example of what follows them.
_EXAMPLES = {"has": "caption", "is": OFFLINE, "like": "IMAGE", "near": "55.75,37.62,50km"}


def parse(text: str, fields: Sequence[PayloadField], *, today: date | None = None) -> Request:
    """The request that the text makes of a library with these fields; raises QueryError."""
    _check_text("the request", text)
    text = composed(text)
    reader = _Reader(by_name(fields), today or date.today())
    reader.read(in_ascii(text))
    return reader.request(text.strip())


def scene_of(text: str, fields: Sequence[PayloadField]) -> str | None:
    """What a text describes, without its filters; None unless it asks for one scene in words."""
    try:
        match parse(text, fields).parts:
            case (Text(excluded=False) as scene,):
                return scene.text
    except QueryError:  # a filter of another library
        pass
    return None


def parse_where(
    expressions: Sequence[str], fields: Sequence[PayloadField], *, today: date | None = None
) -> tuple[FieldFilter, ...]:
    """The filters of `--where` expressions; raises QueryError naming the part that fails."""
    known, today = by_name(fields), today or date.today()
    filters = [found for one in expressions for found in _where(composed(one), known, today)]
    _check_number(filters)
    return tuple(filters)


def parse_order(text: str, fields: Sequence[PayloadField]) -> Order:
    """The order that 'taken' (ascending) or '-taken' (descending) asks for; raises QueryError."""
    order = in_ascii(text).strip()
    name = order.removeprefix("-")
    return Order(_option_field("--sort", text, name, fields), order.startswith("-"))


def parse_facet(text: str, fields: Sequence[PayloadField]) -> str:
    """The declared field that 'tag' or 'Camera' means; raises QueryError."""
    return _option_field("--facet", text, text.strip(), fields)


def _option_field(option: str, text: str, name: str, fields: Sequence[PayloadField]) -> str:
    known = by_name(fields)
    found = _field_named(name, known) if name else None
    if found is None:
        reason = _no_field(name, "", known) if name else "a field is named"
        raise QueryError(f"{option} {shortened(text)}: {_with_fields(reason, known)}")
    return found


# --- the box ---------------------------------------------------------------------------------


@dataclass(eq=False)
class _Words:
    """The words between two operators, in the place of the part that they will be."""

    excluded: bool
    phrases: list[Phrase] = field(default_factory=list)

    def add(self, text: str, weight: float) -> None:
        if weight == 1 and self.phrases and self.phrases[-1].weight == 1:
            text = f"{self.phrases.pop().text} {text}"
        self.phrases.append(Phrase(text, weight))


class _Reader:
    """Reads a text from left to right."""

    def __init__(self, fields: Mapping[str, PayloadField], today: date) -> None:
        self.fields, self.today = fields, today
        self.current = _Words(excluded=False)
        self.parts: list[_Words | Like] = [self.current]
        self.filters: list[FieldFilter] = []
        self.notices: list[str] = []
        # The operator just read, with the words that it ended.
        self.operator: tuple[str, _Words] | None = None

    def read(self, text: str) -> None:
        position = 0
        while position < len(text):
            if space := _SPACE.match(text, position):
                position = space.end()
                continue
            if found := _OPERATOR.match(text, position):
                self.operator = found["sign"], self.current
                self.current = _Words(excluded=found["sign"] == "-")
                self.parts.append(self.current)
                position = found.end()
                continue
            found = _FILTER.match(text, position)
            if not (found and self.filter(found)):
                found = self.words(text, position)
            position, self.operator = found.end(), None

    def words(self, text: str, position: int) -> re.Match[str]:
        """Read a phrase or a word; a sign makes it a part of its own, and those around go on."""
        if found := _PHRASE.match(text, position):
            words = " ".join(unquoted(found["quoted"]).split())
        else:
            found = next(_WORD.finditer(text, position))  # anything but a blank begins a word
            words = found["text"]
        if words:
            part = self.current
            if found["sign"]:
                part = _Words(excluded=found["sign"] == "-")
                self.parts.append(part)
            part.add(words, _weight(found))
        return found

    def filter(self, match: re.Match[str]) -> bool:
        if match["name"].lower() == "like" and match["op"] == ":" and match["raw"]:
            return self.like(match)
        sign = match["sign"] or (self.operator[0] if self.operator else "")
        try:
            found = _filter_of(match, match["raw"], sign, self.fields, self.today)
        except _NotAFilter as reason:
            if str(reason):
                self.notices.append(f"{shortened(match[0])} was read as words: {reason}")
            return False
        if self.operator and not match["sign"]:  # the operator was the filter's
            self.parts.remove(self.current)
            self.current = self.operator[1]
        self.filters.append(found)
        return True

    def like(self, match: re.Match[str]) -> bool:
        found = _LIKE.fullmatch(match["raw"])
        image_id = unquoted(found["id"]) if found else ""
        if found is None or not image_id.strip():
            return False
        excluded = match["sign"] == "-" or (not match["sign"] and self.current.excluded)
        self.parts.append(Like(image_id, _weight(found), excluded))
        return True

    def request(self, text: str) -> Request:
        parts: list[Part] = [
            part if isinstance(part, Like) else Text(tuple(part.phrases), part.excluded)
            for part in self.parts
            if isinstance(part, Like) or part.phrases
        ]
        if len(parts) > MAX_PARTS:
            raise QueryError(f"the request has {len(parts)} parts, at most {MAX_PARTS} are taken")
        phrases = sum(len(part.phrases) for part in parts if isinstance(part, Text))
        if phrases > MAX_PHRASES:
            raise QueryError(
                f"the request has {phrases} weighted phrases, at most {MAX_PHRASES} are taken"
            )
        _check_number(self.filters)
        return Request(tuple(parts), tuple(self.filters), text=text, notices=tuple(self.notices))


def _weight(match: re.Match[str]) -> float:
    weight = float(match["weight"] or 1)
    if not 0 < weight <= MAX_WEIGHT:
        raise QueryError(f"{shortened(match[0])}: a weight is above 0 and at most {MAX_WEIGHT:g}")
    return weight


# --- --where ---------------------------------------------------------------------------------


def _where(text: str, fields: Mapping[str, PayloadField], today: date) -> Iterator[FieldFilter]:
    _check_text("--where", text)
    text = in_ascii(text)
    if text.count('"') % 2:
        raise QueryError(f"--where {shortened(text)}: a double quote is not closed")
    matches = [match for match in _SPACED_FILTER.finditer(text) if _begins_filter(match, fields)]
    if text[: matches[0].start() if matches else None].strip():
        raise QueryError(
            f"--where {shortened(text)}: expected FIELD:VALUE, see `scenesearch search --help`"
        )
    # A value goes on until the next filter begins.
    for match, following in zip_longest(matches, matches[1:]):
        raw = text[match.end() : following.start() if following else None].strip()
        if following:
            raw = re.sub(r"(^|\s+)and$", "", raw, flags=re.IGNORECASE)
        sign, name, op = match["sign"].strip(), match["name"], _operator(match)
        written = f"--where {shortened(f'{sign}{name}{op}{raw}')}"
        if not raw:
            raise QueryError(f"{written}: the value is missing")
        if name.lower() == "like" and op == ":":
            raise QueryError(f"{written}: a picture is no filter; it stands in the text or --like")
        try:
            yield _filter_of(match, raw, sign, fields, today)
        except QueryError as error:
            raise QueryError(f"--where {error}") from None
        except _NotAFilter as error:
            reason = str(error) or "expected FIELD:VALUE"
            raise QueryError(f"{written}: {_with_fields(reason, fields)}") from None


def _begins_filter(match: re.Match[str], fields: Mapping[str, PayloadField]) -> bool:
    if match["name"] is None:  # quotes within a value
        return False
    name = unquoted(match["name"])
    # '10:30' and 'boat in harbour' belong to the value before them. Any other unknown name is a
    # mistake, and is reported.
    return _field_named(name, fields) is not None or (
        name[:1].isalpha() and match["op"].strip() != "in"
    )


def _check_text(what: str, text: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise QueryError(
            f"{what} has {len(text):,} characters, at most {MAX_CHARACTERS:,} are read: shorten it"
        )
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of a terminal that were no UTF-8
        raise QueryError(f"{what} is not valid Unicode") from None


# --- one filter ------------------------------------------------------------------------------


class _NotAFilter(Exception):  # noqa: N818 - what is written may well be words
    """Why it is none; empty when there is no need to say."""


def _operator(match: re.Match[str]) -> str:
    op = "".join(match["op"].split())
    return "=" if op == "in" else op


def _filter_of(
    match: re.Match[str],
    raw: str,
    sign: str,
    fields: Mapping[str, PayloadField],
    today: date,
) -> FieldFilter:
    """The filter that begins with the match and has this value, in the box or in `--where`.

    Raises _NotAFilter, and QueryError for values that do not fit the field.
    """
    name, op, values = unquoted(match["name"]), _operator(match), alternatives(raw)
    special = name.lower()
    if special in _EXAMPLES and not raw:
        raise _NotAFilter(f"no value stands right after it, as in {special}:{_EXAMPLES[special]}")
    if special == "has" and op == ":":
        return _presence(raw, values, negated=sign == "-", fields=fields)
    if special == "is" and op == ":" and plain_text(raw).lower() == OFFLINE:
        return FieldFilter("is", "is", (OFFLINE,), sign == "-", None)
    field_name = _field_named(name, fields)
    if field_name is None and special == "near":
        field_name = next((f.name for f in fields.values() if f.type == "geo"), None)
        if field_name is None:
            raise _NotAFilter("this library has no places")
    if field_name is None:
        raise _NotAFilter(_no_field(name, raw, fields) if name[0].isalpha() else "")
    if not values:
        raise _NotAFilter(f"no value stands right after it, as in {field_name}:VALUE")
    operator, keyword = _OPERATORS[op], fields[field_name].type == "keyword"
    if operator == "=" and not keyword:
        operator = ":"  # only keywords tell 'exactly' from 'about'
    negated = (sign == "-") != (op == "!=")
    found = FieldFilter(field_name, operator, values, negated, None)
    if keyword and operator == ":":
        return found
    try:
        condition = condition_of(fields[field_name], operator, values, today, fields)
    except ValueError as error:
        raise QueryError(f"{shortened(str(found))}: {error}") from None
    return replace(found, condition=Not(condition) if negated else condition)


def _presence(
    raw: str, values: Sequence[str], *, negated: bool, fields: Mapping[str, PayloadField]
) -> FieldFilter:
    """The filter has:FIELD,FIELD."""
    names: list[str] = []
    for value in values or [raw]:
        name = _field_named(plain_text(value), fields)
        if name is None:
            raise _NotAFilter(_no_field(plain_text(value), "", fields, special=False))
        names.append(name)
    any_ = any_of([Has(name) for name in names])
    return FieldFilter("has", "has", tuple(names), negated, Not(any_) if negated else any_)


def _field_named(name: str, fields: Mapping[str, PayloadField]) -> str | None:
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


def _no_field(
    name: str, raw: str, fields: Mapping[str, PayloadField], *, special: bool = True
) -> str:
    names = [*fields, *_EXAMPLES] if special else list(fields)
    near = difflib.get_close_matches(name.lower(), names, 1, 0.7)
    value = f":{shortened(raw)}" if raw else ""
    hint = f"; did you mean {near[0]}{value}?" if near else ""
    return f"this library has no field {name!r}{hint}"


def _with_fields(reason: str, fields: Iterable[str]) -> str:
    """The reason, with the names of the fields where it suggests none."""
    if "did you mean" in reason:
        return reason
    names = sorted(fields)
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"{reason}; fields are {', '.join(names[:12])}{more}"


def _check_number(filters: Sequence[FieldFilter]) -> None:
    if len(filters) > MAX_FILTERS:
        raise QueryError(f"{len(filters)} filters are given, at most {MAX_FILTERS} are taken")
    for found in filters:
        if len(found.values) > MAX_VALUES:
            raise QueryError(
                f"{found.field} has {len(found.values)} alternatives, "
                f"at most {MAX_VALUES} are taken"
            )
    if (together := sum(len(found.values) for found in filters)) > MAX_ALTERNATIVES:
        raise QueryError(
            f"the filters have {together} alternatives together, "
            f"at most {MAX_ALTERNATIVES} are taken"
        )
