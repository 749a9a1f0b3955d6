"""Conditions and field declarations in the server client's words."""

from datetime import datetime
from typing import cast

from qdrant_client import models

from scenesearch.store.base import CollectionSpec
from scenesearch.store.conditions import NO_POINT, alternatives, checked
from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import (
    AnyOf,
    Filter,
    Has,
    HasWords,
    Near,
    OneOf,
    Plain,
    Prefix,
    Range,
)
from scenesearch.store.payload import key_path, rfc3339

Index = (
    models.KeywordIndexParams
    | models.IntegerIndexParams
    | models.FloatIndexParams
    | models.BoolIndexParams
    | models.DatetimeIndexParams
    | models.TextIndexParams
    | models.GeoIndexParams
)


def as_filter(where: Filter, spec: CollectionSpec) -> models.Filter | None:
    """The client's filter, None when every point passes; raises StoreError."""
    must: list[models.Condition] = []
    must_not: list[models.Condition] = []
    for condition, negated in checked(where, spec):
        (must_not if negated else must).append(_translated(condition))
    return models.Filter(must=must, must_not=must_not) if must or must_not else None


def index_of(field: PayloadField) -> Index:
    """The payload index that makes the field's operators fast."""
    match field.type:
        case "keyword":
            return models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, prefix=True)
        case "integer":
            return models.IntegerIndexParams(
                type=models.IntegerIndexType.INTEGER, lookup=True, range=True
            )
        case "float":
            return models.FloatIndexParams(type=models.FloatIndexType.FLOAT)
        case "boolean":
            return models.BoolIndexParams(type=models.BoolIndexType.BOOL)
        case "datetime":
            return models.DatetimeIndexParams(type=models.DatetimeIndexType.DATETIME)
        case "text":
            return models.TextIndexParams(
                type=models.TextIndexType.TEXT,
                tokenizer=models.TokenizerType.WORD,
                lowercase=True,
            )
        case "geo":
            return models.GeoIndexParams(type=models.GeoIndexType.GEO)


def _translated(condition: Plain | AnyOf) -> models.Condition:
    if isinstance(condition, AnyOf | OneOf) and not alternatives(condition):
        return models.HasIdCondition(has_id=[NO_POINT])
    if isinstance(condition, AnyOf):
        return models.Filter(
            min_should=models.MinShould(
                conditions=[*map(_translated, condition.conditions)], min_count=1
            )
        )
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
            # Word by word: the same answer where values of a list are matched one at a time.
            return models.Filter(
                must=[
                    models.FieldCondition(key=key, match=models.MatchText(text=part))
                    for part in words.split() or [""]
                ]
            )
        case Near(center=center, radius_m=radius_m):
            place = models.GeoPoint(lon=center.longitude, lat=center.latitude)
            return models.FieldCondition(
                key=key, geo_radius=models.GeoRadius(center=place, radius=radius_m)
            )
        case Has():
            empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
            return models.Filter(must_not=[empty])


def _range(condition: Range) -> models.Range | models.DatetimeRange:
    bounds = {
        "gte": condition.at_least,
        "lte": condition.at_most,
        "gt": condition.above,
        "lt": condition.below,
    }
    moments = {
        name: datetime.fromisoformat(rfc3339(bound))
        for name, bound in bounds.items()
        if isinstance(bound, datetime)
    }
    if moments:
        return models.DatetimeRange(**moments)
    return models.Range(
        **{name: float(bound) for name, bound in bounds.items() if isinstance(bound, int | float)}
    )
