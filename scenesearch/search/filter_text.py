"""Reads filters that no words surround: `camera = Canon EOS and (width>2000 or -tag:x)`.

A value goes on, with its blanks, until the next filter or parenthesis begins. Parentheses that do
so are those around filters; any others are part of the value, as 'or' is where no filter follows.
"""

import re
from collections.abc import Mapping
from datetime import date
from typing import TypeGuard

from scenesearch.search.field_filter import (
    NO_PICTURES,
    NotAFilterError,
    Written,
    field_named,
    read_filter,
    with_fields,
)
from scenesearch.search.nesting import Nesting, NestingError
from scenesearch.search.quoting import NAME, ORDER, QUOTED, ending, in_ascii, shortened, unquoted
from scenesearch.search.request import Joint, QueryError, RequestFilter
from scenesearch.store.fields import PayloadField

_SIGN = r"(?P<sign>(?:[+-]\s*+)?)"
_FILTER = re.compile(rf"{_SIGN}{NAME}\s*+(?P<op>:\s*+(?:{ORDER})?|!=|{ORDER}|=|(?<=\s)in\s)\s*+")
_OPENING = re.compile(rf"{_SIGN}\(")
# A column may be called 'not' or 'or'.
_NO_OPERATOR = r"(?!\s*(?:[:<>=]|!=|in\s))"
_NOT = re.compile(rf"{_SIGN}not(?=[\s(]){_NO_OPERATOR}\s*", re.IGNORECASE)
_JOINT = re.compile(rf"(?P<word>and|or)(?=[\s()]|$){_NO_OPERATOR}\s*", re.IGNORECASE)
_OPERAND = re.compile(
    rf"(?:(?:[+-]\s*+)?(?:\(\s*+|not(?=[\s(]){_NO_OPERATOR}\s*+))*+{_FILTER.pattern}",
    re.IGNORECASE,
)
EMPTY_GROUP = re.compile(r"(?:[+-]\s*+)?\(\s*+\)")
_MARK = re.compile(rf"{QUOTED}|[()]|(?<=\s)\S")
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"[^\s()]+|.", re.DOTALL)


def read_where(
    text: str, fields: Mapping[str, PayloadField], today: date
) -> tuple[RequestFilter, ...]:
    """The filters of `--where`, all of which hold; raises QueryError naming the part that fails."""
    text = in_ascii(text)
    if text.count('"') % 2:
        raise QueryError(f"--where {shortened(text)}: a double quote is not closed")
    reader = FilterReader(text, fields, today, "--where ")
    try:
        while reader.position < len(text):
            reader.step()
        return reader.nesting.finish()
    except NestingError as error:
        raise QueryError(f"--where {ending(text[: reader.position])}: {error}") from None


class FilterReader:
    """Reads a text from left to right, from a position on; `place` begins its messages."""

    def __init__(
        self, text: str, fields: Mapping[str, PayloadField], today: date, place: str = ""
    ) -> None:
        self.text, self.fields, self.today, self.place = text, fields, today, place
        self.position = 0
        self.nesting = Nesting()

    def group(self, position: int, nesting: Nesting) -> None:
        """Read the parentheses that open here, up to those that close them."""
        self.position, self.nesting = position, nesting
        self.step()
        while nesting.depth and self.position < len(self.text):
            self.step()

    def step(self) -> None:
        """Read what stands here; it is no value of the filter before."""
        text, start = self.text, self.position
        if space := _SPACE.match(text, start):
            self.position = space.end()
        elif text[start] == ")":
            self.position += 1
            self.nesting.close()
        elif opening := _OPENING.match(text, start):
            self.position = opening.end()
            if opening["sign"].startswith("-"):
                self.nesting.negate("-")
            self.nesting.open()
        elif self.begins_filter(found := _FILTER.match(text, start)):
            self.filter(found)
        elif found := _NOT.match(text, start):
            self.position = found.end()
            if found["sign"].startswith("-"):
                self.nesting.negate("-")
            self.nesting.negate("not")
        elif found := _JOINT.match(text, start):
            self.position = found.end()
            word: Joint = "or" if found["word"].lower() == "or" else "and"
            self.nesting.join(word)
        else:
            self.refuse()

    def refuse(self) -> None:
        """Raise for what is no filter."""
        if not self.text[: self.position].strip():
            raise QueryError(
                f"{self.place}{shortened(self.text)}: expected FIELD:VALUE, "
                "see `scenesearch search --help`"
            )
        word = next(_WORD.finditer(self.text, self.position))
        self.position = word.end()
        raise NestingError(f"expected FIELD:VALUE instead of {shortened(word[0])!r}")

    def begins_filter(self, match: re.Match[str] | None) -> TypeGuard[re.Match[str]]:
        if match is None:
            return False
        name = unquoted(match["name"])
        # '10:30' and 'boat in harbour' belong to the value before them. Any other unknown name is
        # a mistake, and is reported.
        return field_named(name, self.fields) is not None or (
            name[:1].isalpha() and match["op"].strip() != "in"
        )

    def filter(self, match: re.Match[str]) -> None:
        self.position = self.value_end(match.end())
        raw = self.text[match.end() : self.position].strip()
        op = "".join(match["op"].split())
        written = Written.of(
            unquoted(match["name"]),
            "=" if op == "in" else op,
            raw,
            negated=match["sign"].startswith("-"),
        )
        named = f"{self.place}{shortened(str(written))}"
        if not raw:
            raise QueryError(f"{named}: the value is missing")
        if written.name.lower() == "like" and op == ":":
            raise QueryError(f"{named}: {NO_PICTURES}")
        try:
            found = read_filter(written, self.fields, self.today)
        except QueryError as error:
            raise QueryError(f"{self.place}{error}") from None
        except NotAFilterError as error:
            reason = str(error) or "expected FIELD:VALUE"
            raise QueryError(f"{named}: {with_fields(reason, self.fields)}") from None
        self.nesting.add(found, raw)

    def value_end(self, start: int) -> int:
        """Where the value ends that begins at `start`."""
        opened = 0
        for mark in _MARK.finditer(self.text, start):
            position = mark.start()
            if self.text[position - 1].isspace():
                if position == start:
                    ends = self.begins_filter(_FILTER.match(self.text, position))
                else:
                    ends = self.ends_value(position, within=opened > 0)
                if ends:
                    return position
            if mark[0] == "(":
                opened += 1
            elif mark[0] == ")":
                if not opened and self.nesting.depth:
                    return position
                opened -= opened > 0
        return len(self.text)

    def ends_value(self, position: int, *, within: bool) -> bool:
        """Whether something else begins here, after a blank; `within` parentheses of the value,
        an 'or' that no filter follows belongs to it."""
        nests = self.nesting.nests
        joint = _JOINT.match(self.text, position)
        if joint is None:
            return self.begins_operand(position, or_empty=nests)
        if self.begins_operand(joint.end(), or_empty=True):
            return True
        ends = joint.end() == len(self.text)
        is_or = joint["word"].lower() == "or"
        closes = nests and (ends or self.text[joint.end()] == ")")
        return not within and (closes or (is_or and (nests or ends)))

    def begins_operand(self, position: int, *, or_empty: bool) -> bool:
        """Whether a filter begins here, perhaps after 'not' and parentheses."""
        if or_empty and EMPTY_GROUP.match(self.text, position):
            return True
        return self.begins_filter(_OPERAND.match(self.text, position))
