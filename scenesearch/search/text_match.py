"""Pictures in which the words of a request are written.

What is written in a picture does not describe it: a dog on a T-shirt is no dog. But a request may
ask for a text: "no parking", "invoice 2023". So writing counts by how much of the request it is.

Log odds of being relevant are added to those of the picture itself:

- where the whole request is written, word after word, so many that it comes first;
- where all its words are written, somewhere in the picture, or words of it in a row, many;
- where some are, or its only word is: a share of a few. Its only word may name a thing, so that it
  makes no picture more than a partial match: else 2 of 30 names came before what they name.

The figures are in docs/search.md (`python -m tests.written`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from scenesearch.search.request import Request
from scenesearch.store.sparse import is_stop_word
from scenesearch.store.written import (
    TEXT,
    WrittenLine,
    alike,
    is_unspaced,
    tokens_of,
    written_lines,
)

# Log odds that writing adds. No picture's own lie further from 0 than LEAST_ODDS counts.
PHRASE, ALL_WORDS, A_WORD = 14.0, 8.0, 2.5
LEAST_ODDS = -6.0

# Of the best pictures by words, so many are looked at.
LOOKED_AT = 50


@dataclass(frozen=True)
class AskedWords:
    """The words of a request."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, request: Request) -> "AskedWords":
        """Those of all that it describes."""
        text = " ".join(part.text for part in request.descriptions)
        return cls(tuple(tokens_of(text)))

    @property
    def telling(self) -> frozenset[str]:
        """The words that say something, as they are compared; all, where none does."""
        telling = [word for word in self.words if not is_stop_word(word)]
        return frozenset(map(alike, telling or self.words))

    @property
    def is_a_word(self) -> bool:
        """Whether but one word says something: it may name a thing."""
        return len(self.telling) == 1

    def log_odds(self, payload: Mapping[str, Any]) -> float:
        """What the text in a picture adds to its log odds, 0 for nothing."""
        text = payload.get(TEXT)
        if not isinstance(text, str) or not self.words:
            return 0.0
        there = _tokens(text)
        held = self.telling.intersection(there)
        if not held:
            return 0.0
        wanted = [alike(word) for word in self.words]
        if self._is_text and _follow(wanted, there):
            return PHRASE
        if len(held) == len(self.telling) > 1 or self._quotes(wanted, text, there):
            return ALL_WORDS
        return A_WORD * len(held) / len(self.telling)

    def _quotes(self, wanted: Sequence[str], text: str, there: Sequence[str]) -> bool:
        """Whether the request holds two telling words of the picture in a row, or a whole line of
        several words, or all that is written: 'a sign that says no parking'."""
        pairs = {pair for pair in pairwise(wanted) if self.telling.issuperset(pair)}
        if not pairs.isdisjoint(pairwise(there)):
            return True
        lines = [there, *map(_tokens, text.split("\n"))]
        return any(
            1 < len(line) <= len(wanted)
            and not self.telling.isdisjoint(line)
            and _follow(line, wanted)
            for line in lines
        )

    def are_written(self, payload: Mapping[str, Any]) -> bool:
        """Whether all telling words stand in the picture."""
        return bool(self.words) and self.telling.issubset(_tokens(str(payload.get(TEXT, ""))))

    @property
    def _is_text(self) -> bool:
        """Whether it can be a text that is looked for, not a thing: several words, or a number. In
        a script without blanks several words look like one."""
        (first, *more) = self.words
        return bool(more) or any(map(str.isdigit, first)) or is_unspaced(first)

    def lines(self, payload: Mapping[str, Any]) -> list[WrittenLine]:
        """The lines in the picture that hold a telling word of the request, whole."""
        return [
            line for line in written_lines(payload) if self.telling.intersection(_tokens(line.text))
        ]


def _tokens(text: str) -> list[str]:
    return [alike(token) for token in tokens_of(text)]


def _follow(wanted: Sequence[str], words: Sequence[str]) -> bool:
    """Whether the wanted words stand in the others, one after the other."""
    length = len(wanted)
    return any(
        words[start] == wanted[0] and tuple(words[start : start + length]) == tuple(wanted)
        for start in range(len(words) - length + 1)
    )
