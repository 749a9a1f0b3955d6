"""Reads a request from text: `dog on a beach + like:IMG_12 - people camera:canon taken:2019..2021`.

docs/search.md describes the grammar. Three decisions keep plain language safe:

- Only a '+' or '-' between blanks, or right before a letter or a quote at the beginning of a word,
  is an operator; hyphens and signs inside words, longer dashes and numbers ('-5') are text.
- Only `NAME:` of a declared field (or has, like, near) begins a filter. Everything else with a
  colon stays words, and a notice says so.
- A double quote opens a phrase only where it is closed again.

`--where` takes the same filters; with no words around, their values may hold blanks and several
are joined by 'and' or a blank.
"""

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime

from scenesearch.pictures.records import GeoPoint
from scenesearch.search.dates import period
from scenesearch.search.request import (
    MAX_ALTERNATIVES,
    MAX_CHARACTERS,
    MAX_FILTERS,
    MAX_PARTS,
    MAX_PHRASES,
    MAX_VALUES,
    MAX_WEIGHT,
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
from scenesearch.store.fields import PayloadField, by_name
from scenesearch.store.filters import (
    AnyOf,
    Condition,
    Filter,
    Has,
    HasWords,
    Near,
    Not,
    OneOf,
    Plain,
    Prefix,
    Range,
)

__all__ = [
    "Lookup",
    "QueryError",
    "as_value",
    "condition_of",
    "conditions_of",
    "folded",
    "parse",
    "parse_facet",
    "parse_order",
    "parse_where",
    "scene_of",
]

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
_SEGMENT = re.compile(rf"(?P<quoted>{_QUOTED})|(?P<star>\*+)|(?P<dots>\.\.+)|(?P<text>.)", re.S)
_PLAIN_VALUE = re.compile(r'[^\s",*<>=.]+(?:\.[^\s",*<>=.]+)*')
_NEAR = re.compile(
    r"(?P<lat>[-+]?[\d.]+),(?P<lon>[-+]?[\d.]+)(?:,(?P<radius>[\d.]+)\s*(?P<unit>km|m))?"
)
_DEFAULT_RADIUS_M = 10_000.0
_COMPARISONS: tuple[Operator, ...] = (">", ">=", "<", "<=")


@dataclass(frozen=True)
class Lookup:
    """A keyword as a person writes it, to be found among the values that the library has.

    `camera:canon` means every camera with 'canon' among its words, whatever the case; where no
    value has the word, those that hold it inside a word; with '*', those of that shape.
    """

    field: str
    patterns: tuple[str, ...]  # values of the grammar
    negated: bool
    written: str


def parse(text: str, fields: Sequence[PayloadField], *, today: date | None = None) -> Request:
    """The request that the text makes of a library with these fields; raises QueryError."""
    _check_text("the request", text)
    reading = _Reading(fields, today or date.today())
    position = 0
    while position < len(text):
        if space := _SPACE.match(text, position):
            position = space.end()
            continue
        for pattern, read in reading.readers:
            match = pattern.match(text, position)
            if match and read(match):
                position = match.end()
                if pattern is not _OPERATOR:
                    reading.opened = None
                break
    return replace(reading.request(), text=text.strip())


def scene_of(text: str, fields: Sequence[PayloadField]) -> str | None:
    """What a text describes, without its filters; None when it asks for anything but one scene in
    words."""
    try:
        parts = parse(text, fields).parts
    except QueryError:  # as a filter that another library took
        return None
    match parts:
        case (Text(excluded=False) as words,):
            return words.text
    return None


def parse_where(
    expressions: Sequence[str], fields: Sequence[PayloadField], *, today: date | None = None
) -> tuple[FieldFilter, ...]:
    """The filters of `--where` expressions; raises QueryError naming the part that fails."""
    filters = [
        found
        for expression in expressions
        for found in _where(expression, fields, today or date.today())
    ]
    _check_number(filters)
    return tuple(filters)


def parse_order(text: str, fields: Sequence[PayloadField]) -> Order:
    """The order that 'taken' (ascending) or '-taken' (descending) asks for; raises QueryError."""
    name = text.strip().removeprefix("-")
    return Order(_option_field("--sort", text, name, fields), text.strip().startswith("-"))


def parse_facet(text: str, fields: Sequence[PayloadField]) -> str:
    """The declared field that 'tag' or 'Camera' means; raises QueryError."""
    return _option_field("--facet", text, text.strip(), fields)


def _option_field(option: str, text: str, name: str, fields: Sequence[PayloadField]) -> str:
    known = by_name(fields)
    found = _field_named(name, known) if name else None
    if found is None:
        reason = _no_field(name, "", known) if name else "a field is named"
        hint = "" if "did you mean" in reason else f"; {_listed(known)}"
        raise QueryError(f"{option} {_short(text)}: {reason}{hint}")
    return found


def condition_of(
    filter_: FieldFilter, fields: Mapping[str, PayloadField], today: date | None = None
) -> Condition | Lookup:
    """What the filter asks of the store; a Lookup where the library's values decide.

    Raises QueryError when a value does not fit its field.
    """
    alternatives: Condition | Lookup
    if filter_.operator == "has":
        alternatives = _any_of([Has(name) for name in filter_.values])
    else:
        field_ = fields[filter_.field]
        if field_.type == "keyword" and filter_.operator == ":":
            values = filter_.values
            if field_.hierarchical:  # '2020/' is the folder 2020
                values = tuple(re.sub(r'(?<=[^"])/+("?)$', r"\1", value) for value in values)
            return Lookup(field_.name, values, filter_.negated, str(filter_))
        reader = _ValueReader(str(filter_), field_, today or date.today())
        alternatives = reader.condition(filter_.operator, filter_.values)
    return Not(alternatives) if filter_.negated else alternatives


def conditions_of(
    filters: Sequence[FieldFilter],
    fields: Sequence[PayloadField],
    values_of: Callable[[str], Sequence[str]],
    *,
    today: date | None = None,
) -> tuple[Filter, tuple[str, ...]]:
    """All the filters ask of the store, and notices; `values_of` a keyword field are looked up."""
    known = by_name(fields)
    conditions: list[Condition] = []
    notices: list[str] = []
    for filter_ in filters:
        condition = condition_of(filter_, known, today)
        if isinstance(condition, Lookup):
            condition, told = resolve(condition, values_of(condition.field), known)
            notices += told
        conditions.append(condition)
    return tuple(conditions), tuple(notices)


def resolve(
    lookup: Lookup, values: Sequence[str], fields: Mapping[str, PayloadField]
) -> tuple[Condition, tuple[str, ...]]:
    """The lookup among a field's values, and notices: what it meant, or what was near it."""
    if not values:
        nothing = OneOf(lookup.field, ())
        noun = fields[lookup.field].value_noun
        told = f"{lookup.written}: no picture of this library has {noun}"
        return (Not(nothing) if lookup.negated else nothing), (told,)
    meant: dict[str, None] = {}
    notices: list[str] = []
    known = [(folded(value), value) for value in values]
    for pattern in lookup.patterns:
        found = _matching(pattern, known)
        meant.update(dict.fromkeys(found))
        if not found:
            near = _nearest(_text(pattern), values) if len(notices) < _MOST_SUGGESTIONS else ""
            hint = f"; did you mean {lookup.field}:{as_value(near)}?" if near else ""
            which = lookup.written if len(lookup.patterns) == 1 else f"{lookup.field}:{pattern}"
            notices.append(f"{which}: no picture has such a value{hint}")
    if len(meant) > 1:
        listed = ", ".join(list(meant)[:4]) + (" …" if len(meant) > 4 else "")
        notices.append(f"{lookup.written} means {len(meant)} values: {listed}")
    condition = OneOf(lookup.field, tuple(meant))
    return (Not(condition) if lookup.negated else condition), tuple(notices)


# --- the box ---------------------------------------------------------------------------------


@dataclass(eq=False)
class _Term:
    """Words between two operators, in the place of the part they will be."""

    excluded: bool
    phrases: list[Phrase] = field(default_factory=list)

    def add(self, text: str, weight: float) -> None:
        if weight == 1 and self.phrases and self.phrases[-1].weight == 1:
            text = f"{self.phrases.pop().text} {text}"
        self.phrases.append(Phrase(text, weight))


class _Reading:
    """What has been read of a text so far."""

    def __init__(self, fields: Sequence[PayloadField], today: date) -> None:
        self.fields = by_name(fields)
        self.today = today
        self.running = _Term(excluded=False)
        # The operator just read, with the words that it ended.
        self.opened: tuple[str, _Term] | None = None
        self.terms: list[_Term | Like] = [self.running]
        self.filters: list[FieldFilter] = []
        self.notices: list[str] = []
        self.readers = (
            (_OPERATOR, self.operator),
            (_FILTER, self.filter),
            (_PHRASE, self.phrase),
            (_WORD, self.word),
        )

    def operator(self, match: re.Match[str]) -> bool:
        self.opened = match["sign"], self.running
        self.running = _Term(excluded=match["sign"] == "-")
        self.terms.append(self.running)
        return True

    def filter(self, match: re.Match[str]) -> bool:
        name, op, raw = match["name"], match["op"], match["raw"]
        if name.lower() == "like" and op == ":" and raw:
            return self.like(match["sign"], raw)
        sign = match["sign"] or (self.opened[0] if self.opened else "")
        found = _filter_of(name, op, raw, self.fields, minus=sign == "-", today=self.today)
        if isinstance(found, FieldFilter):
            if self.opened and not match["sign"]:  # the operator was the filter's
                self.terms.remove(self.running)
                self.running = self.opened[1]
            self.filters.append(found)
            return True
        if found:
            self.notices.append(f"{_short(match[0])} was read as words: {found}")
        return False

    def like(self, sign: str, raw: str) -> bool:
        match = _LIKE.fullmatch(raw)
        image_id = _unquoted(match["id"]) if match else ""
        if match is None or not image_id.strip():
            return False
        excluded = sign == "-" or (not sign and self.running.excluded)
        self.terms.append(Like(image_id, _weight(match), excluded))
        return True

    def phrase(self, match: re.Match[str]) -> bool:
        text = " ".join(_unquoted(match["quoted"]).split())
        if text:
            self.add(text, match["sign"], _weight(match))
        return True

    def word(self, match: re.Match[str]) -> bool:
        self.add(match["text"], match["sign"] or "", _weight(match))
        return True

    def add(self, text: str, sign: str, weight: float) -> None:
        if sign:  # a part of its own; the words around it go on
            term = _Term(excluded=sign == "-")
            self.terms.append(term)
        else:
            term = self.running
        term.add(text, weight)

    def request(self) -> Request:
        parts: list[Part] = []
        for term in self.terms:
            if isinstance(term, Like):
                parts.append(term)
            elif term.phrases:
                parts.append(Text(tuple(term.phrases), term.excluded))
        if len(parts) > MAX_PARTS:
            raise QueryError(f"the request has {len(parts)} parts, at most {MAX_PARTS} are taken")
        phrases = sum(len(part.phrases) for part in parts if isinstance(part, Text))
        if phrases > MAX_PHRASES:
            raise QueryError(
                f"the request has {phrases} weighted phrases, at most {MAX_PHRASES} are taken"
            )
        _check_number(self.filters)
        return Request(tuple(parts), tuple(self.filters), notices=tuple(self.notices))


def _weight(match: re.Match[str]) -> float:
    if match["weight"] is None:
        return 1.0
    weight = float(match["weight"])
    if not 0 < weight <= MAX_WEIGHT:
        raise QueryError(f"{_short(match[0])}: a weight is above 0 and at most {MAX_WEIGHT:g}")
    return weight


# --- --where ---------------------------------------------------------------------------------


def _where(text: str, fields: Sequence[PayloadField], today: date) -> Iterator[FieldFilter]:
    _check_text("--where", text)
    if text.count('"') % 2:
        raise QueryError(f"--where {_short(text)}: a double quote is not closed")
    known = by_name(fields)
    for match, raw in _where_parts(text, known):
        sign, name = match["sign"].strip(), match["name"]
        op = "".join(match["op"].split())
        op = "=" if op == "in" else op
        written = f"--where {_short(f'{sign}{name}{op}{raw}')}"
        if not raw:
            raise QueryError(f"{written}: the value is missing")
        if name.lower() == "like" and op == ":":
            raise QueryError(f"{written}: a picture is no filter; it stands in the text or --like")
        try:
            found = _filter_of(name, op, raw, known, minus=sign == "-", today=today)
        except QueryError as error:
            raise QueryError(f"--where {error}") from None
        if not isinstance(found, FieldFilter):
            reason = found or "expected FIELD:VALUE"
            hint = "" if "did you mean" in reason else f"; {_listed(known)}"
            raise QueryError(f"{written}: {reason}{hint}")
        yield found


def _begins_filter(match: re.Match[str], known: Mapping[str, PayloadField]) -> bool:
    if match["name"] is None:  # quotes within a value
        return False
    name = _unquoted(match["name"])
    if _field_named(name, known):
        return True
    # '10:30' and 'boat in harbour' go on a value; a name that is none is a mistake to be told.
    return name[:1].isalpha() and match["op"].strip() != "in"


def _where_parts(
    text: str, known: Mapping[str, PayloadField]
) -> Iterator[tuple[re.Match[str], str]]:
    """The beginning of each filter and its value, which goes on until the next one begins."""
    matches = [match for match in _SPACED_FILTER.finditer(text) if _begins_filter(match, known)]
    before = text[: matches[0].start()] if matches else text
    if before.strip():
        raise QueryError(
            f"--where {_short(text)}: expected FIELD:VALUE, see `scenesearch search --help`"
        )
    ends = [*(match.start() for match in matches[1:]), len(text)][: len(matches)]
    for number, (match, end) in enumerate(zip(matches, ends, strict=True)):
        raw = text[match.end() : end].strip()
        if number + 1 < len(matches):
            raw = re.sub(r"(^|\s+)and$", "", raw, flags=re.IGNORECASE)
        yield match, raw


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


def _filter_of(
    name: str,
    op: str,
    raw: str,
    fields: Mapping[str, PayloadField],
    *,
    minus: bool,
    today: date,
) -> FieldFilter | str:
    """The filter, or why it is none ('' when that needs no saying).

    Every filter that is written, wherever, is read here. Raises QueryError for values that do not
    fit the field.
    """
    name = _unquoted(name)
    if name.lower() in _EXAMPLES and not raw:
        return f"no value stands right after it, as in {name.lower()}:{_EXAMPLES[name.lower()]}"
    values = _values(raw)
    if name.lower() == "has" and op == ":":
        known = [(value, _field_named(_text(value), fields)) for value in values]
        wrong = next((value for value, found in known if not found), "" if known else raw)
        if wrong:
            return _no_field(_text(wrong), "", fields, special=False)
        return FieldFilter("has", "has", tuple(found for _, found in known if found), minus)
    field_name = _field_named(name, fields)
    if field_name is None and name.lower() == "near":
        field_name = next((f.name for f in fields.values() if f.type == "geo"), None)
        if field_name is None:
            return "this library has no places"
    if field_name is None:
        return _no_field(name, raw, fields) if name[0].isalpha() else ""
    if not values:
        return f"no value stands right after it, as in {field_name}:VALUE"
    negated = minus != (op == "!=")
    operator = _OPERATORS[op]
    if operator == "=" and fields[field_name].type != "keyword":
        operator = ":"  # only names can be meant exactly or about
    found = FieldFilter(field_name, operator, values, negated)
    condition_of(found, fields, today)
    return found


_EXAMPLES = {"has": "caption", "like": "IMAGE", "near": "55.75,37.62,50km"}
_OPERATORS: dict[str, Operator] = {
    ":": ":",
    "=": "=",
    "!=": "=",
    **{prefix + operator: operator for operator in _COMPARISONS for prefix in ("", ":")},
}


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
    value = f":{_short(raw)}" if raw else ""
    hint = f"; did you mean {near[0]}{value}?" if near else ""
    return f"this library has no field {name!r}{hint}"


def _listed(fields: Iterable[str]) -> str:
    names = sorted(fields)
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"fields are {', '.join(names[:12])}{more}"


def _check_number(filters: Sequence[FieldFilter]) -> None:
    if len(filters) > MAX_FILTERS:
        raise QueryError(f"{len(filters)} filters are given, at most {MAX_FILTERS} are taken")
    for found in filters:
        if len(found.values) > MAX_VALUES:
            raise QueryError(
                f"{found.field} has {len(found.values)} alternatives, "
                f"at most {MAX_VALUES} are taken"
            )
    if (alternatives := sum(len(found.values) for found in filters)) > MAX_ALTERNATIVES:
        raise QueryError(
            f"the filters have {alternatives} alternatives together, "
            f"at most {MAX_ALTERNATIVES} are taken"
        )


# --- values ----------------------------------------------------------------------------------


def _values(raw: str) -> tuple[str, ...]:
    """Alternatives between commas, each in its plainest written form; empty ones are dropped."""
    parts, start, quoted = [], 0, False
    for position, character in enumerate(raw):
        if character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            parts.append(raw[start:position])
            start = position + 1
    parts.append(raw[start:])
    return tuple(filter(None, (_canonical(part.strip()) for part in parts)))


def _segments(value: str) -> list[tuple[str, str]]:
    """('text' | 'star' | 'dots', text) of a value; text outside and inside quotes is alike."""
    found: list[tuple[str, str]] = []
    for match in _SEGMENT.finditer(value):
        kind = match.lastgroup or "text"
        text = _unquoted(match[0]) if kind == "quoted" else match[0]
        kind = "text" if kind == "quoted" else kind
        if kind == "text" and found and found[-1][0] == "text":
            text = found.pop()[1] + text
        found.append((kind, text))
    return found


def _canonical(value: str) -> str:
    parts: list[tuple[str, str]] = []
    for kind, text in _segments(value):
        if text.strip() and (kind == "text" or kind not in (part for part, _ in parts[-1:])):
            parts.append((kind, text))
    marks = {"star": "*", "dots": ".."}
    return "".join(marks.get(kind) or as_value(text) for kind, text in parts)


def as_value(text: str) -> str:
    """The text as a value, quoted where it would be read as something else."""
    text = text.strip()
    if _PLAIN_VALUE.fullmatch(text):
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def _text(value: str) -> str:
    return "".join(text for _, text in _segments(value))


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1].replace('""', '"')
    return text


_BACKWARDS = "the range ends before it begins"


class _ValueReader:
    """Reads the values of one filter by its field's type; `written` is for messages."""

    def __init__(self, written: str, field_: PayloadField, today: date) -> None:
        self.written, self.field, self.today = written, field_, today

    def condition(self, operator: Operator, values: Sequence[str]) -> Plain | AnyOf:
        kind = self.field.type
        if kind == "geo":
            return self.near(",".join(map(_text, values)))
        if operator not in (":", "="):
            if len(values) > 1:
                raise self.error(f"only one value can follow {operator}")
            return self.compare(operator, _text(values[0]))
        alternatives: list[Plain] = []
        for value in values:
            alternatives.append(self.one(value))
        return _any_of(alternatives)

    def one(self, value: str) -> Plain:
        field_, name = self.field, self.field.name
        kinds = [kind for kind, _ in _segments(value)]
        text = _text(value)
        match field_.type:
            case "text":
                return HasWords(name, text.replace("*", " "))
            case "boolean":
                return OneOf(name, (self.boolean(text),))
            case "datetime":
                start, end = self.ends(value)
                since, until = self.earliest(start), self.after(end)
                if since and until and since >= until:
                    raise self.error(_BACKWARDS)
                return Range(name, at_least=since, below=until)
            case "integer" if "dots" not in kinds:
                return OneOf(name, (self.integer(text),))
            case "integer" | "float":
                start, end = self.ends(value)
                least, most = self.number(start), self.number(end)
                if least is not None and most is not None and least > most:
                    raise self.error(_BACKWARDS)
                return Range(name, at_least=least, at_most=most)
        if field_.hierarchical:
            stars = kinds and kinds[-1] == "star"
            return OneOf(name, ((text[:-1] if stars else text).rstrip("/") or ".",))
        if kinds[-1:] == ["star"] and kinds.count("star") == 1:
            return Prefix(name, text[: -len(_segments(value)[-1][1])])
        return OneOf(name, (text,))

    def ends(self, value: str) -> tuple[str, str]:
        """'a..b' -> (a, b), 'a' -> (a, a); an end may be empty, '2019..' is open."""
        segments = _segments(value)
        marks = [number for number, (kind, _) in enumerate(segments) if kind == "dots"]
        if not marks:
            text = _text(value)
            return text, text
        if len(marks) > 1:
            raise self.error("a range is written FROM..TO")
        start = "".join(text for _, text in segments[: marks[0]])
        end = "".join(text for _, text in segments[marks[0] + 1 :])
        if not (start or end):
            raise self.error("a range is written FROM..TO, FROM.. or ..TO")
        return start, end

    def compare(self, operator: Operator, text: str) -> Range:
        field_ = self.field
        if field_.type == "datetime":
            # 'taken:>2019' is after that year, 'taken:>=2019' from its first moment.
            moment = self.after(text) if operator in (">", "<=") else self.earliest(text)
            if operator in (">", ">="):
                return Range(field_.name, at_least=moment)
            return Range(field_.name, below=moment)
        if field_.type in ("integer", "float"):
            bound = {">": "above", ">=": "at_least", "<": "below", "<=": "at_most"}[operator]
            return Range(field_.name, **{bound: self.number(text)})
        raise self.error(f"{field_.name} is a {field_.type} field, it has no order")

    def near(self, text: str) -> Near:
        match = _NEAR.fullmatch("".join(text.split()))
        try:
            if match is None:
                raise ValueError
            latitude, longitude = float(match["lat"]), float(match["lon"])
            radius_m = _DEFAULT_RADIUS_M
            if match["radius"]:
                radius_m = float(match["radius"]) * (1000 if match["unit"] == "km" else 1)
        except ValueError:
            raise self.error(
                "expected near:LATITUDE,LONGITUDE,RADIUS, like near:55.75,37.62,50km"
            ) from None
        if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
            raise self.error("latitude is -90..90 and longitude -180..180")
        if radius_m <= 0:
            raise self.error("the radius is above 0")
        return Near(self.field.name, GeoPoint(latitude, longitude), radius_m)

    def earliest(self, text: str) -> datetime | None:
        return self.period(text)[0] if text else None

    def after(self, text: str) -> datetime | None:
        return self.period(text)[1] if text else None

    def period(self, text: str) -> tuple[datetime, datetime]:
        try:
            return period(text, self.today)
        except ValueError:
            raise self.error(
                f"{text!r} is not a date; write 2019, 2019-05, 2019-05-31, may-2019, "
                "summer-2020 or last-year"
            ) from None

    def number(self, text: str) -> int | float | None:
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            pass
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if number != number or number in (float("inf"), float("-inf")):
            raise self.error(f"{text!r} is not a number")
        return number

    def integer(self, text: str) -> int:
        try:
            return int(text)
        except ValueError:
            raise self.error(f"{text!r} is not a whole number") from None

    def boolean(self, text: str) -> bool:
        known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in known:
            raise self.error(f"{text!r} is neither true nor false")
        return known[text.lower()]

    def error(self, what: str) -> QueryError:
        return QueryError(f"{_short(self.written)}: {what}")


def _any_of(alternatives: Sequence[Plain]) -> Plain | AnyOf:
    """One condition for all of them; values of one field are asked for together."""
    if len(alternatives) == 1:
        return alternatives[0]
    named = [alternative for alternative in alternatives if isinstance(alternative, OneOf)]
    if len(named) < len(alternatives):
        return AnyOf(tuple(alternatives))
    return OneOf(named[0].field, tuple(value for one in named for value in one.values))


# --- values that the library has ---------------------------------------------------------------


def folded(text: str) -> str:
    """The text as it is compared: in one case, 'é' as one character however a file system or
    keyboard writes it."""
    return unicodedata.normalize("NFC", text).casefold()


def _matching(pattern: str, known: Sequence[tuple[str, str]]) -> list[str]:
    """The values that a pattern means, of pairs: as it is compared, as it is written."""
    segments = [(kind, folded(text)) for kind, text in _segments(pattern)]
    if any(kind == "star" for kind, _ in segments):
        shape = _shape(segments)
        return [value for text, value in known if shape.fullmatch(text)]
    wanted = "".join(text for _, text in segments)
    whole = re.compile(rf"(?<!\w){re.escape(wanted)}(?!\w)")
    holding = [(text, value) for text, value in known if wanted in text]
    words = [value for text, value in holding if whole.search(text)]
    return words or [value for _, value in holding]


def _shape(segments: Sequence[tuple[str, str]]) -> re.Pattern[str]:
    """What a value with stars stands for; atomic, so that many stars cannot take for ever."""
    texts = [""]
    for kind, text in segments:
        if kind == "star":
            texts.append("")
        else:
            texts[-1] += text
    first, *middle, last = texts
    end = ".*" + re.escape(last)
    if not middle and not last and first.endswith("/"):
        # 'folder:2020/*' is the folder and all below it, as 'folder:2020' is.
        first, end = first.removesuffix("/"), "(/.*)?"
    within = "".join(f"(?>.*?{re.escape(text)})" for text in middle)
    return re.compile(re.escape(first) + within + end, re.DOTALL)


# Values come the most frequent first; to compare one with a text takes 10 microseconds.
_MOST_SUGGESTIONS, _MOST_COMPARED, _LONGEST_SUGGESTION = 3, 5_000, 100


def _nearest(text: str, values: Sequence[str]) -> str:
    """The value most like the text, or one with a word most like it; '' when none is."""
    text, values = text[:_LONGEST_SUGGESTION], values[:_MOST_COMPARED]
    by_word: dict[str, str] = {}
    for value in values:
        for word in (folded(value), *re.findall(r"\w+", folded(value))):
            by_word.setdefault(word, word if word != folded(value) else value)
    near = difflib.get_close_matches(folded(text), by_word, n=1)
    return by_word[near[0]] if near else ""


def _short(text: str) -> str:
    """At most 60 characters on one line, for messages."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."
