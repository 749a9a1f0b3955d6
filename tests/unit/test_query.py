"""The grammar of requests: words, pictures, subtraction, filters; and of --where."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenesearch.pictures.records import GeoPoint
from scenesearch.search.filtering import conditions_of
from scenesearch.search.grammar import parse, parse_order, parse_where
from scenesearch.search.request import FieldFilter, Like, Phrase, QueryError, Request, Text
from scenesearch.store.fields import BUILTIN_FIELDS, PayloadField
from scenesearch.store.filters import (
    AnyOf,
    Condition,
    Has,
    HasWords,
    Near,
    Not,
    OneOf,
    Prefix,
    Range,
    Within,
)

FIELDS = (
    *BUILTIN_FIELDS,
    PayloadField("price", "float", "Price"),
    PayloadField("print", "boolean", "Print"),
    PayloadField("event_name", "keyword", "Event name"),
)
TODAY = date(2026, 11, 25)
VALUES = {
    "camera": ["Canon EOS 5D", "Nikon D90", "Canon PowerShot", "CanonFlex"],
    "tags": ["sea", "sea lion", "seagull", "holiday"],
    "orientation": ["landscape", "portrait"],
    "folder": [".", "2020", "2020/may", "2021", "2021/may"],
    "event_name": ["summer fair", "m\u00e9l\u00e9e"],
}


def moment(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def asked(text: str) -> Request:
    return parse(text, FIELDS, today=TODAY)


def words(text: str, *, excluded: bool = False) -> Text:
    return Text((Phrase(text),), excluded)


def conditions(request: Request | tuple[FieldFilter, ...]) -> tuple[Condition, ...]:
    filters = request.filters if isinstance(request, Request) else request
    return conditions_of(filters, FIELDS, VALUES.__getitem__)[0]


# Words, pictures, mixtures


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("two boats at sunset", (words("two boats at sunset"),)),
        (
            "dog on a beach + like:IMG_12 - people",
            (words("dog on a beach"), Like("IMG_12"), words("people", excluded=True)),
        ),
        ("dog on a beach -people", (words("dog on a beach"), words("people", excluded=True))),
        ("dog -people on a beach", (words("dog on a beach"), words("people", excluded=True))),
        ('dog -"red car"', (words("dog"), words("red car", excluded=True))),
        ("dog - people in hats", (words("dog"), words("people in hats", excluded=True))),
        ("dog +snow", (words("dog"), words("snow"))),
        ("-people", (words("people", excluded=True),)),
        ("dog^2", (Text((Phrase("dog", 2.0),)),)),
        ("dog^2 on a beach", (Text((Phrase("dog", 2.0), Phrase("on a beach"))),)),
        ('"red dog"^0.5 here', (Text((Phrase("red dog", 0.5), Phrase("here"))),)),
        ("like:2019/a.jpg^0.5", (Like("2019/a.jpg", 0.5),)),
        ('like:"my dog.jpg"', (Like("my dog.jpg"),)),
        ("dog - like:a.jpg", (words("dog"), Like("a.jpg", excluded=True))),
        ("dog -like:a.jpg", (words("dog"), Like("a.jpg", excluded=True))),
        ("", ()),
        ("  +  - ", ()),
    ],
)
def test_text_becomes_parts(text: str, parts: tuple[object, ...]) -> None:
    assert asked(text).parts == parts


@pytest.mark.parametrize(
    "text",
    [
        "a black-and-white t-shirt",
        "a man – smiling",
        "a man — smiling",
        "pre- and post-war houses",
        "snow at -5 degrees",
        "c++ code",
        '5" wheel',
        'an unclosed "quote',
        "10:30 in the morning",
        "a smile :-)",
        "2 + 2".replace(" + ", "+"),
        "x^y",
        "a -- b",
    ],
)
def test_marks_inside_words_are_words_and_need_no_notice(text: str) -> None:
    assert asked(text) == Request((words(text),))
    assert asked(text).notices == ()


def test_a_quoted_sentence_keeps_its_dash() -> None:
    assert asked('"a man - smiling"').parts == (words("a man - smiling"),)


@pytest.mark.parametrize("text", ["dog^0", "dog^11", "like:a^99"])
def test_a_weight_out_of_bounds_is_refused(text: str) -> None:
    with pytest.raises(QueryError, match="a weight is above 0 and at most 10"):
        asked(text)


# What is no field


@pytest.mark.parametrize(
    ("text", "kept", "notice"),
    [
        ("time: 10:30", "time: 10:30", "no field 'time'"),
        ("note: x", "note: x", "no field 'note'"),
        ("a dog camra:canon", "a dog camra:canon", "did you mean camera:canon"),
        ("see http://example.org/a.jpg", "see http://example.org/a.jpg", "no field 'http'"),
        ("camera: canon", "camera: canon", "no value stands right after it, as in camera:VALUE"),
        ("has:legs", "has:legs", "no field 'legs'"),
        ("tags:", "tags:", "as in tags:VALUE"),
        ("like: this", "like: this", "as in like:IMAGE"),
        ("a cat near: me", "a cat near: me", "as in near:55.75,37.62,50km"),
        ("has:naer", "has:naer", "no field 'naer'"),
        ("event-nam:fair", "event-nam:fair", "did you mean event_name:fair"),
        ('"evnt name":fair', '"evnt name":fair', "did you mean event_name:fair"),
    ],
)
def test_what_is_no_filter_is_words_and_said_to_be(text: str, kept: str, notice: str) -> None:
    request = asked(text)
    assert request == Request((words(kept),))
    assert len(request.notices) == 1
    assert "was read as words" in request.notices[0]
    assert notice in request.notices[0]


# Filters


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("camera:canon", OneOf("camera", ("Canon EOS 5D", "Canon PowerShot"))),
        ("camera:nonf", OneOf("camera", ("CanonFlex",))),
        ("Camera:d90", OneOf("camera", ("Nikon D90",))),
        ("-camera:nikon", Not(OneOf("camera", ("Nikon D90",)))),
        ("camera:nikon,flex", OneOf("camera", ("Nikon D90", "CanonFlex"))),
        ('camera:"canon eos"', OneOf("camera", ("Canon EOS 5D",))),
        ("camera:canon*shot", OneOf("camera", ("Canon PowerShot",))),
        ("camera:*o*e*", OneOf("camera", ("Canon EOS 5D", "Canon PowerShot", "CanonFlex"))),
        ("camera:*d90", OneOf("camera", ("Nikon D90",))),
        ("camera:*", OneOf("camera", tuple(VALUES["camera"]))),
        ("camera:leica", OneOf("camera", ())),
        ("camera=canon", OneOf("camera", ("canon",))),
        ("camera!=Nikon", Not(OneOf("camera", ("Nikon",)))),
        ("tag:sea", OneOf("tags", ("sea", "sea lion"))),
        ("tag=sea,holiday", OneOf("tags", ("sea", "holiday"))),
        ("orientation:landscape", OneOf("orientation", ("landscape",))),
        ("folder:2020/*", OneOf("folder", ("2020", "2020/may"))),
        ("folder:2020/", OneOf("folder", ("2020", "2020/may"))),
        ('folder:"2021/may/"', OneOf("folder", ("2021/may",))),
        ("Event-name:fair", OneOf("event_name", ("summer fair",))),
        ('-"Event name":fair', Not(OneOf("event_name", ("summer fair",)))),
        ("event_name:ME\u0301LE\u0301E", OneOf("event_name", ("m\u00e9l\u00e9e",))),
        ("folder=2020/may/", OneOf("folder", ("2020/may",))),
        ("width:>2000", Range("width", above=2000)),
        ("width>=2000", Range("width", at_least=2000)),
        ("width:800..1200", Range("width", at_least=800, at_most=1200)),
        ("width:640,800", OneOf("width", (640, 800))),
        ("price:2.5..", Range("price", at_least=2.5)),
        ("price:1,2..3", AnyOf((Range("price", 1, 1), Range("price", 2, 3)))),
        ("print:yes", OneOf("print", (True,))),
        ("caption:boat", HasWords("captions", "boat")),
        ("caption:red,ship", AnyOf((HasWords("captions", "red"), HasWords("captions", "ship")))),
        ('caption:"red boat"', HasWords("captions", "red boat")),
        ("has:caption", Has("captions")),
        ("-has:tag", Not(Has("tags"))),
        ("has:tag,caption", AnyOf((Has("tags"), Has("captions")))),
        ("near:55.75,37.62,50km", Near("location", GeoPoint(55.75, 37.62), 50_000)),
        ("near:-1.5,2,300m", Near("location", GeoPoint(-1.5, 2), 300)),
        ("within:55.5,37.3,56,38", Within("location", 55.5, 37.3, 56, 38)),
        ("within:-17.5,179,-16,-179.5", Within("location", -17.5, 179, -16, -179.5)),
        ("location:1,2,3,4", Within("location", 1, 2, 3, 4)),
        ("near:55.75,37.62", Near("location", GeoPoint(55.75, 37.62), 10_000)),
        ("taken:2019..2021", Range("taken", moment(2019, 1, 1), below=moment(2022, 1, 1))),
        ("taken:>2019", Range("taken", at_least=moment(2020, 1, 1))),
        ("taken:last-year", Range("taken", moment(2025, 1, 1), below=moment(2026, 1, 1))),
        ('taken:"summer 2020"', Range("taken", moment(2020, 6, 1), below=moment(2020, 9, 1))),
        ("taken:may-2019..july-2019", Range("taken", moment(2019, 5, 1), below=moment(2019, 8, 1))),
        (
            "taken:2019,2021",
            AnyOf(
                (
                    Range("taken", moment(2019, 1, 1), below=moment(2020, 1, 1)),
                    Range("taken", moment(2021, 1, 1), below=moment(2022, 1, 1)),
                )
            ),
        ),
    ],
)  # fmt: skip
def test_a_filter_stands_anywhere_in_the_words(text: str, condition: Condition) -> None:
    request = asked(f"a dog {text} on a beach")
    assert request.parts == (words("a dog on a beach"),)
    assert conditions(request) == (condition,)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("dog - camera:nikon on a beach", "dog on a beach -camera:nikon"),
        ("dog - people camera:nikon", "dog - people camera:nikon"),
        ("dog + camera:nikon", "dog camera:nikon"),
        ("dog - like:a camera:nikon", "dog - like:a camera:nikon"),
        ("dog - -camera:nikon", "dog -camera:nikon"),
    ],
)
def test_an_operator_right_before_a_filter_is_the_filters(text: str, written: str) -> None:
    assert str(asked(text)) == written
    assert asked(written) == asked(text)


def test_many_stars_and_blanks_take_no_longer_than_few() -> None:
    shape = asked("camera:" + "*a" * 200 + "*b").filters
    assert conditions_of(shape, FIELDS, lambda field: ["a" * 400])[0] == (OneOf("camera", ()),)
    with pytest.raises(QueryError, match="expected FIELD:VALUE"):
        parse_where(["a" + " " * 1_900 + "b"], FIELDS)


def test_values_that_are_not_there_get_the_nearest_suggested() -> None:
    _, notices = conditions_of(asked("camera:cannon").filters, FIELDS, VALUES.__getitem__)
    assert notices == ("camera:cannon: no picture has such a value; did you mean camera:canon?",)


def test_of_several_values_the_one_that_is_not_there_is_named() -> None:
    _, notices = conditions_of(asked("camera:flex,nikkon").filters, FIELDS, VALUES.__getitem__)
    assert notices == ("camera:nikkon: no picture has such a value; did you mean camera:nikon?",)


def test_several_values_that_are_meant_are_told() -> None:
    _, notices = conditions_of(asked("camera:canon").filters, FIELDS, VALUES.__getitem__)
    assert notices == ("camera:canon means 2 values: Canon EOS 5D, Canon PowerShot",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("width:wide", "width:wide: 'wide' is not a whole number"),
        ("width:>nan", "not a number"),
        ("width:1..2..3", "a range is written"),
        ("width:>1,2", "only one value can follow >"),
        ("taken:2019-13", "not a date"),
        ("taken:2021..2019", "taken:2021..2019: the range ends before it begins"),
        ("width:9..5", "width:9..5: the range ends before it begins"),
        ("price:2..-2.5", "the range ends before it begins"),
        ("taken:9999", "not a date"),
        ("taken:tomorrowish", "not a date; write 2019"),
        ("print:maybe", "neither true nor false"),
        ("camera:>Canon", "has no order"),
        ("near:north", "near:LATITUDE,LONGITUDE,RADIUS"),
        ("within:1,2,3", "within:SOUTH,WEST,NORTH,EAST"),
        ("within:1,2,91,3", "latitude is -90..90"),
        ("within:5,2,3,4", "a box is written SOUTH,WEST,NORTH,EAST"),
        ("near:91,0,5km", "latitude is -90..90"),
        ("near:1,0,0km", "radius is above 0"),
        ("x" * 10_001, "at most 2,000 are read"),
        ("dog^2 " * 65, "65 weighted phrases, at most 64"),
        (
            " ".join(["width:" + ",".join("1" * 90)] * 3),
            "the filters have 270 alternatives together, at most 200 are taken",
        ),
        ("dog \udcff", "the request is not valid Unicode"),
        (" + ".join("abcdefghijklmnopq"), "17 parts, at most 16"),
        ("width:1 " * 33, "33 filters are given, at most 32"),
        ("width:" + ",".join("1" * 101), "101 alternatives, at most 100"),
    ],
)
def test_a_mistake_is_named_in_the_box(text: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        asked(text)


# --where


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("camera=Canon EOS 5D", OneOf("camera", ("Canon EOS 5D",))),
        ("camera:canon eos", OneOf("camera", ("Canon EOS 5D",))),
        ("event-name = summer fair", OneOf("event_name", ("summer fair",))),
        ("camera!=Nikon", Not(OneOf("camera", ("Nikon",)))),
        ("-camera:nikon", Not(OneOf("camera", ("Nikon D90",)))),
        ('camera="Canon*"', OneOf("camera", ("Canon*",))),
        ("camera=Canon*", Prefix("camera", "Canon")),
        ('tags in sea, "red, old", boat', OneOf("tags", ("sea", "red, old", "boat"))),
        ("folder=2020/*", OneOf("folder", ("2020",))),
        ("width < 10", Range("width", below=10)),
        ("width=10..20", Range("width", at_least=10, at_most=20)),
        ("width=640", OneOf("width", (640,))),
        ("print=yes", OneOf("print", (True,))),
        ("taken=2019-12", Range("taken", at_least=moment(2019, 12, 1), below=moment(2020, 1, 1))),
        ("taken=2019-05-31", Range("taken", moment(2019, 5, 31), below=moment(2019, 6, 1))),
        ("taken<=2019", Range("taken", below=moment(2020, 1, 1))),
        ("taken>=2019-05-31T18:00", Range("taken", at_least=moment(2019, 5, 31, 18))),
        ("taken = last year", Range("taken", moment(2025, 1, 1), below=moment(2026, 1, 1))),
        ("captions=red boat in harbour", HasWords("captions", "red boat in harbour")),
        ("location=55.75, 37.62, 50 km", Near("location", GeoPoint(55.75, 37.62), 50_000)),
    ],
)
def test_where_takes_the_same_filters_with_blanks(text: str, condition: Condition) -> None:
    assert conditions(parse_where([text], FIELDS, today=TODAY)) == (condition,)


def test_filters_of_where_are_joined_by_and_or_a_blank() -> None:
    parsed = parse_where(['width>=10 AND tags="salt and pepper"', "height<5 print:no"], FIELDS)
    assert conditions(parsed) == (
        Range("width", at_least=10),
        OneOf("tags", ("salt and pepper",)),
        Range("height", below=5),
        OneOf("print", (False,)),
    )


@pytest.mark.parametrize("name", ["s", "S", "in", "and"])
def test_quotes_within_a_value_begin_no_filter_of_a_column_with_a_short_name(name: str) -> None:
    fields = (*FIELDS, PayloadField(name, "keyword", name))
    for text in ('camera:"canon eos"', 'camera=nikon," width:>5 "'):
        assert parse_where([text], fields) == parse_where([text], FIELDS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("camra=Canon", "--where camra=Canon: .*no field 'camra'; did you mean camera:Canon"),
        ("camera=Canon widht>5", "no field 'widht'; did you mean width"),
        ("zzz=1", "fields are aperture, camera"),
        ("sunset", "--where sunset: expected FIELD:VALUE"),
        ("sunset width>5", "expected FIELD:VALUE"),
        ("camera=", "value is missing"),
        ("width=wide", "--where width:wide: 'wide' is not a whole number"),
        ("camera>Canon", "has no order"),
        ('tags="sea', "quote is not closed"),
    ],
)
def test_a_mistake_in_where_is_named(text: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        parse_where([text], FIELDS)


# Any text at all

MARKS = st.sampled_from(
    [
        *'+-"^:=,.*<>!/ \n\t\0é',
        *("..", "^2", " - ", " + ", '"a b"', "dog", "Canon", "2019", "caption", "and", "in"),
        *("like:", "has:", "camera:", "tag:", "taken:", "width:", "near:", "within:", "folder:"),
    ]
)
TEXTS = st.one_of(st.text(max_size=60), st.lists(MARKS, max_size=25).map("".join))


@given(TEXTS)
def test_any_text_reads_back_from_its_written_form_or_is_refused_in_words(text: str) -> None:
    try:
        request = asked(text)
    except QueryError:
        return
    assert asked(str(request)) == request
    conditions(request)


@given(TEXTS)
def test_any_where_is_filters_that_the_box_reads_too_or_is_refused_in_words(text: str) -> None:
    try:
        filters = parse_where([text], FIELDS, today=TODAY)
    except QueryError:
        return
    assert asked(" ".join(map(str, filters))).filters == filters
    conditions(filters)


@pytest.mark.parametrize(
    ("typed", "plain"),
    [
        ("dog \u2212 people", "dog - people"),
        ("dog \u2212people on a beach", "dog -people on a beach"),
        ("\u2212\u201cred car\u201d", '-"red car"'),
        ("\u201ea man \u2212 smiling\u201c", '"a man - smiling"'),
        ("\u201ea man - smiling\u201f", '"a man - smiling"'),
        ("dog \u2212camera:\u201cNikon D90\u201d", 'dog -camera:"Nikon D90"'),
        ("rating:\u22121", "rating:-1"),
        ("\u201cdog on a beach\u201d^2 + snow", '"dog on a beach"^2 + snow'),
        ("like:\u201cmy dog.jpg\u201d", 'like:"my dog.jpg"'),
        ("a dog\u2019s ball", "a dog\u2019s ball"),
        ("a man \u2013 smiling", "a man \u2013 smiling"),
    ],
)
def test_curly_quotes_and_a_minus_sign_mean_what_their_ascii_forms_mean(
    typed: str, plain: str
) -> None:
    asked, meant = (parse(text, FIELDS, today=TODAY) for text in (typed, plain))
    assert (asked.parts, asked.filters) == (meant.parts, meant.filters)
    assert asked.text == typed


def test_between_straight_quotes_curly_ones_are_text() -> None:
    (found,) = parse('tag="\u201cquoted\u201d"', FIELDS).filters
    assert found.values == ('"\u201cquoted\u201d"',)
    assert parse_where(["tag=\u201cred car\u201d \u2212width:640"], FIELDS) == parse_where(
        ['tag="red car" -width:640'], FIELDS
    )
    assert parse_order("\u2212taken", FIELDS) == parse_order("-taken", FIELDS)
