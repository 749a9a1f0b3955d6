"""Filters and payload indexes as the embedded engine takes them."""

from collections.abc import Mapping
from typing import cast

import numpy as np
import qdrant_edge as engine

from scenesearch.pictures.records import MetadataType
from scenesearch.store.base import CollectionSpec
from scenesearch.store.conditions import NO_POINT, bounds_of, boxes_of, checked, excluded_by
from scenesearch.store.fields import WORDS_OF, PayloadField
from scenesearch.store.filters import (
    AllOf,
    AnyOf,
    Condition,
    Filter,
    Has,
    HasPhrase,
    HasWords,
    Near,
    Not,
    OneOf,
    Plain,
    Prefix,
    Range,
    Within,
)
from scenesearch.store.payload import key_path

# Indexes are read from mapped files. That is as fast as on the heap once they have been read, and
# 100,000 pictures open in a third of the time.
_COLD = engine.Memory.Cold

# The payload index for each type of field.
_INDEXES: "Mapping[MetadataType, engine.PayloadSchemaParams]" = {
    "keyword": engine.KeywordIndexParams(prefix=True, memory=_COLD),
    "integer": engine.IntegerIndexParams(lookup=True, range=True, memory=_COLD),
    "float": engine.FloatIndexParams(memory=_COLD),
    "boolean": engine.BoolIndexParams(memory=_COLD),
    "datetime": engine.DatetimeIndexParams(memory=_COLD),
    "text": engine.TextIndexParams(
        tokenizer=engine.TokenizerType.Word, lowercase=True, memory=_COLD
    ),
    "geo": engine.GeoIndexParams(memory=_COLD),
}


# Of a text that is also searched for phrases.
_PHRASES = engine.TextIndexParams(
    tokenizer=engine.TokenizerType.Word, lowercase=True, phrase_matching=True, memory=_COLD
)


def index_of(field: PayloadField) -> "engine.PayloadSchemaParams":
    """The payload index for a field."""
    return _PHRASES if field.name in WORDS_OF and field.type == "text" else _INDEXES[field.type]


def as_filter(where: Filter, spec: CollectionSpec) -> engine.Filter | None:
    """The engine's filter, None if every point passes; raises StoreError."""
    must: list[engine.ConditionType] = []
    must_not: list[engine.ConditionType] = []
    for condition, negated in checked(where, spec):
        (must_not if negated else must).append(_translated(condition, spec))
    return engine.Filter(must=must, must_not=must_not) if must or must_not else None


def _translated(condition: Condition, spec: CollectionSpec) -> "engine.ConditionType":
    match condition:
        case AnyOf(conditions=()) | OneOf(values=()):
            return engine.HasIdCondition({NO_POINT})
        case AnyOf(conditions=conditions):
            alternatives = [_translated(one, spec) for one in conditions]
            return engine.Filter(min_should=engine.MinShould(alternatives, 1))
        case AllOf(conditions=()):
            return engine.Filter(must_not=[engine.HasIdCondition({NO_POINT})])
        case AllOf(conditions=conditions):
            return engine.Filter(must=[_translated(one, spec) for one in conditions])
        case Not(condition=inner):
            return engine.Filter(must_not=[_translated(inner, spec)])
    passing = _alone(condition)
    if (excluded := excluded_by(condition, spec)) is None:
        return passing
    return engine.Filter(must=[passing], must_not=[_alone(excluded)])


def _alone(condition: Plain) -> "engine.ConditionType":
    """The condition itself, whatever other fields say."""
    key = key_path(condition.field)
    match condition:
        case OneOf(values=values) if values and isinstance(values[0], bool):
            return engine.Filter(should=[_is(key, bool(value)) for value in values])
        case OneOf(values=values):
            return engine.FieldCondition(key, match=engine.MatchAny(cast(list[str], list(values))))
        case Range():
            return engine.FieldCondition(key, range=_range(condition))
        case Prefix(prefix=prefix):
            return engine.FieldCondition(key, match=engine.MatchPrefix(prefix))
        case HasWords(words=words):
            # Word by word: an engine that matches a list's values one at a time agrees with others.
            parts = words.split() or [""]
            return engine.Filter(
                must=[engine.FieldCondition(key, match=engine.MatchText(part)) for part in parts]
            )
        case HasPhrase(phrase=phrase):
            return engine.FieldCondition(key, match=engine.MatchPhrase(phrase))
        case Near(center=center, radius_m=radius_m):
            place = engine.GeoPoint(lon=center.longitude, lat=center.latitude)
            return engine.FieldCondition(key, geo_radius=engine.GeoRadius(place, radius_m))
        case Within():
            return engine.Filter(should=[_in_box(key, *box) for box in boxes_of(condition)])
        case Has():
            return engine.Filter(must_not=[engine.IsEmptyCondition(key)])


def _in_box(
    key: str, south: float, west: float, north: float, east: float
) -> engine.FieldCondition:
    corners = engine.GeoPoint(lon=west, lat=north), engine.GeoPoint(lon=east, lat=south)
    return engine.FieldCondition(key, geo_bounding_box=engine.GeoBoundingBox(*corners))


def _is(key: str, value: bool) -> engine.FieldCondition:
    # Version 0.9.0 reads a Python bool as the integer 0 or 1, which a boolean index never has.
    # numpy's bool is not an integer and arrives as a boolean.
    return engine.FieldCondition(key, match=engine.MatchValue(cast(bool, np.bool_(value))))


def _range(condition: Range) -> "engine.RangeType":
    numbers, moments = bounds_of(condition)
    return engine.RangeDateTime(**moments) if moments else engine.RangeFloat(**numbers)
