"""A request as a value: what the pictures show, what they must not show, which filters hold.

`scenesearch.search.grammar` reads it from text; `str(request)` writes the text back in its plainest
form.
"""

import dataclasses
import re
from dataclasses import dataclass
from typing import Literal

from scenesearch.errors import SceneSearchError
from scenesearch.pictures.records import MAX_QUERY_CHARACTERS
from scenesearch.search.quoting import quoted
from scenesearch.store.base import CollectionSpec, StoreError
from scenesearch.store.conditions import declared_field, facet_field
from scenesearch.store.filters import Condition, Filter

MAX_CHARACTERS = MAX_QUERY_CHARACTERS
MAX_PARTS = 16
MAX_PHRASES = 64
MAX_FILTERS = 32
MAX_VALUES = 100
MAX_ALTERNATIVES = 200  # of all filters together: each is looked up among a field's values
MAX_HITS = 10_000
MAX_WEIGHT = 10.0

# What reads as an operator, a weight or a filter when it stands as a word of its own.
_SPECIAL_WORD = re.compile(r'[+-]|[+-][^\W\d].*|.*".*|.*\^\d+(\.\d+)?|[\w-]+(:|=|!=|<|>).*', re.S)
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
        values = ",".join(self.values)
        if self.operator in ("has", "is"):
            return f"{minus}{self.operator}:{values}"
        operator = self.operator if self.operator in ":=" else f":{self.operator}"
        return f"{minus}{self.field}{operator}{values}"


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
    conditions that are not from the text, but for example from the widgets of a page.

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
    filters: tuple[FieldFilter, ...] = ()
    where: Filter = ()
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
        return " ".join([*written, *map(str, self.filters)])

    def check(self, spec: CollectionSpec) -> None:
        """Raise QueryError for what cannot be asked of the collection."""
        if not (self.parts or self.filters or self.where):
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
                facet_field(name, spec)
        except StoreError as error:
            raise QueryError(str(error)) from None


def _quoted_if_special(word: str) -> str:
    return quoted(word) if _SPECIAL_WORD.fullmatch(word) else word
