"""Every documented filter finds the same in the text, after --where, in Python and in evaluation,
and what plain Python says it should; over a real library."""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from scenesearch.commands.app import app
from scenesearch.home.installation import Installation
from scenesearch.home.saved_collections import read_collections, save_request
from scenesearch.home.settings import Settings
from scenesearch.notebook import Library, open_library
from scenesearch.search.filtering import conditions_in
from scenesearch.search.grammar import parse_where
from scenesearch.search.request import QueryError
from scenesearch.store.base import CollectionSpec, Point
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import BUILTIN_FIELDS, PayloadField
from tests.conftest import ColourEncoder
from tests.unit.test_search_docs import PAGE
from tests.unit.test_search_docs import here as here  # these tests' fixtures
from tests.unit.test_search_docs import world as world

Payload = Mapping[str, Any]
Passes = Callable[[Payload], bool]
Form = tuple[str, Passes]

PICTURES: dict[str, Payload] = {
    "2019/a.jpg": {
        "camera": "Canon EOS 5D",
        "tags": ["sea", "boat"],
        "taken": "2019-05-31T18:00:30Z",
        "width": 640,
        "rating": 4.5,
        "print": True,
        "captions": ["a red boat at sea"],
        "location": {"lat": 55.75, "lon": 37.62},
        "event_name": "summer fair",
    },
    "2019/b.jpg": {
        "camera": "Canon PowerShot",
        "tags": ["sea lion"],
        "taken": "2020-07-01T08:00:00Z",
        "width": 800,
        "rating": 3.0,
        "print": False,
        "captions": ["a red house"],
        "location": {"lat": 55.9, "lon": 37.5},
        "event_name": 'at 10:30, "late"',
    },
    "2020/may/c.jpg": {
        "camera": "Nikon D90",
        "tags": ["salt and pepper", "boat"],
        "taken": "2021-01-05T12:00:00Z",
        "width": 2000,
        "rating": -1.0,
        "location": {"lat": -33.9, "lon": 18.4},
        "event_name": "width:>5",
    },
    "2020/d.jpg": {"camera": "CANON", "width": 2001, "print": True, "event_name": "a, b and c"},
    "2020/e.jpg": {"taken": "1995-12-24T00:00:00Z", "captions": ["boats"], "width": 640},
    "f.jpg": {},
}
FIELDS = (
    *(
        field
        for field in BUILTIN_FIELDS
        if field.name
        in {"image_id", "folder", "taken", "camera", "location", "tags", "captions", "width"}
        | {"rating"}
    ),
    PayloadField("print", "boolean", "Print"),
    PayloadField("event_name", "keyword", "Event name"),
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    folder = tmp_path_factory.mktemp("grammar")
    encoder = ColourEncoder()
    store = EdgeStore(folder / "edge")
    info = encoder.info
    spec = CollectionSpec("photos", info.name, info.fingerprint, info.dimension, FIELDS)
    store.create_collection("photos-colour-1", spec)
    store.set_alias("photos", "photos-colour-1")
    vectors = encoder.encode_texts(["red"] * len(PICTURES)).astype(np.float32)
    store.upsert(
        "photos",
        [
            Point(image_id, vector, {"path": f"/pictures/{image_id}", **whole(image_id)})
            for vector, image_id in zip(vectors, PICTURES, strict=True)
        ],
    )
    with Library(Installation(Settings(data_dir=folder)), "photos", store, encoder) as opened:
        yield opened


def whole(image_id: str) -> Payload:
    parts = image_id.split("/")[:-1]
    folders = ["/".join(parts[: n + 1]) for n in range(len(parts))] or ["."]
    return {"image_id": image_id, "folder": folders, **PICTURES[image_id]}


# --- what each form means, in plain Python ------------------------------------------------------


def values_of(payload: Payload, name: str) -> list[Any]:
    value = payload.get(name)
    return value if isinstance(value, list) else [] if value is None else [value]


def all_values(name: str) -> list[str]:
    return sorted({value for i in PICTURES for value in values_of(whole(i), name)})


def quoted(value: str) -> str:
    doubled = value.replace('"', '""')
    return f'"{doubled}"'


def named(name: str, *others: str) -> st.SearchStrategy[str]:
    """The field's name in the ways it may be written."""
    ways = [name, name.upper(), *others]
    ways += [name.replace("_", "-"), quoted(name.replace("_", " "))] if "_" in name else []
    return st.sampled_from([*ways, quoted(name)])


def has(name: str, fits: Callable[[Any], bool]) -> Passes:
    return lambda payload: any(fits(value) for value in values_of(payload, name))


def meant(name: str, word: str) -> set[str]:
    """The values that FIELD:word means: those with the word, else those that hold it."""
    shape = re.compile(rf"(?<!\w){re.escape(word.casefold())}(?!\w)")
    values = all_values(name)
    found = {value for value in values if shape.search(value.casefold())}
    return found or {value for value in values if word.casefold() in value.casefold()}


@st.composite
def keyword(draw: st.DrawFn) -> Form:
    name = draw(st.sampled_from(["camera", "tags", "event_name", "folder"]))
    written = draw(named(name, *(["tag"] if name == "tags" else [])))
    values = draw(st.lists(st.sampled_from([*all_values(name), "none"]), min_size=1, max_size=3))
    listed = ",".join(map(quoted, values))
    match draw(st.sampled_from(["=", "!=", ":", "word", "star"])):
        case "=":
            return f"{written}={listed}", has(name, lambda value: value in values)
        case "!=":
            among = has(name, lambda value: value in values)
            return f"{written}!={listed}", lambda payload: not among(payload)
        case ":":
            wanted = set().union(*(meant(name, value) for value in values))
            return f"{written}:{listed}", has(name, lambda value: value in wanted)
        case "word":
            word = draw(st.sampled_from(["canon", "nikon", "5d", "sea", "boat", "fair", "late"]))
            wanted = meant(name, word)
            return f"{written}:{word}", has(name, lambda value: value in wanted)
        case _:
            begin = values[0].casefold()[: draw(st.integers(1, 4))].rstrip()
            end = quoted(begin)
            return f"{written}:{end}*", has(name, lambda value: value.casefold().startswith(begin))
    raise AssertionError


@st.composite
def number(draw: st.DrawFn) -> Form:
    name, values = draw(
        st.sampled_from(
            [("width", [639, 640, 641, 800, 2000, 2001]), ("rating", [-1, -1.5, 3, 4.5, 4.6, 5])]
        )
    )
    written = draw(named(name))
    return draw(compared(written, name, st.sampled_from(values), str, lambda text: (text, text)))


def compared(
    written: str,
    name: str,
    values: st.SearchStrategy[Any],
    write: Callable[[Any], str],
    ends: Callable[[Any], tuple[Any, Any]],
    read: Callable[[Any], Any] = lambda value: value,
) -> st.SearchStrategy[Form]:
    """The forms of what has an order; `ends` are the first and the last that a value names."""

    @st.composite
    def drawn(draw: st.DrawFn) -> Form:
        first, last = sorted((draw(values), draw(values)), key=lambda value: ends(value))
        (low, low_end), (high, high_end) = ends(first), ends(last)
        colon = draw(st.sampled_from(["", ":"]))
        forms: dict[str, tuple[str, Callable[[Any], bool]]] = {
            ">": (f"{written}{colon}>{write(first)}", lambda v: read(v) > low_end),
            ">=": (f"{written}{colon}>={write(first)}", lambda v: read(v) >= low),
            "<": (f"{written}{colon}<{write(first)}", lambda v: read(v) < low),
            "<=": (f"{written}{colon}<={write(first)}", lambda v: read(v) <= low_end),
            "is": (f"{written}:{write(first)}", lambda v: low <= read(v) <= low_end),
            "=": (f"{written}={write(first)}", lambda v: low <= read(v) <= low_end),
            "..": (
                f"{written}:{write(first)}..{write(last)}",
                lambda v: low <= read(v) <= high_end,
            ),
            "from": (f"{written}:{write(first)}..", lambda v: low <= read(v)),
            "to": (f"{written}:..{write(last)}", lambda v: read(v) <= high_end),
            "or": (
                f"{written}:{write(first)},{write(last)}",
                lambda v: low <= read(v) <= low_end or high <= read(v) <= high_end,
            ),
        }
        text, fits = forms[draw(st.sampled_from(sorted(forms)))]
        return text, has(name, fits)

    return drawn()


# What is written -> its first and last moment.
PERIODS = {
    "2019": ("2019-01-01", "2019-12-31T23:59:59"),
    "2019-05": ("2019-05-01", "2019-05-31T23:59:59"),
    "2019-05-31": ("2019-05-31", "2019-05-31T23:59:59"),
    "2019-05-31T18:00": ("2019-05-31T18:00", "2019-05-31T18:00:59"),
    '"2019-05-31 18:00"': ("2019-05-31T18:00", "2019-05-31T18:00:59"),
    "20210105": ("2021-01-05", "2021-01-05T23:59:59"),
    "2019-W22": ("2019-05-27", "2019-06-02T23:59:59"),
    "may-2019": ("2019-05-01", "2019-05-31T23:59:59"),
    '"summer 2020"': ("2020-06-01", "2020-08-31T23:59:59"),
    "31-may-2019": ("2019-05-31", "2019-05-31T23:59:59"),
    "1990s": ("1990-01-01", "1999-12-31T23:59:59"),
    "winter_2020": ("2020-12-01", "2021-02-28T23:59:59"),
}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.removesuffix("Z"))


taken = compared(
    "taken",
    "taken",
    st.sampled_from(sorted(PERIODS)),
    str,
    lambda text: (moment(PERIODS[text][0]), moment(PERIODS[text][1])),
    moment,
)


@st.composite
def boolean(draw: st.DrawFn) -> Form:
    text, value = draw(
        st.sampled_from([("yes", True), ("no", False), ("true", True), ("FALSE", False), ("1", 1)])
    )
    op = draw(st.sampled_from([":", "=", "!="]))
    among = has("print", lambda found: found == value)
    return f"print{op}{text}", (lambda payload: not among(payload)) if op == "!=" else among


@st.composite
def caption(draw: st.DrawFn) -> Form:
    texts = draw(st.lists(st.sampled_from(["red", "boat", "red boat", "house"]), min_size=1))[:3]
    written = draw(named("captions", "caption"))

    def fits(value: str) -> bool:
        return any(set(text.split()) <= set(value.split()) for text in texts)

    return f"{written}:{','.join(map(quoted, texts))}", has("captions", fits)


@st.composite
def present(draw: st.DrawFn) -> Form:
    names = draw(
        st.lists(
            st.sampled_from(["camera", "tag", "caption", "taken", '"event name"', "Print"]),
            min_size=1,
            max_size=3,
        )
    )
    keys = [
        {"tag": "tags", "caption": "captions", '"event name"': "event_name", "Print": "print"}.get(
            name, name
        )
        for name in names
    ]
    return (
        f"has:{','.join(names)}",
        lambda payload: (
            any(payload.get(key) for key in keys)
            or (any(payload.get(key) is False for key in keys))
        ),
    )


@st.composite
def near(draw: st.DrawFn) -> Form:
    radius, metres = draw(
        st.sampled_from([(",50km", 50_000), (",300m", 300), ("", 10_000), (",12000km", 12e6)])
    )
    written = draw(st.sampled_from(["near:55.75,37.62", "location:55.75,37.62"]))
    if draw(st.booleans()):  # a list of numbers may be quoted whole
        name, _, place = f"{written}{radius}".partition(":")
        written, radius = f"{name}:{quoted(place.replace(',', ', '))}", ""

    def fits(place: Mapping[str, float]) -> bool:
        a, b = math.radians(place["lat"]), math.radians(55.75)
        delta = math.radians(place["lon"] - 37.62)
        cosine = math.sin(a) * math.sin(b) + math.cos(a) * math.cos(b) * math.cos(delta)
        return 6_371_000 * math.acos(min(1.0, cosine)) <= metres

    return f"{written}{radius}", has("location", fits)


@st.composite
def forms(draw: st.DrawFn) -> Form:
    text, passes = draw(
        st.one_of(keyword(), number(), taken, boolean(), caption(), present(), near())
    )
    if draw(st.booleans()):
        return f"-{text}", lambda payload: not passes(payload)
    return text, passes


def ids(answer: Any) -> set[str]:
    return {hit.image_id for hit in answer.hits}


def found_by(library: Library, text: str) -> dict[str, set[str]]:
    """What each way of asking finds."""
    filters = parse_where([text], library.fields)
    conditions, _ = conditions_in(library.searcher._store, "photos", filters)
    scrolled = library.searcher._store.scroll("photos", where=conditions)
    browsed = {"collapse": False, "k": 50}
    return {
        "the text": ids(library.search(text, **browsed)),
        "the text beside words": ids(library.search(f"red {text}", min_relevance=0, **browsed)),
        "where=": ids(library.search(where=text, **browsed)),
        "where= beside words": ids(library.search("red", where=[text], min_relevance=0, **browsed)),
        "the page's box": ids(library.searcher.search(library.searcher.parse(text), k=50)),
        "its written form": ids(library.search(where=" ".join(map(str, filters)), **browsed)),
        "evaluation": {point.image_id for point in scrolled},
    }


@pytest.mark.slow
@given(form=forms())
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_every_form_finds_the_same_wherever_it_is_written(library: Library, form: Form) -> None:
    text, passes = form
    expected = {image_id for image_id in PICTURES if passes(whole(image_id))}
    for way, found in found_by(library, text).items():
        assert found == expected, (way, text)


@given(two=st.tuples(forms(), forms()), joint=st.sampled_from([" ", " and ", "  AND "]))
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_two_filters_of_where_are_both_asked_for(
    library: Library, two: tuple[Form, Form], joint: str
) -> None:
    (first, passes), (second, passes_too) = two
    expected = {i for i in PICTURES if passes(whole(i)) and passes_too(whole(i))}
    assert ids(library.search(where=f"{first}{joint}{second}", k=50)) == expected
    assert ids(library.search(where=[first, second], k=50)) == expected
    assert ids(library.search(f"{first} {second}", k=50)) == expected


def negated(form: Form) -> Form:
    text, passes = form
    return f"not ({text})", lambda payload: not passes(payload)


def both(forms: tuple[Form, Form]) -> Form:
    (first, passes), (second, passes_too) = forms
    return f"({first} {second})", lambda payload: passes(payload) and passes_too(payload)


def either(forms: list[Form]) -> Form:
    texts, all_pass = zip(*forms, strict=True)
    return (
        f"-(-({' or '.join(texts)}))",
        lambda payload: any(passes(payload) for passes in all_pass),
    )


nested = st.recursive(
    forms(),
    lambda inner: st.one_of(
        inner.map(negated),
        st.tuples(inner, inner).map(both),
        st.lists(inner, min_size=1, max_size=3).map(either),
    ),
    max_leaves=8,
)


@pytest.mark.slow
@given(form=nested)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_nested_filters_find_what_plain_python_finds(library: Library, form: Form) -> None:
    text, passes = form
    expected = {image_id for image_id in PICTURES if passes(whole(image_id))}
    for way, found in found_by(library, text).items():
        assert found == expected, (way, text)


@given(three=st.tuples(forms(), forms(), forms()), joint=st.sampled_from([" ", " and "]))
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_and_binds_tighter_than_or(
    library: Library, three: tuple[Form, Form, Form], joint: str
) -> None:
    (first, one), (second, two), (third, three_) = three
    text = f"{first} or {second}{joint}{third}"
    expected = {
        image_id
        for image_id in PICTURES
        if one(whole(image_id)) or (two(whole(image_id)) and three_(whole(image_id)))
    }
    for way, found in found_by(library, text).items():
        assert found == expected, (way, text)


def test_facets_are_counted_among_what_a_group_passes(library: Library) -> None:
    answer = library.search("(camera:canon or tags:boat) -print:no", facets=("camera", "tags"))
    assert ids(answer) == {"2019/a.jpg", "2020/may/c.jpg", "2020/d.jpg"}
    assert dict(answer.facets["camera"]) == {"Canon EOS 5D": 1, "Nikon D90": 1, "CANON": 1}
    assert dict(answer.facets["tags"]) == {"boat": 2, "sea": 1, "salt and pepper": 1}
    assert library.searcher.count(answer.request) == 3


def test_a_group_that_no_picture_passes_is_named(library: Library) -> None:
    answer = library.search("red (width:>9000 or camera:leica)", min_relevance=0)
    assert answer.notices == (
        "camera:leica: no picture has such a value",
        "(width:>9000 or camera:leica): no picture of this library passes it",
    )
    answer = library.search("(camera:canon or camera:nikon) (rating:5 or folder=nowhere)")
    assert answer.notices[-1] == (
        "(rating:5 or folder=nowhere): no picture of this library passes it"
    )
    answer = library.search("-(width:>0 or -width:>0)")
    assert answer.notices == (
        "-(width:>0 or -width:>0): every picture of this library is left out",
    )
    answer = library.search("-(has:image_id has:folder)")
    assert answer.notices == (
        "-(has:image_id has:folder): every picture of this library is left out",
    )


def test_mappings_are_filters_in_python(library: Library) -> None:
    canon = {"field": "camera", "value": "canon"}
    either = {"or": [canon, {"field": "tag", "operator": "=", "value": "salt and pepper"}]}
    expected = {"2019/a.jpg", "2019/b.jpg", "2020/may/c.jpg", "2020/d.jpg"}
    assert ids(library.search(where=either)) == expected
    assert ids(library.search(where=[either, "-camera:nikon"])) == expected - {"2020/may/c.jpg"}
    assert ids(library.search(where={"not": either})) == set(PICTURES) - expected
    with pytest.raises(QueryError, match=r"^where\.or\[0\] camra:x: this library has no field"):
        library.search(where={"or": [{"field": "camra", "value": "x"}]})


@pytest.mark.parametrize(
    ("spaced", "plain"),
    [
        ("camera = Canon EOS 5D", 'camera="Canon EOS 5D"'),
        ("camera: canon eos", 'camera:"canon eos"'),
        ("event name:fair", None),
        ('"event name" : summer fair', 'event_name:"summer fair"'),
        ("width : > 700", "width:>700"),
        ("width >= 700 and width<=2000", "width:700..2000"),
        ("- width:640", "-width:640"),
        ("tags=boat - camera:nikon", "tags=boat -camera:nikon"),
        ("+width:640", "width:640"),
        ("taken:summer 2020", "taken:summer-2020"),
        ("taken > may 2019", "taken:>may-2019"),
        ("near:55.75, 37.62, 50 km", "near:55.75,37.62,50km"),
        ("tags in sea, boat", "tags=sea,boat"),
        ("tags in salt and pepper and width>1", 'tags="salt and pepper" width:>1'),
        ("like:a.jpg", None),
        ("has:event name, caption", 'has:"event name",caption'),
    ],
)
def test_where_takes_blanks_around_what_the_text_takes_without(
    library: Library, spaced: str, plain: str | None
) -> None:
    if plain is None:
        with pytest.raises(Exception, match=f"^--where {re.escape(spaced)}: "):
            library.search(where=spaced)
        return
    assert ids(library.search(where=spaced)) == ids(library.search(plain)) != set()


def test_a_saved_request_is_asked_again_as_it_was(library: Library, tmp_path: Path) -> None:
    text = 'red -camera:nikon "event name":"at 10:30, ""late""" width:>100 taken:2019..'
    text += " -camera=none" * 25 + f" -tag:{'x' * 1_200}"  # a long one is not cut
    save_request(tmp_path / "saved.json", text)
    (kept,) = [one.request for one in read_collections(tmp_path / "saved.json")]
    assert ids(library.search(kept, min_relevance=0)) == {"2019/b.jpg"}
    assert library.request(kept) == library.request(text)


# --- the command, over the library of docs/search.md ---------------------------------------------

(TABLE,) = re.findall(r"^\| filter \| passes \|\n(.*?)\n\n", PAGE, re.MULTILINE | re.DOTALL)
DOCUMENTED = [
    form
    for row in TABLE.splitlines()[1:]
    for form in re.findall(r"`([^`]+)`", row[: row.index(" | ", 2)])
]


def test_the_table_of_the_documentation_is_read() -> None:
    assert len(DOCUMENTED) > 25
    assert {"camera!=Canon", "width:>2000", 'taken:"summer 2020"', "-has:tag"} <= set(DOCUMENTED)


def test_every_form_of_the_table_finds_the_same_after_where(here: Path) -> None:
    with open_library("photos") as library:
        for form in DOCUMENTED:
            in_text = ids(library.search(form, collapse=False))
            assert ids(library.search(where=form, collapse=False)) == in_text, form
            found = library.search("dog", where=form, collapse=False, min_relevance=0)
            assert ids(found) == in_text, form


@pytest.mark.parametrize("form", ["width:>100", "taken:>2019", '"camera":canon'])
def test_the_command_takes_in_where_what_it_takes_in_the_text(here: Path, form: str) -> None:
    def found(*words: str) -> list[str]:
        result = CliRunner().invoke(app, ["search", "--all", "--json", *words])
        return [hit["image_id"] for hit in json.loads(result.stdout)["hits"]]

    assert found("dog", "--where", form) == found(f"dog {form}") != []
