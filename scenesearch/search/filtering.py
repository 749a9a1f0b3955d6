"""The filters of a request over one library: conditions for the store, and notices about them.

A keyword is looked up among the values that the library has. `camera:canon` means every camera with
the word 'canon', in upper or lower case; where no value has the word, those that contain it; with
'*', those of that shape.
"""

import difflib
import re
import time
from collections.abc import Callable, Sequence

from scenesearch.datasets.names import folded
from scenesearch.search.presence import Presence, PresenceOf, all_here
from scenesearch.search.quoting import as_value, plain_text, segments
from scenesearch.search.request import FieldFilter, FilterGroup, RequestFilter
from scenesearch.store.base import VectorStore
from scenesearch.store.fields import PayloadField, by_name, words_field
from scenesearch.store.filters import (
    AllOf,
    AnyOf,
    Condition,
    Filter,
    Has,
    HasPhrase,
    Not,
    OneOf,
    opposite,
    plain_conditions,
)
from scenesearch.store.written import alike, words_of

# How many values of its field a keyword is looked up among: the most frequent ones.
_MOST_VALUES = 50_000

# Older values are read again: an ingest may have added some.
_VALUES_FRESH_S = 5.0

# Limits of suggestions: comparing a value with a text takes 10 microseconds.
_MOST_SUGGESTIONS, _MOST_COMPARED, _LONGEST_SUGGESTION = 3, 5_000, 100


class KeywordValues:
    """The values of a collection's keyword fields, each read once in some seconds; those of the
    pictures in `scope`."""

    def __init__(self, store: VectorStore, collection: str, scope: Filter = ()) -> None:
        self._store, self._collection, self._scope = store, collection, scope
        self._read: dict[str, tuple[list[str], float]] = {}

    def of(self, field: str) -> list[str]:
        """The field's values, the most frequent first."""
        values, read_at = self._read.get(field, ([], -_VALUES_FRESH_S))
        if time.monotonic() - read_at >= _VALUES_FRESH_S:
            counted = self._store.facet(
                self._collection, field, where=self._scope, limit=_MOST_VALUES
            )
            values = [str(value) for value, _ in counted]
            self._read[field] = values, time.monotonic()
        return values


def conditions_in(
    store: VectorStore,
    library: str,
    filters: Sequence[RequestFilter],
    presence_of: PresenceOf = all_here,
) -> tuple[Filter, tuple[str, ...]]:
    """The conditions of the filters in a library, and notices: how they were understood, and which
    of them no picture passes."""
    spec = store.describe(library)
    fields, values = spec.fields, KeywordValues(store, library)
    conditions, notices = conditions_of(
        filters, fields, values.of, lambda: presence_of(spec.library)
    )
    named = list(zip(map(str, filters), conditions, strict=True))
    return conditions, (*notices, *passed_by_none(store, library, fields, named, notices))


def conditions_of(
    filters: Sequence[RequestFilter],
    fields: Sequence[PayloadField],
    values_of: Callable[[str], Sequence[str]],
    presence: Callable[[], Presence] = Presence,
) -> tuple[Filter, tuple[str, ...]]:
    """The condition of each filter, and notices; `values_of` gives a keyword field's values,
    `presence` says which folders are away."""
    known = by_name(fields)
    notices: list[str] = []

    def condition_of(one: RequestFilter) -> Condition:
        if isinstance(one, FilterGroup):
            parts = tuple(condition_of(part) for part in one.filters)
            found: Condition = AnyOf(parts) if one.joint == "or" else AllOf(parts)
        elif one.condition is not None:
            return one.condition
        elif one.operator == "is":
            found = presence().condition
        elif words := words_field(one.field, known):
            found, said = _written(one, values_of(words), known[one.field], words)
            notices.extend(said)
        else:
            values, said = _look_up(one, values_of(one.field), known[one.field])
            notices.extend(said)
            found = OneOf(one.field, values)
        return opposite(found) if one.negated else found

    conditions = tuple(condition_of(one) for one in filters)
    return conditions, tuple(notices)


def _look_up(
    one: FieldFilter, values: Sequence[str], field: PayloadField
) -> tuple[tuple[str, ...], list[str]]:
    """The values that a keyword filter means, and what to say about them."""
    if not values:
        return (), [f"{one}: no picture of this library has {field.value_noun}"]
    meant: dict[str, None] = {}
    notices: list[str] = []
    known = [(folded(value), value) for value in values]
    for written in one.values:
        # '2020/' is the folder 2020
        pattern = re.sub(r'(?<=[^"])/+("?)$', r"\1", written) if field.hierarchical else written
        found = _matching(pattern, known)
        meant.update(dict.fromkeys(found))
        if not found:
            near = _nearest(plain_text(pattern), values) if len(notices) < _MOST_SUGGESTIONS else ""
            hint = f"; did you mean {one.field}:{as_value(near)}?" if near else ""
            which = one if len(one.values) == 1 else f"{one.field}:{pattern}"
            notices.append(f"{which}: no picture has such a value{hint}")
    if len(meant) > 1:
        listed = ", ".join(list(meant)[:4]) + (" …" if len(meant) > 4 else "")
        notices.append(f"{one} means {len(meant)} values: {listed}")
    return tuple(meant), notices


def _written(
    one: FieldFilter, words: Sequence[str], field: PayloadField, words_field: str
) -> tuple[Condition, list[str]]:
    """The condition of a filter of a text of which the words are known, and what to say about it.

    Several words are a phrase. A single one is looked up as a keyword is, and so is one with '*'.
    """
    if not words:
        return OneOf(words_field, ()), [f"{one}: no picture of this library has {field.value_noun}"]
    alternatives: list[Condition] = []
    notices: list[str] = []
    known = [(alike(word), word) for word in words]
    for written in one.values:
        parts = words_of(plain_text(written))
        has_star = any(kind == "star" for kind, _ in segments(written))
        if len(parts) > 1 and not has_star:
            alternatives.append(HasPhrase(field.name, plain_text(written)))
            continue
        pattern = alike(as_value(parts[0]) if parts and not has_star else written.casefold())
        # A rare word may not be among the most frequent ones.
        found = dict.fromkeys([*_matching(pattern, known), *(parts if not has_star else ())])
        alternatives.append(OneOf(words_field, tuple(found)))
        if len(found) > 1:
            listed = ", ".join(list(found)[:4]) + (" …" if len(found) > 4 else "")
            notices.append(f"{one.field}:{written} means {len(found)} words: {listed}")
    return AnyOf(tuple(alternatives)), notices


def _matching(pattern: str, known: Sequence[tuple[str, str]]) -> list[str]:
    """The values that a pattern means, of pairs: as it is compared, as it is written."""
    parts = [(kind, folded(text)) for kind, text in segments(pattern)]
    if any(kind == "star" for kind, _ in parts):
        shape = _shape(parts)
        return [value for text, value in known if shape.fullmatch(text)]
    wanted = "".join(text for _, text in parts)
    whole = re.compile(rf"(?<!\w){re.escape(wanted)}(?!\w)")
    holding = [(text, value) for text, value in known if wanted in text]
    words = [value for text, value in holding if whole.search(text)]
    return words or [value for _, value in holding]


def _shape(parts: Sequence[tuple[str, str]]) -> re.Pattern[str]:
    """What a value with stars stands for; atomic, so that many stars cannot take for ever."""
    texts = [""]
    for kind, text in parts:
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


def _nearest(text: str, values: Sequence[str]) -> str:
    """The value most like the text, or one with a word most like it; '' when none is."""
    by_word: dict[str, str] = {}
    for value in values[:_MOST_COMPARED]:
        by_word.setdefault(folded(value), value)
        for word in re.findall(r"\w+", folded(value)):
            by_word.setdefault(word, word)
    near = difflib.get_close_matches(folded(text[:_LONGEST_SUGGESTION]), by_word, n=1)
    return by_word[near[0]] if near else ""


# --- why nothing is found ----------------------------------------------------------------------


def passed_by_none(
    store: VectorStore,
    collection: str,
    fields: Sequence[PayloadField],
    named: Sequence[tuple[str, Condition]],
    notices: Sequence[str] = (),
    scope: Filter = (),
) -> list[str]:
    """Why no picture passes these conditions, each given with its written form; nothing where one
    does: 'taken:2019: no picture of this library has a date'.

    What earlier `notices` explain is not explained again. Pictures outside the `scope` are as if
    they were not there.
    """

    def count(*where: Condition) -> int:
        return store.count(collection, where=(*where, *scope))

    if not named or count(*(condition for _, condition in named)):
        return []
    if not count():
        return ["this library holds no picture"]
    empty = [(written, condition) for written, condition in named if not count(condition)]
    if not empty:
        listed = ", ".join(written for written, _ in named)
        return [f"no picture of this library passes all of {listed}"]
    return [
        f"{written}: {_why_none(condition, fields, count)}"
        for written, condition in empty
        if not any(notice.startswith(f"{written}: ") for notice in notices)
    ]


def _why_none(
    condition: Condition, fields: Sequence[PayloadField], count: Callable[[Condition], int]
) -> str:
    names = fields_of(condition)
    nouns = " or ".join(by_name(fields)[name].value_noun for name in names)
    if isinstance(condition, Not):
        inner = condition.condition
        parts = inner.conditions if isinstance(inner, AnyOf) else (inner,)
        only_has = all(isinstance(one, Has) for one in parts)
        return f"every picture of this library {f'has {nouns}' if only_has else 'is left out'}"
    if not names:
        return "no folder of this library is away"
    if not any(count(Has(name)) for name in names):
        return f"no picture of this library has {nouns}"
    return "no picture of this library passes it"


def fields_of(condition: Condition) -> tuple[str, ...]:
    """The fields that the condition asks about, each once."""
    return tuple(dict.fromkeys(one.field for one in plain_conditions(condition)))
