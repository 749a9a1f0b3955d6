"""A request as a value: what the pictures show, what they must not show, which filters hold.

`scenesearch.search.grammar` reads it from text; `str(request)` writes the text back in its plainest
form.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from scenesearch.errors import SceneSearchError
from scenesearch.pictures.records import MAX_QUERY_CHARACTERS
from scenesearch.search.quoting import as_name, as_value, quoted
from scenesearch.store.base import CollectionSpec, StoreError
from scenesearch.store.conditions import declared_field, facet_field
from scenesearch.store.filters import Condition, Filter, opposite

MAX_CHARACTERS = MAX_QUERY_CHARACTERS
MAX_PARTS = 16
MAX_PHRASES = 64
MAX_FILTERS = 32
MAX_DEPTH = 16  # of parentheses
MAX_VALUES = 100
MAX_ALTERNATIVES = 200  # of all filters together: each is looked up among a field's values
MAX_HITS = 10_000
MAX_WEIGHT = 10.0

# What reads as an operator, a weight, a filter or its parenthesis when it stands as a word.
_SPECIAL_WORD = re.compile(
    r'[+-]|[+-][^\W\d].*|.*".*|.*\^\d+(\.\d+)?|([\w-]+|[(+-]+\w[\w-]*)(:|=|!=|<|>).*'
    r"|[+(-]*\([+(-]*(?i:and|or|not)?",
    re.S,
)
_PLAIN_ID = re.compile(r"[\w./-]+")


class QueryError(SceneSearchError):
    """The request cannot be understood; the message is one sentence for the user."""


@dataclass(frozen=True)
class Phrase:
    """Words of a scene, and how much they count compared with the others (1: as they stand)."""

    text: str
    weight: float = 1.0

    def __str__(self) -> str:
        if self.weight == 1:
            return " ".join(_quoted_if_special(word) for word in self.text.split())
        blank = " " in self.text or _SPECIAL_WORD.fullmatch(self.text)
        return f"{quoted(self.text) if blank else self.text}^{self.weight:g}"


@dataclass(frozen=True)
class Text:
    """A scene described in words; pictures must not show it if it is `excluded`."""

    phrases: tuple[Phrase, ...]
    excluded: bool = False

    @property
    def text(self) -> str:
        """The whole description, as the encoder reads it."""
        return " ".join(phrase.text for phrase in self.phrases)

    def __str__(self) -> str:
        return " ".join(map(str, self.phrases))


@dataclass(frozen=True)
class Like:
    """A picture of the library, by its id, or by the end of its id if no other id ends with it."""

    image_id: str
    weight: float = 1.0
    excluded: bool = False

    def __str__(self) -> str:
        plain = _PLAIN_ID.fullmatch(self.image_id)
        weight = "" if self.weight == 1 else f"^{self.weight:g}"
        return f"like:{self.image_id if plain else quoted(self.image_id)}{weight}"


@dataclass(frozen=True)
class Upload:
    """A picture from outside the library: the bytes of its file. It has no written form."""

    data: bytes = dataclasses.field(repr=False)
    name: str = "picture"
    weight: float = 1.0
    excluded: bool = False

    def __str__(self) -> str:
        return f'"[{self.name}]"'


Part = Text | Like | Upload
# The value of the filter `is:`.
OFFLINE = "offline"

Operator = Literal[":", "=", ">", ">=", "<", "<=", "has", "is"]


@dataclass(frozen=True)
class FieldFilter:
    """One filter as it was written, with its field found among those the library declares.

    Values are kept in the grammar's own form, quoted where needed. With the operator `has` they
    are names of fields. `condition` is what the store is asked; None for a keyword that is looked
    up among the library's values (`scenesearch.search.filtering`).
    """

    field: str
    operator: Operator
    values: tuple[str, ...]
    negated: bool
    condition: Condition | None = dataclasses.field(compare=False, repr=False)

    def __str__(self) -> str:
        minus = "-" if self.negated else ""
        if self.operator == "has":
            return f"{minus}has:{','.join(map(as_value, self.values))}"
        values = ",".join(self.values)
        if self.operator == "is":
            return f"{minus}is:{values}"
        operator = self.operator if self.operator in ":=" else f":{self.operator}"
        return f"{minus}{as_name(self.field)}{operator}{values}"


Joint = Literal["and", "or"]


@dataclass(frozen=True)
class FilterGroup:
    """Filters of which all hold ('and') or at least one does ('or'); if negated, that is not so.

    `joined` and `negation` make groups. Theirs have at least two filters, and no group stands
    directly in one of the same kind, so that a group and its written form are the same thing.
    """

    joint: Joint
    filters: tuple["RequestFilter", ...]
    negated: bool = False

    def __str__(self) -> str:
        minus = "-" if self.negated else ""
        between = " or " if self.joint == "or" else " "
        return f"{minus}({between.join(map(str, self.filters))})"

    @property
    def depth(self) -> int:
        """How many parentheses are open at most in the written form."""
        groups = (one for one in self.filters if isinstance(one, FilterGroup))
        return 1 + max((group.depth for group in groups), default=0)


RequestFilter = FieldFilter | FilterGroup


def joined(joint: Joint, filters: Iterable[RequestFilter]) -> RequestFilter:
    """One filter for all of them; they are at least one."""
    parts = tuple(part for one in filters for part in split(joint, one))
    return parts[0] if len(parts) == 1 else FilterGroup(joint, parts)


def split(joint: Joint, one: RequestFilter) -> tuple[RequestFilter, ...]:
    """The filters that are joined in it like this, or else itself."""
    if isinstance(one, FilterGroup) and one.joint == joint and not one.negated:
        return one.filters
    return (one,)


def negation(one: RequestFilter) -> RequestFilter:
    """The filter that exactly those pictures pass that the other one leaves out."""
    if isinstance(one, FilterGroup):
        return dataclasses.replace(one, negated=not one.negated)
    condition = None if one.condition is None else opposite(one.condition)
    return dataclasses.replace(one, negated=not one.negated, condition=condition)


def field_filters(filters: Iterable[RequestFilter]) -> Iterator[FieldFilter]:
    """The filters of single fields, those in groups too, from left to right."""
    for one in filters:
        if isinstance(one, FilterGroup):
            yield from field_filters(one.filters)
        else:
            yield one


@dataclass(frozen=True)
class Order:
    """The field that an answer is sorted by; pictures without a value come last."""

    field: str
    descending: bool = False

    def __str__(self) -> str:
        return f"-{self.field}" if self.descending else self.field


@dataclass(frozen=True)
class Request:
    """Everything that can be asked of a library.

    `parts` say what to look for. If none is wanted, every picture that passes the filters and
    shows nothing excluded is a hit. Less relevant pictures than `min_relevance` are none; with
    `default_cut` the library says how relevant they must be (`Searcher.default_cut`), and there are
    hits only if the best picture reaches `best_at_least`, which it fills in. `where` holds
    conditions that are not from the text, but for example from the widgets of a page. `scope` is
    what whoever asks may see: other pictures are neither found nor counted, nor compared with,
    nor do suggestions and notices tell of them.

    `k` hits are given, after the first `offset`, or after the page that ended with the cursor
    `after`, which is stable while pictures are being added. `diversity` (0-1) trades likeness to
    the request for difference between the hits. `hybrid` also ranks by the words of captions,
    tags, title and file name; None does so where it helps, in libraries whose pictures have
    captions. `right` and `wrong` are ids of pictures that a user called so: the ranking leans
    towards pictures like the right ones, instead of being diverse or hybrid, and the wrong ones
    are left out. `facets` names fields whose values in the answer are counted. `text` is what was
    written; `notices` say how it was understood, where that may surprise.
    """

    parts: tuple[Part, ...] = ()
    filters: tuple[RequestFilter, ...] = ()
    where: Filter = ()
    scope: Filter = ()
    k: int = 10
    offset: int = 0
    after: str | None = None
    min_relevance: float = 0.0
    default_cut: bool = False
    best_at_least: float = 0.0
    sort: Order | None = None
    collapse: bool = False
    diversity: float | None = None
    hybrid: bool | None = None
    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    facets: tuple[str, ...] = ()
    exact: bool = False
    text: str = dataclasses.field(default="", compare=False)
    notices: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    @property
    def descriptions(self) -> tuple[Text, ...]:
        """What pictures shall show, in words."""
        texts = (part for part in self.parts if isinstance(part, Text))
        return tuple(text for text in texts if not text.excluded)

    @property
    def named_pictures(self) -> tuple[str, ...]:
        """The names of pictures that the request compares by or excludes."""
        return tuple(part.image_id for part in self.parts if isinstance(part, Like))

    def __str__(self) -> str:
        """The text that is read back as the same parts and filters (an upload has no text)."""
        written: list[str] = []
        for part in self.parts:
            if part.excluded:
                written.append("-")
            elif written:
                written.append("+")
            written.append(str(part))
        if written and self.filters:
            rest, blank, last = written[-1].rpartition(" ")
            if last.lower() == "not":  # it would be the filter's
                written[-1] = f"{rest}{blank}{quoted(last)}"
        return " ".join([*written, *map(str, self.filters)])

    @property
    def is_empty(self) -> bool:
        """Whether it asks for nothing in particular."""
        return not (self.parts or self.filters or self.where)

    def check(self, spec: CollectionSpec, *, may_be_empty: bool = False) -> None:
        """Raise QueryError for what cannot be asked of the collection."""
        if self.is_empty and not may_be_empty:
            raise QueryError("the query is empty: describe a scene in words")
        if len(self.where) > MAX_FILTERS:
            raise QueryError(f"{len(self.where)} conditions are given, at most {MAX_FILTERS}")
        if not 1 <= self.k <= MAX_HITS:
            raise QueryError(f"{self.k} pictures are asked for; 1 to {MAX_HITS} can be")
        if not 0 <= self.offset <= MAX_HITS:
            raise QueryError(f"offset {self.offset}: 0 to {MAX_HITS} pictures can be passed over")
        if self.offset and self.after is not None:
            raise QueryError("a page begins at an offset or after a cursor, not both")
        if not 0 <= self.min_relevance <= 1:
            raise QueryError(f"min_relevance {self.min_relevance} is not between 0 and 1")
        if self.diversity is not None and not 0 <= self.diversity <= 1:
            raise QueryError(f"diversity {self.diversity} is not between 0 and 1")
        if self.sort is not None and (self.diversity is not None or self.hybrid):
            raise QueryError("an answer is sorted by a field, diverse or hybrid: one of them")
        try:
            if self.sort and declared_field(self.sort.field, spec).type == "geo":
                raise QueryError(f"{self.sort.field} is a place and has no order to sort by")
            for name in self.facets:
                if declared_field(name, spec).type != "datetime":  # counted by months or years
                    facet_field(name, spec)
        except StoreError as error:
            raise QueryError(str(error)) from None


def check_text(what: str, text: str) -> None:
    """Raise QueryError for a text that is too long, or no text."""
    if len(text) > MAX_CHARACTERS:
        raise QueryError(
            f"{what} has {len(text):,} characters, at most {MAX_CHARACTERS:,} are read: shorten it"
        )
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of a terminal that were no UTF-8
        raise QueryError(f"{what} is not valid Unicode") from None


def _quoted_if_special(word: str) -> str:
    return quoted(word) if _SPECIAL_WORD.fullmatch(word) else word
