"""Filters with 'and', 'or', 'not' and parentheses between them become filters that all hold.

'and', which may be left out, binds tighter than 'or'.
"""

from dataclasses import dataclass, field

from scenesearch.search.quoting import CLOSES_NOTHING, NOT_CLOSED, imbalance, shortened
from scenesearch.search.request import (
    MAX_DEPTH,
    FilterGroup,
    Joint,
    RequestFilter,
    joined,
    negation,
    split,
)

TOO_DEEP = f"filters are nested more than {MAX_DEPTH} deep"
EMPTY_GROUP = "the group is empty"


class NestingError(Exception):
    """What does not fit where it stands; the reader adds the place."""


@dataclass
class _Level:
    """What stands in a pair of parentheses: alternatives, each of filters that all hold."""

    negated: bool
    alternatives: list[list[RequestFilter]] = field(default_factory=lambda: [[]])
    # The word just read after which a filter must follow.
    word: str = ""


class Nesting:
    """Takes what is read, from left to right; raises NestingError."""

    def __init__(self) -> None:
        self._levels = [_Level(negated=False)]
        self._negated = False
        # Whether there was a parenthesis or an 'or'.
        self.nests = False
        self._imbalance = ""

    @property
    def depth(self) -> int:
        return len(self._levels) - 1

    @property
    def is_empty(self) -> bool:
        return not (self.depth or self.expects_filter or self._levels[0].alternatives[0])

    @property
    def expects_filter(self) -> bool:
        return bool(self._levels[-1].word)

    def add(self, one: RequestFilter, raw: str = "") -> None:
        """Take a filter whose value is written like this."""
        if (found := imbalance(raw)) and not self._imbalance:
            self._imbalance = f"{found} in {shortened(raw)}; such a value stands in quotes"
        level = self._levels[-1]
        level.alternatives[-1].append(negation(one) if self._negated else one)
        self._negated, level.word = False, ""

    def negate(self, word: str) -> None:
        """What follows is negated, by this word."""
        self._negated = not self._negated
        self._levels[-1].word = word

    def join(self, word: Joint) -> None:
        level = self._levels[-1]
        if level.word or not level.alternatives[-1]:
            raise NestingError(f"a filter is missing before '{word}'")
        if word == "or":
            level.alternatives.append([])
            self.nests = True
        level.word = word

    def open(self) -> None:
        if self.depth == MAX_DEPTH:
            raise NestingError(TOO_DEEP)
        self._levels.append(_Level(self._negated))
        self._negated, self.nests = False, True

    def close(self) -> None:
        if not self.depth:
            raise NestingError(CLOSES_NOTHING)
        found = self._filters()
        if not found:
            raise NestingError(EMPTY_GROUP)
        self._negated = self._levels.pop().negated
        self.add(joined("and", found))

    def finish(self) -> tuple[RequestFilter, ...]:
        """The filters, all of which hold."""
        if self.depth:
            raise NestingError(NOT_CLOSED)
        if self.nests and self._imbalance:
            raise NestingError(self._imbalance)
        found = self._filters()
        if any(isinstance(one, FilterGroup) and one.depth > MAX_DEPTH for one in found):
            raise NestingError(TOO_DEEP)
        return found

    def _filters(self) -> tuple[RequestFilter, ...]:
        level = self._levels[-1]
        if level.word:
            raise NestingError(f"a filter is missing after '{level.word}'")
        if level.alternatives == [[]]:
            return ()
        return split("and", joined("or", [joined("and", one) for one in level.alternatives]))
