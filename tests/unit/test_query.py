"""--where expressions."""

from datetime import UTC, datetime

import pytest

from scenesearch.library import GeoPoint
from scenesearch.query import QueryError, parse_where
from scenesearch.store.fields import BUILTIN_FIELDS, PayloadField
from scenesearch.store.filters import Condition, HasWords, Near, Not, OneOf, Prefix, Range

FIELDS = (
    *BUILTIN_FIELDS,
    PayloadField("price", "float", "Price"),
    PayloadField("print", "boolean", "Print"),
)


def moment(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("camera=Canon EOS 5D", OneOf("camera", ("Canon EOS 5D",))),
        ("camera!=Nikon", Not(OneOf("camera", ("Nikon",)))),
        ('camera="Canon*"', OneOf("camera", ("Canon*",))),
        ("camera=Canon*", Prefix("camera", "Canon")),
        ('tags in sea, "red, old", boat', OneOf("tags", ("sea", "red, old", "boat"))),
        ("folder=2020/*", OneOf("folder", ("2020",))),
        ("folder=2020/may/", OneOf("folder", ("2020/may",))),
        ("width>=2000", Range("width", at_least=2000)),
        ("width < 10", Range("width", below=10)),
        ("width=10..20", Range("width", at_least=10, at_most=20)),
        ("width=640", OneOf("width", (640,))),
        ("price=2.5..", Range("price", at_least=2.5)),
        ("print=yes", OneOf("print", (True,))),
        ("taken=2019", Range("taken", at_least=moment(2019, 1, 1), below=moment(2020, 1, 1))),
        ("taken=2019-12", Range("taken", at_least=moment(2019, 12, 1), below=moment(2020, 1, 1))),
        ("taken=2019-05-31", Range("taken", moment(2019, 5, 31), below=moment(2019, 6, 1))),
        ("taken=2019..2021", Range("taken", moment(2019, 1, 1), below=moment(2022, 1, 1))),
        ("taken>2019", Range("taken", at_least=moment(2020, 1, 1))),
        ("taken<=2019", Range("taken", below=moment(2020, 1, 1))),
        ("taken>=2019-05-31T18:00", Range("taken", at_least=moment(2019, 5, 31, 18))),
        ("captions=red boat", HasWords("captions", "red boat")),
        ("location=55.75,37.62,50km", Near("location", GeoPoint(55.75, 37.62), 50_000)),
    ],
)
def test_expression_becomes_condition(text: str, condition: Condition) -> None:
    assert parse_where([text], FIELDS) == (condition,)


def test_conditions_join_with_and_outside_quotes() -> None:
    assert parse_where(['width>=10 AND tags="salt and pepper"', "height<5"], FIELDS) == (
        Range("width", at_least=10),
        OneOf("tags", ("salt and pepper",)),
        Range("height", below=5),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("camra=Canon", "did you mean 'camera'"),
        ("zzz=1", "fields are camera"),
        ("sunset", "expected FIELD=VALUE"),
        ("camera=", "value is missing"),
        ("width=wide", "not a whole number"),
        ("width>nan", "not a number"),
        ("taken=last week", "not a date"),
        ("taken=2019-13", "not a date"),
        ("taken=9999", "not a date"),
        ("print=maybe", "neither true nor false"),
        ("camera>Canon", "has no order"),
        ("taken in 2019,2020", "a list does not fit"),
        ("location=north", "LATITUDE,LONGITUDE,RADIUS"),
        ("location=91,0,5km", "latitude is -90..90"),
        ('tags="sea', "quote is not closed"),
    ],
)
def test_mistake_is_named(text: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        parse_where([text], FIELDS)
