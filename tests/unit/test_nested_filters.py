"""Filters with 'and', 'or', 'not' and parentheses: in the text, after --where, as mappings."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenesearch.search.filtering import conditions_of
from scenesearch.search.grammar import Where, parse, parse_where
from scenesearch.search.request import MAX_DEPTH, QueryError, RequestFilter
from scenesearch.store.fields import BUILTIN_FIELDS, PayloadField
from scenesearch.store.filters import AllOf, AnyOf, Condition, Not, OneOf, Range

FIELDS = (
    *BUILTIN_FIELDS,
    PayloadField("price", "float", "Price"),
    PayloadField("print", "boolean", "Print"),
    PayloadField("event_name", "keyword", "Event name"),
    PayloadField("not", "integer", "Not"),
    PayloadField("photo date.v2", "keyword", "Odd"),
)
TODAY = date(2026, 11, 25)
VALUES = {"camera": ["Canon", "Nikon"], "tags": ["a", "b", "c"]}


def in_text(text: str) -> tuple[RequestFilter, ...]:
    """The filters of a text that has nothing else."""
    request = parse(text, FIELDS, today=TODAY)
    assert request.parts == ()
    assert request.notices == ()
    return request.filters


def where(*expressions: Where) -> tuple[RequestFilter, ...]:
    return parse_where(expressions, FIELDS, today=TODAY)


def written(filters: tuple[RequestFilter, ...]) -> str:
    return " ".join(map(str, filters))


def conditions(filters: tuple[RequestFilter, ...]) -> tuple[Condition, ...]:
    return conditions_of(filters, FIELDS, VALUES.__getitem__)[0]


A, B, C, D = (Range("width", n, n) for n in range(1, 5))
TEXT = {"A": "width:1..1", "B": "width:2..2", "C": "width:3..3", "D": "width:4..4"}


def spelled(shape: str) -> str:
    """'A or B' with a filter for each letter."""
    return "".join(TEXT.get(letter, letter) for letter in shape)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("A or B", (AnyOf((A, B)),)),
        ("A OR B Or C", (AnyOf((A, B, C)),)),
        ("A and B", (A, B)),
        ("A B or C D", (AnyOf((AllOf((A, B)), AllOf((C, D)))),)),
        ("A and B or C", (AnyOf((AllOf((A, B)), C)),)),
        ("A or B and C", (AnyOf((A, AllOf((B, C)))),)),
        ("A or B C", (AnyOf((A, AllOf((B, C)))),)),
        ("(A or B) C", (AnyOf((A, B)), C)),
        ("C (A or B)", (C, AnyOf((A, B)))),
        ("(A or B) -C", (AnyOf((A, B)), Not(C))),
        ("(A or B) (C or D)", (AnyOf((A, B)), AnyOf((C, D)))),
        ("(A or B)(C or D)", (AnyOf((A, B)), AnyOf((C, D)))),
        ("A or (B or (C or D))", (AnyOf((A, B, C, D)),)),
        ("(A (B (C)))", (A, B, C)),
        ("((A))", (A,)),
        ("( A or B )", (AnyOf((A, B)),)),
        ("not A", (Not(A),)),
        ("not -A", (A,)),
        ("NOT (A or B)", (Not(AnyOf((A, B))),)),
        ("-(A or B)", (Not(AnyOf((A, B))),)),
        ("- (A or B)", (Not(AnyOf((A, B))),)),
        ("not(A or B)", (Not(AnyOf((A, B))),)),
        ("+(A or B)", (AnyOf((A, B)),)),
        ("-(-(A or B)) or C", (AnyOf((A, B, C)),)),
        ("-(A)", (Not(A),)),
        ("-(A B) or C", (AnyOf((Not(AllOf((A, B))), C)),)),
        ("A or not B", (AnyOf((A, Not(B))),)),
        ("A or - B", (AnyOf((A, Not(B))),)),
        ("A or - not B", (AnyOf((A, B)),)),
        ("(A or not - (B or C))", (AnyOf((A, B, C)),)),
        ("A - B or C", (AnyOf((AllOf((A, Not(B))), C)),)),
        ("A and not (B or -C)", (A, Not(AnyOf((B, Not(C)))))),
    ],
)
def test_and_binds_tighter_than_or_and_parentheses_group(
    shape: str, expected: tuple[Condition, ...]
) -> None:
    text = spelled(shape)
    assert conditions(in_text(text)) == expected
    assert conditions(where(text)) == expected
    assert in_text(written(in_text(text))) == in_text(text)


def test_a_keyword_in_a_group_is_looked_up_and_what_is_missing_is_said() -> None:
    (found,) = in_text("(camera:canon or -tag:d)")
    condition, notices = conditions_of([found], FIELDS, VALUES.__getitem__)
    assert condition == (AnyOf((OneOf("camera", ("Canon",)), Not(OneOf("tags", ())))),)
    assert notices == ("-tags:d: no picture has such a value",)


# Words stay words


@pytest.mark.parametrize(
    "text",
    [
        "a cup (white) or a glass",
        "dogs or cats on grass",
        "or",
        "not a dog",
        "(a dog) and (a cat)",
        "() or ()",
        "a sign (note: closed)",
        "at (10:30 or 11:30)",
        "see (http://example.org or another)",
        "(or not) to be",
        "a smile :-) (:",
        "f(x) not()",
        "-(a dog)",
    ],
)
def test_a_sentence_with_or_and_parentheses_stays_words(text: str) -> None:
    request = parse(text, FIELDS, today=TODAY)
    assert [part.text for part in request.descriptions] == [text]
    assert (request.filters, request.notices) == ((), ())


@pytest.mark.parametrize(
    ("text", "parts", "filters"),
    [
        (
            "dogs or cats on grass (camera:canon or camera:nikon) -tag:draft",
            "dogs or cats on grass",
            "(camera:canon or camera:nikon) -tags:draft",
        ),
        ("camera:canon or dogs", "or dogs", "camera:canon"),
        ("dogs or camera:canon", "dogs or", "camera:canon"),
        ("camera:canon dogs or tag:a", "dogs or", "camera:canon tags:a"),
        ("tag:a dogs tag:b or tag:c", "dogs", "tags:a (tags:b or tags:c)"),
        ("tag:a and a dog", "and a dog", "tags:a"),
        ("dogs (tag:a)", "dogs", "tags:a"),
        ("dogs (and a cat tag:a)", 'dogs "(and" a cat', 'tags:"a)"'),
        ("dogs - (tag:a or tag:b) cats", "dogs cats", "-(tags:a or tags:b)"),
        ("dogs - cats (tag:a or tag:b)", "dogs - cats", "(tags:a or tags:b)"),
        ("dogs not (tag:a or tag:b)", "dogs", "-(tags:a or tags:b)"),
        ("dogs - not tag:a cats", "dogs cats", "tags:a"),
        ("tag:a or camra:b", 'or "camra:b"', "tags:a"),
        ("tag:a like:x or tag:b", "or + like:x", "tags:a tags:b"),
        ("tag:a () tag:b", "()", "tags:a tags:b"),
    ],
)
def test_words_and_filters_mix(text: str, parts: str, filters: str) -> None:
    request = parse(text, FIELDS, today=TODAY)
    assert written(request.filters) == filters
    assert str(request) == f"{parts} {filters}"
    assert parse(str(request), FIELDS, today=TODAY) == request


@pytest.mark.parametrize("word", ["not", "NOT", "(", "((", "(not", "-("])
def test_words_right_before_filters_do_not_become_a_part_of_them(word: str) -> None:
    request = parse(f'a dog "{word}" tag:a', FIELDS, today=TODAY)
    assert written(request.filters) == "tags:a"
    assert parse(str(request), FIELDS, today=TODAY) == request


# --where


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("camera = Canon EOS or width > 5", 'camera="Canon EOS" or width:>5'),
        ("(camera: canon eos or tags in a, b) -not:1", '(camera:"canon eos" or tag=a,b) -not:1'),
        ("(tags=salt and pepper or tags=b)", '(tags="salt and pepper" or tags=b)'),
        ("tag:a (b) or tag:c", 'tag:"a (b)" or tag:c'),
        ("(tag:a (b or c) or tag:d)", '(tag:"a (b or c)" or tag:d)'),
        ("not width : > 5 and - (print:yes)", "-width:>5 -print:yes"),
        ("not = 5 or not:6", "not:5 or not:6"),
        ('(tag:" or (" or tag:b)', 'tag:" or (" or tag:b'),
        ("width:1..1\nor\twidth:2..2", "width:1..1 or width:2..2"),
    ],
)  # fmt: skip
def test_where_takes_blanks_in_groups_too(text: str, plain: str) -> None:
    assert where(text) == where(plain) == in_text(plain)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("camera=Canon (EOS) 5D", "Canon (EOS) 5D"),
        ("camera:canon)", "canon)"),
        ("camera=Canon or Nikon", "Canon or Nikon"),
        ("camera:canon ()", "canon ()"),
        ("camera:or", "or"),
        ("camera: or", "or"),
        ("camera:canon not", "canon not"),
        ("camera:canon and", "canon and"),
    ],
)
def test_a_value_of_where_keeps_or_and_parentheses_that_are_about_no_filter(
    text: str, value: str
) -> None:
    (found,) = where(text)
    (alone,) = where({"field": "camera", "operator": "=", "value": value})
    assert found.values == alone.values


def test_expressions_of_where_all_hold() -> None:
    assert where("tag:a or tag:b", "tag:c") == where("(tag:a or tag:b) tag:c")


# Mistakes

DEEP = MAX_DEPTH + 1
MISTAKES = [
    ("(tag:a or tag:b", "(tag:a or tag:b: '(' is not closed"),
    ("-(tag:a (tag:b)", "-(tag:a (tag:b): '(' is not closed"),
    ("(tag:a or tag:b))", "(tag:a or tag:b)): ')' closes no '('"),
    ("(tag:a) )", "(tag:a) ): ')' closes no '('"),
    (
        "tag:a or tag:b)",
        "tag:a or tag:b): ')' closes no '(' in b); such a value stands in quotes",
    ),
    (
        "tag:a or tag:b(",
        "tag:a or tag:b(: '(' is not closed in b(; such a value stands in quotes",
    ),
    ("tag:a or ()", "tag:a or (): the group is empty"),
    ("(tag:a or ( ))", "(tag:a or ( ): the group is empty"),
    ("tag:a or", "tag:a or: a filter is missing after 'or'"),
    ("(tag:a or)", "(tag:a or): a filter is missing after 'or'"),
    ("(tag:a and )", "(tag:a and ): a filter is missing after 'and'"),
    ("(or tag:a)", "(or: a filter is missing before 'or'"),
    ("(tag:a or or tag:b)", "(tag:a or or: a filter is missing before 'or'"),
    ("(tag:a or dogs)", "(tag:a or dogs: expected FIELD:VALUE instead of 'dogs'"),
    ("(tag:a (dogs))", None),
    ("(tag:a or not dogs)", "(tag:a or not dogs: expected FIELD:VALUE instead of 'dogs'"),
    ("(camra:a or tag:b)", "camra:a: this library has no field 'camra'; did you mean camera:a?"),
    ("(camra:a or camra:b)", "camra:a: this library has no field 'camra'; did you mean camera:a?"),
    ("(tag:a or camra:b)", "camra:b: this library has no field 'camra'; did you mean camera:b?"),
    ("(width:wide or tag:a)", "width:wide: 'wide' is not a whole number"),
    ("(tag:a or like:x)", "like:x: a picture is no filter; it stands in the text or --like"),
    ("(" * DEEP + "tag:a" + ")" * DEEP, "filters are nested more than 16 deep"),
    (
        "(tag:a or tag:b " * DEEP + ")" * DEEP,
        "filters are nested more than 16 deep",
    ),
    ("(" + " or ".join(["width:1"] * 33) + ")", "33 filters are given, at most 32 are taken"),
    ("tag:a or -(" * 16 + "tag:b or tag:c" + ")" * 16, "filters are nested more than 16 deep"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_a_mistake_in_a_group_is_named_alike_everywhere(text: str, message: str | None) -> None:
    said: list[str] = []
    reading: list[Callable[[str], Any]] = [in_text, where]
    for read in reading:
        if message is None:
            assert len(read(text)) == 1  # blanks and other words belong to the value
            continue
        with pytest.raises(QueryError) as caught:
            read(text)
        said.append(str(caught.value))
    if message is not None:
        in_box, in_where = said
        assert in_box.endswith(message)
        assert in_where == (in_box if "at most 32" in message else f"--where {in_box}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("()", "--where (): the group is empty"),
        (")", "--where ): ')' closes no '('"),
        ("(", "--where (: '(' is not closed"),
        ("(dogs or tag:a)", "--where (dogs: expected FIELD:VALUE instead of 'dogs'"),
        ("(tag:a) dogs", "--where (tag:a) dogs: expected FIELD:VALUE instead of 'dogs'"),
        ("or tag:a", "--where or: a filter is missing before 'or'"),
        ("not", "--where not: expected FIELD:VALUE"),
        ("-", "--where -: expected FIELD:VALUE"),
        ("tag:a or " + "x" * 100, "--where"),
    ],
)
def test_where_without_words_around_it_names_more(text: str, message: str) -> None:
    if message == "--where":
        assert len(where(text)) == 1
        return
    with pytest.raises(QueryError) as caught:
        where(text)
    assert str(caught.value).startswith(message)


# As a program writes them


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ({"field": "camera", "value": "canon"}, "camera:canon"),
        ({"field": "Camera", "operator": "=", "value": "Canon EOS*"}, 'camera="Canon EOS*"'),
        ({"field": "camera", "operator": "!=", "value": ["a, b", 'c"d']}, 'camera!="a, b","c""d"'),
        ({"field": "camera", "value": "canon*5d"}, "camera:canon*5d"),
        ({"field": "tag", "value": ["sea", "red, old"]}, 'tag:sea,"red, old"'),
        ({"field": "taken", "value": "2019..2021"}, "taken:2019..2021"),
        ({"field": "taken", "operator": ">=", "value": "may 2019"}, "taken:>=may-2019"),
        ({"field": "width", "operator": ">", "value": 2000}, "width>2000"),
        ({"field": "width", "value": [640, 800]}, "width:640,800"),
        ({"field": "price", "operator": "<=", "value": -2.5}, "price<=-2.5"),
        ({"field": "print", "operator": "=", "value": True}, "print:true"),
        ({"field": "has", "value": ["tag", "event name"]}, 'has:tag,"event name"'),
        ({"field": "is", "value": "offline"}, "is:offline"),
        ({"field": "near", "value": "55.75,37.62,50km"}, "near:55.75,37.62,50km"),
        ({"field": "location", "value": [55.75, 37.62, "50 km"]}, 'near:55.75,37.62,"50 km"'),
        ({"field": "within", "value": [55.5, 37.3, 56, 38]}, "within:55.5,37.3,56,38"),
        ({"field": "photo date.v2", "value": "x"}, '"photo date.v2":x'),
        ({"not": {"field": "camera", "value": "canon"}}, "-camera:canon"),
        (
            {
                "and": [
                    {"or": [{"field": "camera", "value": "canon"}, {"field": "tag", "value": "a"}]},
                    {"not": {"field": "tag", "value": "draft"}},
                ]
            },
            "(camera:canon or tag:a) -tag:draft",
        ),
        ({"not": {"not": {"and": [{"field": "tag", "value": "a"}]}}}, "tag:a"),
    ],
)
def test_a_mapping_is_the_filter_that_its_text_is(tree: Where, text: str) -> None:
    if "near" in text or "may" in text:  # written otherwise
        assert conditions(where(tree)) == conditions(where(text))
    else:
        assert where(tree) == where(text)
    assert in_text(written(where(tree))) == where(tree)


LEAF = {"field": "width", "value": 1}


def nested(depth: int) -> Where:
    tree: dict[str, Any] = LEAF
    for _ in range(depth):
        tree = {"not": tree}
    return tree


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({}, "where: expected the name of a field as field"),
        ({"or": []}, "where.or: the group is empty"),
        ({"and": LEAF}, "where.and: expected a list of filters"),
        ({"or": [LEAF, "tag:a"]}, "where.or[1]: 'tag:a' is no filter: a filter has field"),
        ({"or": [LEAF], "and": [LEAF]}, "where: 'and' does not stand alone"),
        ({"or": [LEAF], "field": "x"}, "where: 'or' does not stand alone"),
        ({"xor": [LEAF]}, "where: 'xor' is unknown: a filter has field, operator and value"),
        ({"field": 5, "value": 1}, "where: expected the name of a field"),
        (LEAF | {"operator": "~"}, "where: expected one of : = != > >= < <= as operator"),
        (LEAF | {"operator": [":"]}, "where: expected one of"),
        ({"field": "width"}, "where.value: expected a text, a number, true or false, or a list"),
        (LEAF | {"value": {"a": 1}}, "where.value: expected a text"),
        (LEAF | {"value": [[1]]}, "where.value: expected a text"),
        (LEAF | {"value": 10**5000}, "where.value: expected a text"),
        (LEAF | {"value": []}, "where width:: the value is missing"),
        (LEAF | {"value": " "}, "where width:: the value is missing"),
        (LEAF | {"value": "x" * 2001}, "where.value has 2,001 characters"),
        (LEAF | {"value": "\udcff"}, "where.value is not valid Unicode"),
        ({"field": "tag", "value": ["x" * 500] * 5}, "where has 2,509 characters"),
        (LEAF | {"value": list(range(101))}, "where: width has 101 alternatives, at most 100"),
        (LEAF | {"value": float("nan")}, "where width:nan: 'nan' is not a whole number"),
        ({"or": [LEAF] * 33}, "more than 32 filters are given, at most 32 are taken"),
        ({"or": [LEAF, LEAF | {"value": "wide"}]}, "where.or[1] width:wide: 'wide' is not a whole"),
        (
            {"not": {"field": "camra", "value": "a"}},
            "where.not camra:a: this library has no field 'camra'; did you mean camera:a?",
        ),
        (
            {"and": [{"field": "like", "value": "x"}]},
            "where.and[0] like:x: a picture is no filter",
        ),
        (nested(MAX_DEPTH + 1), "filters are nested more than 16 deep"),
        (nested(5_000), "filters are nested more than 16 deep"),
    ],
)
def test_a_mistake_in_a_mapping_is_named(tree: Where, message: str) -> None:
    with pytest.raises(QueryError) as caught:
        where(tree)
    assert message in str(caught.value)


# Any at all

VALUE = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["or", "and", "not", "(", ")", "a (b) or c", 'a"b', "2019..2021", "*", "-5"]),
    st.integers(-(2**63), 2**63),
    st.floats(),
    st.booleans(),
)
LEAVES = st.fixed_dictionaries(
    {
        "field": st.sampled_from([field.name for field in FIELDS] + ["has", "is", "near"]),
        "operator": st.sampled_from([":", "=", "!=", ">", ">=", "<", "<="]),
        "value": st.one_of(VALUE, st.lists(VALUE, min_size=1, max_size=3)),
    }
)
FITTING = st.one_of(
    st.builds(
        lambda field, op, value: {"field": field, "operator": op, "value": value},
        st.sampled_from(["camera", "tags", "photo date.v2", "event_name"]),
        st.sampled_from([":", "=", "!="]),
        st.one_of(st.text(min_size=1, max_size=12).filter(str.strip), VALUE.map(str)),
    ),
    st.builds(
        lambda op, value: {"field": "width", "operator": op, "value": value},
        st.sampled_from([":", "=", "!=", ">", ">=", "<", "<="]),
        st.integers(-5, 5),
    ),
)
TREES = st.recursive(
    FITTING,
    lambda trees: st.one_of(
        st.builds(lambda tree: {"not": tree}, trees),
        st.builds(
            lambda word, several: {word: several},
            st.sampled_from(["and", "or"]),
            st.lists(trees, min_size=1, max_size=4),
        ),
    ),
    max_leaves=12,
)


@given(st.one_of(TREES, st.dictionaries(st.sampled_from(["and", "or"]), st.lists(LEAVES))))
def test_a_mapping_is_written_as_text_that_reads_back_as_the_same(tree: Any) -> None:
    try:
        filters = where(tree)
    except QueryError:
        return
    text = written(filters)
    assert in_text(text) == filters
    assert where(text) == filters
    assert where(*map(str, filters)) == filters
    assert parse(f"a dog or (a cat) {text}", FIELDS, today=TODAY).filters == filters


MARKS = st.sampled_from(
    [
        *("(", ")", " (", ") ", " or ", " and ", " not ", "-(", "or", "and", "not", " ", "-"),
        *("tag:a", "camera:b", "width>5", "width:1", "dog", '"a b"', "camra:x", "like:y", "tag="),
        *("has:tag", "()", '"', ",", "taken:2019", "near:1,2", "not = 5", '"event name":x'),
    ]
)
TEXTS = st.lists(MARKS, max_size=25).map("".join)


@given(TEXTS)
def test_any_text_with_groups_reads_back_or_is_refused_in_words(text: str) -> None:
    try:
        request = parse(text, FIELDS, today=TODAY)
    except QueryError:
        return
    assert parse(str(request), FIELDS, today=TODAY) == request


@given(TEXTS)
def test_any_where_with_groups_reads_back_or_is_refused_in_words(text: str) -> None:
    try:
        filters = where(text)
    except QueryError:
        return
    assert in_text(written(filters)) == filters
    assert where(written(filters)) == filters
