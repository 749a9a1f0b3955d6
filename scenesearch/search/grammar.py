"""Reads a request from text: `dog on a beach + like:IMG_12 - people camera:canon taken:2019..2021`.

docs/search.md describes the grammar. Four decisions keep plain language safe:

- Only a '+' or '-' between blanks, or right before a letter or a quote at the beginning of a word,
  is an operator; hyphens and signs inside words, longer dashes and numbers ('-5') are text.
- Only `NAME:` of a declared field (or has, like, near, within) begins a filter. Everything else
  with a colon stays words, and a notice says so.
- 'and', 'or' and parentheses are words except between and around filters, 'not' is except right
  before one.
- A double quote, straight or curly, opens a phrase only where it is closed again. A minus sign is a
  '-' too.

`--where` takes the same filters, and programs write them as mappings too.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from scenesearch.datasets.cells import composed
from scenesearch.search.field_filter import (
    NotAFilterError,
    Written,
    check_number,
    field_named,
    is_filter,
    no_field,
    read_filter,
    with_fields,
)
from scenesearch.search.filter_text import EMPTY_GROUP, FilterReader, read_where
from scenesearch.search.filter_tree import read_tree
from scenesearch.search.nesting import Nesting, NestingError
from scenesearch.search.quoting import (
    NAME,
    ORDER,
    QUOTED,
    closing,
    ending,
    in_ascii,
    shortened,
    unquoted,
)
from scenesearch.search.request import (
    MAX_PARTS,
    MAX_PHRASES,
    MAX_WEIGHT,
    Like,
    Order,
    Part,
    Phrase,
    QueryError,
    Request,
    RequestFilter,
    Text,
    check_text,
)
from scenesearch.store.fields import PayloadField, by_name

# Filters as text, or as a program writes them (`scenesearch.search.filter_tree`).
Where = str | Mapping[str, Any]

_WEIGHT = r"\^(?P<weight>\d{1,4}(?:\.\d{1,4})?)"
_SPACE = re.compile(r"\s+")
_OPERATOR = re.compile(r"(?P<sign>[+-])(?=\s|$)")
_FILTER = re.compile(
    rf"(?P<sign>[+-]?){NAME}(?P<op>:(?:{ORDER})?|!=|{ORDER}|=)(?P<raw>(?>{QUOTED}|\S)*)"
)
_PHRASE = re.compile(rf"(?P<sign>[+-]?)(?P<quoted>{QUOTED})(?:{_WEIGHT})?(?=\s|$)")
_WORD = re.compile(rf"(?P<sign>[+-](?=[^\W\d]))?(?P<text>\S+?)(?:{_WEIGHT})?(?=\s|$)")
_LIKE = re.compile(rf"(?P<id>{QUOTED}|\S+?)(?:{_WEIGHT})?")
_OPENING = re.compile(r"(?P<sign>[+-]?)\(")
_JOINT = re.compile(r"(?P<word>and|or|not)(?=[\s()]|$)\s*", re.IGNORECASE)
_BETWEEN = re.compile(r"\s+(?P<word>(?:and|or)\s+)?", re.IGNORECASE)
# What may stand before a filter, and the filter.
_OPERAND = re.compile(
    rf"(?P<lead>(?:[+-]\s*|\(\s*(?:(?:and|or)\s+)?|not(?=[\s(])\s*)*+){_FILTER.pattern}",
    re.IGNORECASE,
)


def parse(text: str, fields: Sequence[PayloadField], *, today: date | None = None) -> Request:
    """The request that the text makes of a library with these fields; raises QueryError."""
    check_text("the request", text)
    text = composed(text)
    reader = _Reader(in_ascii(text), by_name(fields), today or date.today())
    reader.read()
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
    expressions: Sequence[Where], fields: Sequence[PayloadField], *, today: date | None = None
) -> tuple[RequestFilter, ...]:
    """The filters of `--where` expressions; raises QueryError naming the part that fails."""
    known, today = by_name(fields), today or date.today()
    filters: list[RequestFilter] = []
    for one in expressions:
        if isinstance(one, str):
            check_text("--where", one)
            filters += read_where(composed(one), known, today)
        else:
            filters += read_tree(one, known, today)
    check_number(filters)
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
    found = field_named(name, known) if name else None
    if found is None:
        reason = no_field(name, "", known) if name else "a field is named"
        raise QueryError(f"{option} {shortened(text)}: {with_fields(reason, known)}")
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

    def __init__(self, text: str, fields: Mapping[str, PayloadField], today: date) -> None:
        self.text, self.fields, self.today = text, fields, today
        self.position = 0
        self.current = _Words(excluded=False)
        self.parts: list[_Words | Like] = [self.current]
        self.filters: list[RequestFilter] = []
        self.notices: list[str] = []
        # The operator just read, with the words that it ended.
        self.operator: tuple[str, _Words] | None = None
        # The filters since the last words, and where they began.
        self.nesting, self.nested_from = Nesting(), 0

    def read(self) -> None:
        try:
            while self.position < len(self.text):
                self.step()
            self.end_filters()
        except NestingError as error:
            place = ending(self.text[self.nested_from : self.position])
            raise QueryError(f"{place}: {error}") from None

    def step(self) -> None:
        """Read what stands here."""
        text, start = self.text, self.position
        if space := _SPACE.match(text, start):
            self.position = space.end()
        elif found := _OPERATOR.match(text, start):
            self.operator = found["sign"], self.current
            self.current = _Words(excluded=found["sign"] == "-")
            self.parts.append(self.current)
            self.position = found.end()
        elif text[start] == ")" and self.nesting.nests:
            self.position += 1
            self.nesting.close()
        elif not (self.joint() or self.group()):
            found = _FILTER.match(text, start)
            if not (found and self.filter(found)):
                found = self.words()
            self.position, self.operator = found.end(), None

    def words(self) -> re.Match[str]:
        """Read a phrase or a word; a sign makes it a part of its own, and those around go on."""
        if found := _PHRASE.match(self.text, self.position):
            words = " ".join(unquoted(found["quoted"]).split())
        else:
            # anything but a blank begins a word
            found = next(_WORD.finditer(self.text, self.position))
            words = found["text"]
        if words:
            self.end_filters()
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
        written = Written.of(
            unquoted(match["name"]), match["op"], match["raw"], negated=sign == "-"
        )
        try:
            found = read_filter(written, self.fields, self.today)
        except NotAFilterError as reason:
            if str(reason):
                self.notices.append(f"{shortened(match[0])} was read as words: {reason}")
            return False
        self.begin_filters()
        if not match["sign"]:
            self.take_operator()
        self.nesting.add(found, match["raw"])
        return True

    def take_operator(self) -> str:
        """The operator right before, which is that of a filter and not of words."""
        if self.operator is None:
            return ""
        self.parts.remove(self.current)
        sign, self.current = self.operator
        self.operator = None
        return sign

    def like(self, match: re.Match[str]) -> bool:
        found = _LIKE.fullmatch(match["raw"])
        image_id = unquoted(found["id"]) if found else ""
        if found is None or not image_id.strip():
            return False
        self.end_filters()
        excluded = match["sign"] == "-" or (not match["sign"] and self.current.excluded)
        self.parts.append(Like(image_id, _weight(found), excluded))
        return True

    # Several filters

    def joint(self) -> bool:
        """Read 'and' or 'or' between filters, or 'not' before one; elsewhere they are words."""
        found = _JOINT.match(self.text, self.position)
        if found is None:
            return False
        word = found["word"].lower()
        if word == "not":
            if not self.begins_filter(found.end()):
                return False
            self.begin_filters()
            if self.take_operator() == "-":
                self.nesting.negate("-")
            self.nesting.negate("not")
        else:
            if self.nesting.is_empty or self.operator:
                return False
            rest = self.text[found.end() :].strip()
            dangling = word == "or" and not rest
            if not (dangling or EMPTY_GROUP.match(rest) or self.begins_filter(found.end())):
                return False
            self.nesting.join("or" if word == "or" else "and")
        self.position = found.end()
        return True

    def group(self) -> bool:
        """Read filters in parentheses; elsewhere these are words."""
        opening = _OPENING.match(self.text, self.position)
        if opening is None or not self.begins_filter(self.position):
            empty = self.nesting.expects_filter and EMPTY_GROUP.match(self.text, self.position)
            if opening is None or not empty:
                return False
        self.begin_filters()
        if not opening["sign"] and self.take_operator() == "-":
            self.nesting.negate("-")
        reader = FilterReader(self.text, self.fields, self.today)
        try:
            reader.group(self.position, self.nesting)
        finally:
            self.position, self.operator = reader.position, None
        return True

    def begins_filter(self, position: int) -> bool:
        """Whether a filter begins here, perhaps after signs, 'not' and parentheses.

        After a parenthesis, two things that look like filters are some even if the library has no
        such fields: the mistake is then named.
        """
        nested, first, end = self.written_at(position)
        if first is None or is_filter(first, self.fields):
            return first is not None
        between = _BETWEEN.match(self.text, end)
        if not nested or between is None or not _looks_like_filter(first):
            return False
        _, second, _ = self.written_at(between.end())
        if second is None:
            return False
        joined = between["word"] is not None and _looks_like_filter(second)
        return joined or is_filter(second, self.fields)

    def written_at(self, position: int) -> tuple[bool, Written | None, int]:
        """What is written like a filter here, and where it ends; and whether after a parenthesis,
        so that one may close it."""
        found = _OPERAND.match(self.text, position)
        if found is None:
            return False, None, position
        nested, raw = "(" in found["lead"], found["raw"]
        if nested:
            raw = raw[: closing(raw)]
        written = Written.of(unquoted(found["name"]), found["op"], raw)
        return nested, written, found.start("raw") + len(raw)

    def begin_filters(self) -> None:
        if self.nesting.is_empty:
            self.nested_from = self.position

    def end_filters(self) -> None:
        self.filters += self.nesting.finish()
        self.nesting = Nesting()

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
        check_number(self.filters)
        return Request(tuple(parts), tuple(self.filters), text=text, notices=tuple(self.notices))


def _looks_like_filter(written: Written) -> bool:
    return written.name[:1].isalpha() and written.raw[:2] not in ("", "//")  # an address


def _weight(match: re.Match[str]) -> float:
    weight = float(match["weight"] or 1)
    if not 0 < weight <= MAX_WEIGHT:
        raise QueryError(f"{shortened(match[0])}: a weight is above 0 and at most {MAX_WEIGHT:g}")
    return weight
