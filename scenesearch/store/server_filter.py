"""Filters and payload indexes as the server's client takes them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from qdrant_client import models

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

# The payload index for each type of field.
_INDEXES: Mapping[MetadataType, Any] = {
    "keyword": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, prefix=True),
    "integer": models.IntegerIndexParams(
        type=models.IntegerIndexType.INTEGER, lookup=True, range=True
    ),
    "float": models.FloatIndexParams(type=models.FloatIndexType.FLOAT),
    "boolean": models.BoolIndexParams(type=models.BoolIndexType.BOOL),
    "datetime": models.DatetimeIndexParams(type=models.DatetimeIndexType.DATETIME),
    "text": models.TextIndexParams(
        type=models.TextIndexType.TEXT, tokenizer=models.TokenizerType.WORD, lowercase=True
    ),
    "geo": models.GeoIndexParams(type=models.GeoIndexType.GEO),
}


# Of a text that is also searched for phrases.
_PHRASES = models.TextIndexParams(
    type=models.TextIndexType.TEXT,
    tokenizer=models.TokenizerType.WORD,
    lowercase=True,
    phrase_matching=True,
)


def index_of(field: PayloadField) -> Any:
    """The payload index for a field."""
    return _PHRASES if field.name in WORDS_OF and field.type == "text" else _INDEXES[field.type]


def as_filter(where: Filter, spec: CollectionSpec) -> models.Filter | None:
    """The client's filter, None if every point passes; raises StoreError."""
    must: list[models.Condition] = []
    must_not: list[models.Condition] = []
    for condition, negated in checked(where, spec):
        (must_not if negated else must).append(_translated(condition, spec))
    return models.Filter(must=must, must_not=must_not) if must or must_not else None


def _translated(condition: Condition, spec: CollectionSpec) -> models.Condition:
    match condition:
        case AnyOf(conditions=()) | OneOf(values=()):
            return models.HasIdCondition(has_id=[NO_POINT])
        case AnyOf(conditions=conditions):
            alternatives = [_translated(one, spec) for one in conditions]
            return models.Filter(min_should=models.MinShould(conditions=alternatives, min_count=1))
        case AllOf(conditions=()):
            return models.Filter(must_not=[models.HasIdCondition(has_id=[NO_POINT])])
        case AllOf(conditions=conditions):
            return models.Filter(must=[_translated(one, spec) for one in conditions])
        case Not(condition=inner):
            return models.Filter(must_not=[_translated(inner, spec)])
    passing = _alone(condition)
    if (excluded := excluded_by(condition, spec)) is None:
        return passing
    return models.Filter(must=[passing], must_not=[_alone(excluded)])


def _alone(condition: Plain) -> models.Condition:
    """The condition itself, whatever other fields say."""
    key = key_path(condition.field)
    match condition:
        case OneOf(values=values) if values and isinstance(values[0], bool):
            return models.Filter(
                should=[
                    models.FieldCondition(key=key, match=models.MatchValue(value=value))
                    for value in values
                ]
            )
        case OneOf(values=values):
            match = models.MatchAny(any=cast(list[str], list(values)))
            return models.FieldCondition(key=key, match=match)
        case Range():
            return models.FieldCondition(key=key, range=_range(condition))
        case Prefix(prefix=prefix):
            return models.FieldCondition(key=key, match=models.MatchPrefix(prefix=prefix))
        case HasWords(words=words):
            # Word by word: an engine that matches a list's values one at a time agrees with others.
            return models.Filter(
                must=[
                    models.FieldCondition(key=key, match=models.MatchText(text=part))
                    for part in words.split() or [""]
                ]
            )
        case HasPhrase(phrase=phrase):
            return models.FieldCondition(key=key, match=models.MatchPhrase(phrase=phrase))
        case Near(center=center, radius_m=radius_m):
            place = models.GeoPoint(lon=center.longitude, lat=center.latitude)
            return models.FieldCondition(
                key=key, geo_radius=models.GeoRadius(center=place, radius=radius_m)
            )
        case Within():
            return models.Filter(should=[_in_box(key, *box) for box in boxes_of(condition)])
        case Has():
            empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
            return models.Filter(must_not=[empty])


def _in_box(
    key: str, south: float, west: float, north: float, east: float
) -> models.FieldCondition:
    box = models.GeoBoundingBox(
        top_left=models.GeoPoint(lon=west, lat=north),
        bottom_right=models.GeoPoint(lon=east, lat=south),
    )
    return models.FieldCondition(key=key, geo_bounding_box=box)


def _range(condition: Range) -> models.Range | models.DatetimeRange:
    numbers, moments = bounds_of(condition)
    if not moments:
        return models.Range(**numbers)
    return models.DatetimeRange(
        **{name: datetime.fromisoformat(moment) for name, moment in moments.items()}
    )
