"""A request over a real embedded store: vectors, exclusion, order, pages, duplicates, limits."""

import base64
import io
import json
import math
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from scenesearch.encoder.text_cache import TextEmbeddingCache
from scenesearch.search.background import Background, background_to_json
from scenesearch.search.filtering import conditions_in
from scenesearch.search.grammar import parse_where
from scenesearch.search.relevance import TrainingTexts, training_texts_to_json
from scenesearch.search.request import Like, Order, Phrase, QueryError, Request, Text, Upload
from scenesearch.search.searcher import MAX_UPLOAD_BYTES, UNMEASURED_CUT, Searcher
from scenesearch.search.vocabulary import COMMON, Vocabulary
from scenesearch.store.base import CollectionSpec, Point, StoreError
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import BUILTIN_FIELDS, PayloadField
from scenesearch.store.filters import Has, OneOf, Range
from tests.conftest import COLOURS, ColourEncoder

# Few, for each has an index to be made for every test.
USED = ("image_id", "folder", "taken", "camera", "location", "tags", "captions", "width")
FIELDS = (
    *(field for field in BUILTIN_FIELDS if field.name in USED),
    PayloadField("stars", "integer", "Stars"),
)


class Photos:
    """A library that is being filled, and the searcher over it."""

    def __init__(self, store: EdgeStore, encoder: ColourEncoder) -> None:
        info = encoder.info
        spec = CollectionSpec("photos", info.name, info.fingerprint, info.dimension, FIELDS)
        store.create_collection("photos-colour-1", spec)
        store.set_alias("photos", "photos-colour-1")
        self.store, self.encoder = store, encoder
        self.searcher = Searcher(encoder, store, "photos")

    def add(
        self, image_id: str, colour: tuple[int, int, int], payload: Mapping[str, Any] | None = None
    ) -> None:
        (vector,) = self.encoder.encode_images([Image.new("RGB", (8, 8), colour)])
        known = {"path": f"/pictures/{image_id}", "sha256": image_id, **(payload or {})}
        self.store.upsert("photos", [Point(image_id, vector, known)])

    def ids(self, request: Request | str, **options: Any) -> list[str]:
        return [hit.image_id for hit in self.searcher.search(request, **options).hits]


@pytest.fixture(scope="module")
def all_photos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Photos]:
    """One library for all tests: to make and open it takes longer than most of them."""
    with closing(EdgeStore(tmp_path_factory.mktemp("photos"))) as store:
        yield Photos(store, ColourEncoder())


@pytest.fixture
def photos(all_photos: Photos, colour_encoder: ColourEncoder) -> Photos:
    """A library without pictures."""
    store = all_photos.store
    store.delete("photos", [point.image_id for point in store.scroll("photos")])
    all_photos.encoder = colour_encoder
    all_photos.searcher = Searcher(colour_encoder, store, "photos")
    return all_photos


def reds(photos: Photos, count: int, *, first: int = 0, **payload: Any) -> list[str]:
    """Pictures ever less red; returns their names in that order."""
    names = [f"red-{number:02}.jpg" for number in range(first, first + count)]
    for number, name in enumerate(names, start=first):
        photos.add(name, (220, 30 + 2 * number, 30 + 2 * number), payload)
    return names


def png(colour: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


# What is asked


def test_words_find_the_nearest_first(photos: Photos) -> None:
    for name, colour in COLOURS.items():
        photos.add(f"{name}.jpg", colour)
    assert photos.ids("a red boat", k=1) == ["red.jpg"]
    hit = photos.searcher.search("a red boat", k=1).hits[0]
    assert (hit.rank, hit.path, hit.band) == (1, "/pictures/red.jpg", "strong")
    assert hit.relevance == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-3)  # cosine 1: 12 - 9


def test_a_mixture_finds_what_both_of_its_parts_show(photos: Photos) -> None:
    photos.add("red.jpg", COLOURS["red"])
    photos.add("blue.jpg", COLOURS["blue"])
    photos.add("purple.jpg", (125, 45, 125))
    assert photos.ids("red + blue", k=1) == ["purple.jpg"]
    assert photos.ids('"red boat" + like:blue', k=1) == ["purple.jpg"]


def test_a_weight_moves_the_answer_towards_its_part(photos: Photos) -> None:
    photos.add("reddish.jpg", (170, 40, 90))
    photos.add("bluish.jpg", (90, 40, 170))
    assert photos.ids("red^3 + blue", k=1) == ["reddish.jpg"]
    assert photos.ids("red + blue^3", k=1) == ["bluish.jpg"]
    assert photos.ids("red^3 blue", k=1) == ["reddish.jpg"]


def test_what_is_subtracted_is_left_out_and_counted(photos: Photos) -> None:
    photos.add("yellow.jpg", COLOURS["yellow"])
    photos.add("red.jpg", COLOURS["red"])
    photos.add("green.jpg", COLOURS["green"])
    answer = photos.searcher.search("yellow - green")
    assert [hit.image_id for hit in answer.hits] == ["yellow.jpg", "red.jpg"]
    assert answer.excluded == 1
    assert photos.ids("-green", k=5) == ["red.jpg", "yellow.jpg"]


def test_a_picture_of_the_library_asks_and_is_not_its_own_answer(photos: Photos) -> None:
    reds(photos, 3)
    photos.add("trip/IMG_12.jpg", (220, 30, 33))
    for name in ("trip/IMG_12.jpg", "IMG_12.jpg", "img_12"):
        assert photos.ids(f"like:{name}", k=1) == ["red-01.jpg"]
    assert "trip/IMG_12.jpg" not in photos.ids("like:IMG_12", k=10)


def test_a_name_may_be_written_in_another_form_of_unicode(photos: Photos) -> None:
    reds(photos, 2)
    photos.add("trip/e\u0301te\u0301 a\u0300 la plage.jpg", (220, 30, 33))
    for name in ("\u00e9t\u00e9 \u00e0 la plage", "\u00c9T\u00c9 \u00c0 LA PLAGE.JPG"):
        assert photos.ids(f'like:"{name}"', k=1) == ["red-01.jpg"]


def test_a_name_that_may_be_two_pictures_is_asked_about(photos: Photos) -> None:
    photos.add("a/1.jpg", COLOURS["red"])
    photos.add("b/1.jpg", COLOURS["red"])
    with pytest.raises(QueryError, match=r"like:1 may be 2 pictures: a/1.jpg, b/1.jpg"):
        photos.searcher.search("like:1")
    with pytest.raises(QueryError, match="like:zzz: library photos has no such picture"):
        photos.searcher.search("like:zzz")
    with pytest.raises(QueryError, match="cannot name a picture"):
        photos.searcher.search(Request((Like("\udcff"),)))


def test_the_picture_of_a_name_is_looked_for_once_and_again_when_it_is_gone(
    photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos.add("a/1.jpg", COLOURS["red"])
    photos.add("far.jpg", COLOURS["blue"])
    looked = []
    scroll = photos.store.scroll
    monkeypatch.setattr(
        photos.store, "scroll", lambda *a, **options: looked.append(a) or scroll(*a, **options)
    )
    assert [photos.searcher.image_id("1") for _ in range(3)] == ["a/1.jpg"] * 3
    assert len(looked) == 1
    photos.store.delete("photos", ["a/1.jpg"])
    photos.add("b/1.jpg", COLOURS["red"])
    assert photos.searcher.image_id("1") == "b/1.jpg"
    photos.add("1", COLOURS["red"])  # what is named so outright
    assert photos.searcher.image_id("1") == "1"


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("red", {"search": 1}),
        ("red width:10", {"search": 1}),
        ("like:a/1.jpg", {"retrieve": 1, "search": 1}),
        ("like:1", {"retrieve": 1, "search": 1}),
        ("like:1 like:2 snow", {"retrieve": 1, "search": 1}),
        ("red -like:5 like:2", {"retrieve": 1, "search": 2}),
    ],
)
def test_pictures_of_the_library_cost_one_retrieval_however_many_are_named(
    photos: Photos, monkeypatch: pytest.MonkeyPatch, text: str, calls: dict[str, int]
) -> None:
    for name in ("a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg"):
        photos.add(name, COLOURS["red"], {"width": 10})
    # Ends of ids are remembered, and whether the library is captioned.
    photos.add("c/5.jpg", COLOURS["blue"])
    photos.searcher.search("red like:1 like:2 like:5", k=1)
    counted: Counter[str] = Counter()

    def count(name: str) -> None:
        method = getattr(photos.store, name)

        def counting(*given: Any, **options: Any) -> Any:
            counted[name] += 1
            return method(*given, **options)

        monkeypatch.setattr(photos.store, name, counting)

    for name in ("search", "retrieve", "scroll", "count", "facet"):
        count(name)
    first = photos.searcher.search(text, k=1)
    assert counted == calls
    assert first.next is not None
    photos.searcher.search(text, k=1, after=first.next)
    assert counted == {name: 2 * times for name, times in calls.items()}


def test_an_uploaded_picture_asks(photos: Photos) -> None:
    photos.add("red.jpg", COLOURS["red"])
    photos.add("blue.jpg", COLOURS["blue"])
    assert photos.ids(Request((Upload(png(COLOURS["blue"])),)), k=1) == ["blue.jpg"]
    mixed = Request((Text((Phrase("red"),)), Upload(png(COLOURS["blue"]), weight=0.1)))
    assert photos.ids(mixed, k=1) == ["red.jpg"]


def test_text_is_never_read_as_a_path(photos: Photos, tmp_path: Any) -> None:
    photos.add("red.jpg", COLOURS["red"])
    file = tmp_path / "blue.png"
    file.write_bytes(png(COLOURS["blue"]))
    for text in (str(file), f"file://{file}", f"like:{file}", "http://127.0.0.1:9/a.jpg"):
        try:
            photos.searcher.search(text)
        except QueryError as error:
            assert "no such picture" in str(error)
    assert photos.encoder.encoded == 1  # the picture of the library alone


def test_parts_that_cancel_out_are_refused(photos: Photos) -> None:
    photos.add("red.jpg", COLOURS["red"])
    with pytest.raises(QueryError, match="takes away all"):
        photos.searcher.search("red - red^2")


# Filters


def test_filters_alone_list_what_passes_them(photos: Photos) -> None:
    photos.add("b.jpg", COLOURS["red"], {"camera": "Canon EOS 5D"})
    photos.add("a.jpg", COLOURS["blue"], {"camera": "Canon EOS 5D"})
    photos.add("c.jpg", COLOURS["red"], {"camera": "Nikon D90"})
    answer = photos.searcher.search("camera:canon")
    assert [hit.image_id for hit in answer.hits] == ["a.jpg", "b.jpg"]
    assert {(hit.score, hit.relevance, hit.band) for hit in answer.hits} == {(None, None, None)}
    assert photos.ids("-has:camera") == []


def test_filters_narrow_the_words_answer_and_notices_say_what_was_meant(photos: Photos) -> None:
    photos.add("b.jpg", COLOURS["red"], {"camera": "Canon EOS 5D"})
    photos.add("c.jpg", COLOURS["red"], {"camera": "Nikon D90"})
    assert photos.ids("red camera:CANON") == ["b.jpg"]
    answer = photos.searcher.search("red camera:cannon time: 10:30")
    assert answer.hits == ()
    assert answer.notices == (
        "time: was read as words: this library has no field 'time'",
        "camera:cannon: no picture has such a value; did you mean camera:canon?",
    )
    assert conditions_in(photos.store, "photos", answer_filters(photos, "camera:d90"))[0] == (
        OneOf("camera", ("Nikon D90",)),
    )


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("taken:2019", ["taken:2019: no picture of this library has a date"]),
        ("near:1,2,3km", ["location:1,2,3km: no picture of this library has a place"]),
        ("has:caption", ["has:captions: no picture of this library has captions"]),
        (
            "has:caption,taken",
            ["has:captions,taken: no picture of this library has captions or a date"],
        ),
        ("camera:canon", ["camera:canon: no picture of this library has a camera"]),
        ("camera=Canon", ["camera=Canon: no picture of this library has a camera"]),
        ("width:>900", ["width:>900: no picture of this library passes it"]),
        ("-has:width", ["-has:width: every picture of this library has a width"]),
        ("-width:1..", ["-width:1..: every picture of this library is left out"]),
        ("tag:see", ["tags:see: no picture has such a value; did you mean tags:sea?"]),
        ("tags=see", ["tags=see: no picture of this library passes it"]),
        ("stars:5", ["stars:5: no picture of this library has a value of stars"]),
        (
            "red width:>900 taken:2019 has:tag",
            [
                "width:>900: no picture of this library passes it",
                "taken:2019: no picture of this library has a date",
            ],
        ),
        ("width:<20 tag=sea", ["no picture of this library passes all of width:<20, tags=sea"]),
    ],
)
def test_filters_that_leave_nothing_are_named(
    photos: Photos, text: str, reasons: list[str]
) -> None:
    photos.add("a.jpg", COLOURS["red"], {"width": 10})
    photos.add("b.jpg", COLOURS["red"], {"width": 20, "tags": ["sea"]})
    for asked in (text, f"{text} red"):
        answer = photos.searcher.search(asked)
        assert answer.hits == answer.partial == ()
        assert list(answer.notices) == reasons
    filters = parse_where([text.removeprefix("red ")], FIELDS)
    assert list(conditions_in(photos.store, "photos", filters)[1]) == reasons


def test_filters_that_somebody_chose_are_named_by_their_labels(photos: Photos) -> None:
    photos.add("a.jpg", COLOURS["red"], {"width": 10})
    where = (Range("width", above=10), Has("width"))
    expected = ["Width: no picture of this library passes it"]
    assert photos.searcher.passed_by_none(where) == expected
    assert list(photos.searcher.search("red", where=where).notices) == expected
    assert photos.searcher.passed_by_none((Has("width"),)) == []


def test_no_filter_is_blamed_where_words_or_subtraction_leave_nothing(photos: Photos) -> None:
    photos.add("a.jpg", COLOURS["red"], {"width": 10})
    assert photos.searcher.search("blue width:10", min_relevance=0.9).notices == ()
    answer = photos.searcher.search("-red width:10")
    assert (answer.hits, answer.excluded, answer.notices) == ((), 1, ())


def test_filters_are_counted_only_where_nothing_is_found(
    photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos.add("a.jpg", COLOURS["red"], {"width": 10, "captions": ["red"]})
    photos.searcher.search("red width:10")
    monkeypatch.setattr(EdgeStore, "count", lambda *_, **__: pytest.fail("counted"))
    assert photos.searcher.search("red width:10").hits


def answer_filters(photos: Photos, text: str) -> Any:
    return photos.searcher.parse(text).filters


MARKS = st.sampled_from(
    [
        *'+-"^:=,.*<>! \0é',
        *(
            "..",
            "^2",
            " - ",
            " + ",
            "red ",
            "like:",
            "a.jpg ",
            "canon",
            "2019",
            "99999999999999999999",
        ),
        *(
            "has:",
            "camera:",
            "tag:",
            "taken:",
            "width:",
            "near:",
            "1,2,3km ",
            "folder:",
            "caption:",
        ),
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(max_size=40), st.lists(MARKS, max_size=15).map("".join)))
def test_any_text_is_answered_or_refused_in_words(photos: Photos, text: str) -> None:
    if not photos.store.count("photos"):
        photos.add("a.jpg", COLOURS["red"], {"camera": "Canon", "tags": ["sea"], "width": 5})
    with suppress(QueryError, StoreError):
        photos.searcher.search(text, collapse=True, facets=("tags",))


# Order and cut


def test_less_relevant_ones_are_left_out_and_nothing_is_said_with_the_nearest(
    photos: Photos,
) -> None:
    photos.add("blue.jpg", COLOURS["blue"])
    photos.add("black.jpg", COLOURS["black"])
    answer = photos.searcher.search("yellow", min_relevance=0.2)
    assert answer.hits == ()
    assert [hit.image_id for hit in answer.partial] == ["black.jpg", "blue.jpg"]
    assert answer.nearest == answer.partial[0]
    assert {hit.band for hit in answer.partial} == {"weak"}
    assert len(photos.ids("yellow", min_relevance=0)) == 2


def test_a_sorted_answer_holds_the_relevant_alone_those_without_a_value_last(
    photos: Photos,
) -> None:
    for name, taken in (("old", "2019-01-01T00:00:00Z"), ("new", "2021-01-01T00:00:00Z")):
        photos.add(f"{name}.jpg", COLOURS["red"], {"taken": taken})
    photos.add("undated.jpg", COLOURS["red"])
    photos.add("blue.jpg", COLOURS["blue"], {"taken": "2020-01-01T00:00:00Z"})
    ascending = photos.ids("red", sort=Order("taken"), min_relevance=0.2)
    assert ascending == ["old.jpg", "new.jpg", "undated.jpg"]
    descending = photos.ids("red", sort=Order("taken", descending=True), min_relevance=0.2)
    assert descending == ["new.jpg", "old.jpg", "undated.jpg"]


@pytest.mark.parametrize(
    ("field", "values", "order"),
    [
        ("stars", [3, None, 1], ["2", "0", "1"]),
        ("camera", ["b", "ab", "a"], ["2", "1", "0"]),
        ("tags", [["z"], ["m", "a"], []], ["1", "0", "2"]),
    ],
)
def test_numbers_names_and_lists_have_an_order(
    photos: Photos, field: str, values: list[Any], order: list[str]
) -> None:
    for number, value in enumerate(values):
        photos.add(str(number), COLOURS["red"], {} if value is None else {field: value})
    assert photos.ids("red", sort=Order(field)) == order
    missing = [name for name in order if values[int(name)] in (None, [])]
    with_value = [name for name in order if name not in missing]
    assert photos.ids("red", sort=Order(field, descending=True)) == [*with_value[::-1], *missing]


# Pages


@pytest.mark.parametrize("sort", [None, Order("stars"), Order("stars", descending=True)])
def test_pages_of_cursors_join_without_gap_or_repeat_while_pictures_are_added(
    photos: Photos, sort: Order | None
) -> None:
    names = reds(photos, 12)
    for number, name in enumerate(names):  # in another order than that of relevance
        vector = photos.store.retrieve("photos", [name], with_vectors=True)[name].vector
        payload = {"path": name, "stars": number * 7 % 12}
        photos.store.upsert("photos", [Point(name, vector, payload)])
    whole = photos.ids("red", k=12, sort=sort)
    seen: list[str] = []
    cursor = None
    for page in range(4):
        answer = photos.searcher.search("red", k=3, after=cursor, sort=sort)
        seen += [hit.image_id for hit in answer.hits]
        assert [hit.rank for hit in answer.hits] == [page * 3 + place for place in (1, 2, 3)]
        cursor = answer.next
        # A redder one and one that comes first by stars: both belong before the cursor.
        stars = 99 if sort and sort.descending else -1
        photos.add(f"added-{page}.jpg", (220, 29, 29), {"stars": stars})
    assert seen == whole
    assert sorted(seen) == names
    assert cursor is None or photos.ids("red", k=3, after=cursor, sort=sort) == []


def test_offsets_page_too(photos: Photos) -> None:
    names = reds(photos, 7)
    assert photos.ids("red", k=3, offset=3) == names[3:6]
    assert photos.searcher.search("red", k=3, offset=6).next is None
    assert [hit.rank for hit in photos.searcher.search("red", k=2, offset=3).hits] == [4, 5]


def test_a_page_goes_on_where_its_last_hit_was_though_it_has_been_removed(photos: Photos) -> None:
    names = reds(photos, 6)
    cursor = photos.searcher.search("red", k=2).next
    photos.store.delete("photos", [names[1]])
    assert photos.ids("red", k=2, after=cursor) == names[2:4]


def test_a_cursor_fits_its_own_request_alone(photos: Photos) -> None:
    reds(photos, 4)
    cursor = photos.searcher.search("red", k=2).next
    with pytest.raises(QueryError, match="belongs to another request"):
        photos.searcher.search("a red boat", k=2, after=cursor)
    for damaged in ("", "x", "bm9uZQ==", "W10="):
        with pytest.raises(QueryError, match="cursor of the next page is damaged"):
            photos.searcher.search("red", k=2, after=damaged)
    ordered = Order("image_id")
    cursor = photos.searcher.search("red", k=2, sort=ordered).next
    identity, seen, *_ = json.loads(base64.urlsafe_b64decode(cursor or ""))
    forged = base64.urlsafe_b64encode(json.dumps([identity, seen, "x", "y", "z"]).encode()).decode()
    with pytest.raises(QueryError, match="cursor of the next page is damaged"):
        photos.searcher.search("red", k=2, sort=ordered, after=forged)


# Copies

TELLING = "f0f0f0f00f0f0f0f"


def test_copies_become_one_hit_with_their_names(photos: Photos) -> None:
    photos.add("original.jpg", (220, 30, 30), {"sha256": "aa" * 32, "phash": TELLING})
    photos.add("same-bytes.jpg", (220, 30, 30), {"sha256": "aa" * 32, "phash": TELLING})
    photos.add("smaller.jpg", (219, 31, 30), {"sha256": "bb" * 32, "phash": "f0f0f0f00f0f0f0e"})
    photos.add("other.jpg", (218, 32, 30), {"sha256": "cc" * 32, "phash": "0f0f0f0ff0f0f0f0"})
    hits = photos.searcher.search("red", collapse=True).hits
    assert [(hit.image_id, hit.duplicates) for hit in hits] == [
        ("original.jpg", ("same-bytes.jpg", "smaller.jpg")),
        ("other.jpg", ()),
    ]
    assert len(photos.ids("red")) == 4


def test_pictures_without_a_look_and_unlike_ones_are_no_copies(photos: Photos) -> None:
    photos.add("plain-1.jpg", (220, 30, 30))
    photos.add("plain-2.jpg", (220, 31, 30), {"phash": None})
    photos.add("far-1.jpg", COLOURS["red"], {"phash": TELLING})
    photos.add("far-2.jpg", COLOURS["yellow"], {"phash": TELLING})
    photos.add("odd.jpg", COLOURS["red"], {"phash": "no hash"})
    assert len(photos.ids("red", collapse=True)) == 5


def test_a_page_is_filled_however_many_copies_there_are(photos: Photos) -> None:
    for number in range(60):
        photos.add(f"copy-{number:02}.jpg", (220, 30, 30), {"sha256": "aa" * 32})
    names = reds(photos, 3, first=1)
    first = photos.searcher.search("red", k=2, collapse=True)
    assert [(hit.image_id, len(hit.duplicates)) for hit in first.hits] == [
        ("copy-00.jpg", 59),
        (names[0], 0),
    ]
    assert photos.ids("red", k=2, collapse=True, after=first.next) == names[1:]


# Counts, diversity, words of the metadata


def test_facets_count_the_answer_not_the_library(photos: Photos) -> None:
    photos.add("1.jpg", COLOURS["red"], {"tags": ["sea", "sun"]})
    photos.add("2.jpg", COLOURS["red"], {"tags": ["sea"]})
    photos.add("3.jpg", COLOURS["blue"], {"tags": ["sea"]})
    answer = photos.searcher.search("red", min_relevance=0.5, facets=("tags",))
    assert answer.facets == {"tags": (("sea", 2), ("sun", 1))}
    everything = photos.searcher.search("red", min_relevance=0, facets=("tags",))
    assert everything.facets == {"tags": (("sea", 3), ("sun", 1))}
    with pytest.raises(QueryError, match="cannot be counted"):
        photos.searcher.search("red", facets=("location",))
    with pytest.raises(QueryError, match="no field 'tog'; did you mean tags"):
        photos.searcher.search("red", facets=("tog",))


def test_dates_are_counted_by_months_in_their_order(photos: Photos) -> None:
    for name, taken in (("1", "2019-12-31"), ("2", "2020-01-01"), ("3", "2020-01-31")):
        photos.add(f"{name}.jpg", COLOURS["red"], {"taken": f"{taken}T23:30:00Z"})
    photos.add("4.jpg", COLOURS["blue"], {"taken": "2020-02-01T00:00:00Z"})
    photos.add("5.jpg", COLOURS["red"])
    answer = photos.searcher.search("red", min_relevance=0.5, facets=("taken",))
    assert answer.facets == {"taken": (("2019-12", 1), ("2020-01", 2))}
    everything = photos.searcher.search("red", min_relevance=0, facets=("taken",))
    assert everything.facets == {"taken": (("2019-12", 1), ("2020-01", 2), ("2020-02", 1))}


@pytest.mark.parametrize("least", [0.0, 0.5])
def test_dates_of_more_than_eight_years_are_counted_by_years(photos: Photos, least: float) -> None:
    for name, taken in (("1", "1899-05-01"), ("2", "1899-07-01"), ("3", "2020-01-31")):
        photos.add(f"{name}.jpg", COLOURS["red"], {"taken": f"{taken}T12:00:00Z"})
    answer = photos.searcher.search("red", min_relevance=least, facets=("taken",))
    assert answer.facets == {"taken": (("1899", 2), ("2020", 1))}


def test_values_are_counted_without_an_answer_as_with_one(photos: Photos) -> None:
    photos.add("1.jpg", COLOURS["red"], {"tags": ["sea", "sun"], "camera": "Canon"})
    photos.add("2.jpg", COLOURS["red"], {"tags": ["sea"], "camera": "Nikon"})
    photos.add("3.jpg", COLOURS["blue"], {"tags": ["sea"], "camera": "Canon"})
    for text in ("red", "red camera:canon", "camera:canon", "-blue"):
        request = photos.searcher.parse(text)
        for options in ({"min_relevance": 0.5}, {"default_cut": True, "min_relevance": 0.0}):
            answer = photos.searcher.search(request, facets=("tags",), **options)
            counted, _ = photos.searcher.count_values(request, facets=("tags",), **options)
            assert counted == answer.facets, text


def test_a_diverse_answer_prefers_what_is_unlike_the_hits_before(photos: Photos) -> None:
    reds(photos, 5)
    photos.add("orange.jpg", (235, 120, 40))
    assert photos.ids("red", k=2) == ["red-00.jpg", "red-01.jpg"]
    assert photos.ids("red", k=2, diversity=0.7) == ["red-00.jpg", "orange.jpg"]


def test_hybrid_ranks_by_captions_too(photos: Photos) -> None:
    for number in range(5):
        photos.add(f"{number}.jpg", (220, 30 + number, 30))
    photos.add("far.jpg", COLOURS["yellow"], {"captions": ["a red zeppelin"]})
    assert photos.ids("red zeppelin", k=1, hybrid=True) == ["far.jpg"]
    assert photos.ids("red zeppelin", k=1) == ["0.jpg"]


def test_words_count_by_themselves_where_nearly_every_picture_has_a_caption(
    photos: Photos,
) -> None:
    reds(photos, 20, captions=["something red"])
    photos.add("second.jpg", (220, 31, 31), {"captions": ["a red zeppelin"]})
    assert photos.ids("red zeppelin", k=1) == ["second.jpg"]
    assert photos.ids("red zeppelin", k=1, hybrid=False) == ["red-00.jpg"]
    assert photos.ids("red zeppelin", k=1, diversity=0.0) == ["red-00.jpg"]
    request = photos.searcher.parse("red zeppelin", k=1)
    assert [point.image_id for point in photos.searcher.ranking(request)] == ["red-00.jpg"]


def test_copies_of_what_was_called_wrong_are_left_out_with_it(photos: Photos) -> None:
    photos.add("original.jpg", (220, 30, 30), {"sha256": "aa" * 32, "phash": TELLING})
    photos.add("same-bytes.jpg", (220, 30, 30), {"sha256": "aa" * 32, "phash": TELLING})
    photos.add("smaller.jpg", (219, 31, 30), {"sha256": "bb" * 32, "phash": "f0f0f0f00f0f0f0e"})
    photos.add("other.jpg", (218, 32, 30), {"sha256": "cc" * 32, "phash": "0f0f0f0ff0f0f0f0"})
    wrong = ("original.jpg",)
    assert photos.ids("red", collapse=True, wrong=wrong) == ["other.jpg"]
    assert len(photos.ids("red", collapse=False, wrong=wrong)) == 3
    assert photos.ids("-green", collapse=True, wrong=wrong) == ["other.jpg"]


def test_what_was_called_right_draws_its_like_and_wrong_is_left_out(photos: Photos) -> None:
    names = reds(photos, 4)
    photos.add("orange.jpg", (220, 100, 30))
    photos.add("pink.jpg", (220, 30, 100))
    assert photos.ids("red", k=3) == names[:3]
    assert photos.ids("red", k=3, wrong=(names[0], "unknown.jpg")) == names[1:4]
    assert photos.ids("red", k=6, right=("orange.jpg",))[-1] == "pink.jpg"
    assert photos.ids("red", k=6, right=("pink.jpg",))[-1] == "orange.jpg"
    scores = {hit.image_id: hit.score for hit in photos.searcher.search("red", k=6).hits}
    leaning = photos.searcher.search("red", k=6, right=("pink.jpg",)).hits
    assert {hit.image_id: hit.score for hit in leaning} == pytest.approx(scores, abs=1e-6)


def test_words_that_the_encoder_never_learned_count_for_less_and_are_named(
    store: EdgeStore, colour_encoder: ColourEncoder
) -> None:
    info = colour_encoder.info
    (red, blue) = colour_encoder.encode_texts(["red", "blue"])
    vocabulary = Vocabulary({"red": COMMON, "a": COMMON}, weight=1.0)
    # Red is what the known texts are about: red pictures are familiar, blue ones are not.
    known = TrainingTexts(
        np.stack([red] * 6), 0.0, 0.0, float(red @ blue), 1.0, vocabulary=vocabulary
    )
    calibration = {**info.calibration, "query_mean": 0.0, "mean_picture": [0.0] * 4}
    calibration["known"] = training_texts_to_json(known)
    colour_encoder.info = replace(info, calibration=calibration)
    photos = Photos(store, colour_encoder)
    photos.add("red.jpg", COLOURS["red"])

    familiar = Searcher(colour_encoder, store, "photos")
    plain, new = (familiar.search(text) for text in ("a red", "a red zeppelin - a kraken"))
    assert plain.notices == ()
    assert new.notices == (
        "'zeppelin' is a word that this search has not learned: it may find something else",
    )
    (alone,) = familiar.search("a red zeppelin").hits
    assert log_odds(plain.hits[0].relevance) - log_odds(alone.relevance) == pytest.approx(
        math.log(1 + COMMON), abs=0.01
    )

    for number in range(4):
        photos.add(f"blue-{number}.jpg", COLOURS["blue"])
    foreign = Searcher(colour_encoder, store, "photos")
    assert foreign.search("a red zeppelin").notices == ()


def log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_a_picture_that_is_near_to_any_text_ranks_behind_one_as_near_to_this_one(
    store: EdgeStore, colour_encoder: ColourEncoder
) -> None:
    # The known texts are all 'red', so that the reddest picture is a hub.
    (red,) = colour_encoder.encode_texts(["red"])
    known = TrainingTexts(np.stack([red] * 6), 0.0, 0.0, 0.0, 1.0, hubness=2.0)
    info = colour_encoder.info
    calibration = {**info.calibration, "query_mean": 0.0, "mean_picture": [0.0] * 4}
    calibration["known"] = training_texts_to_json(known)
    colour_encoder.info = replace(info, calibration=calibration)
    photos = Photos(store, colour_encoder)
    names = reds(photos, 4, camera="Leica")
    searcher = Searcher(colour_encoder, store, "photos")

    hits = searcher.search("red").hits
    assert [hit.image_id for hit in hits] == names[::-1]
    assert [hit.score for hit in hits] == sorted(hit.score for hit in hits)
    # The relevance is the place's: that of the nearest goes to the first.
    of_cosines = searcher.calibration.relevance(np.array([h.score for h in hits], np.float32), red)
    assert [hit.relevance for hit in hits] == sorted(of_cosines, reverse=True)
    between = (hits[1].relevance + hits[2].relevance) / 2
    answer = searcher.search("red", min_relevance=between, facets=("camera",))
    assert [hit.image_id for hit in answer.hits] == names[:1:-1]
    assert answer.facets["camera"] == (("Leica", 2),)
    sorted_ = searcher.search("red", min_relevance=between, sort=Order("camera")).hits
    assert {h.image_id: h.relevance for h in sorted_} == {
        h.image_id: h.relevance for h in answer.hits
    }
    ranking = searcher.ranking(searcher.parse("red"))
    assert [point.image_id for point in ranking] == names[::-1]
    assert [point.score for point in ranking] == sorted((h.score for h in hits), reverse=True)
    pages, after = [], None
    while True:
        answer = searcher.search("red", k=3, after=after)
        pages += [hit.image_id for hit in answer.hits]
        after = answer.next
        if after is None:
            break
    assert pages == names[::-1]


# Limits, cache, threads


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "the query is empty"),
        (" \n ", {}, "the query is empty"),
        ("red", {"where": (OneOf("tags", ("sea",)),) * 33}, "33 conditions are given, at most 32"),
        ("red", {"k": 0}, "0 pictures are asked for; 1 to 10000 can be"),
        ("red", {"k": 10_001}, "1 to 10000 can be"),
        ("red", {"offset": -1}, "offset -1"),
        ("red", {"offset": 1, "after": "x"}, "not both"),
        ("red", {"min_relevance": 2.0}, "not between 0 and 1"),
        ("red", {"diversity": 2.0}, "not between 0 and 1"),
        ("red", {"sort": Order("location")}, "no order to sort by"),
        ("red", {"sort": Order("tacken")}, "did you mean taken"),
        ("red", {"sort": Order("stars"), "diversity": 0.5}, "one of them"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(
    photos: Photos, text: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        photos.searcher.search(text, **options)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "picture: not a picture"),
        (b"GIF89a nonsense", "picture: "),
        (b"\0" * (MAX_UPLOAD_BYTES + 1), "a query picture at most 20"),
        (png((1, 2, 3), (2_000, 1_000)), "picture: 2 megapixels, the limit is 1"),
    ],
    ids=["empty", "damaged", "large", "many pixels"],
)
def test_an_upload_that_cannot_be_is_refused_in_a_sentence(
    photos: Photos, data: bytes, message: str
) -> None:
    searcher = Searcher(photos.encoder, photos.store, "photos", max_megapixels=1)
    with pytest.raises(QueryError, match=message):
        searcher.search(Request((Upload(data),)))


class CountingEncoder(ColourEncoder):
    """Counts the texts it encodes."""

    texts = 0

    def encode_texts(self, texts: Sequence[str], *, documents: bool = False) -> NDArray[np.float32]:
        self.texts += len(texts)
        return super().encode_texts(texts)


def test_a_text_is_encoded_once_until_others_push_it_out() -> None:
    encoder = CountingEncoder()
    vectors = TextEmbeddingCache(encoder, most=2)
    for text in ("red", "red", "blue", "red", "green", "red", "blue"):
        np.testing.assert_array_equal(vectors.embed(text), encoder.encode_texts([text])[0])
    assert encoder.texts - 7 == 4  # red, blue, green, and blue again
    with pytest.raises(ValueError, match="read-only"):
        vectors.embed("red")[0] = 0


def test_kept_vectors_of_another_encoder_are_refused(photos: Photos) -> None:
    other = ColourEncoder("other", "f00")
    with pytest.raises(ValueError, match="another encoder's"):
        Searcher(photos.encoder, photos.store, "photos", texts=TextEmbeddingCache(other))


def test_sixteen_threads_get_the_answers_of_one(photos: Photos) -> None:
    reds(photos, 30)
    texts = [f"a red boat {number} -blue" for number in range(8)] + ["like:red-03", "red^2 + blue"]
    alone = {text: photos.ids(text, k=5) for text in texts}
    wrong: list[object] = []

    def ask(start: int) -> None:
        try:
            for turn in range(30):
                text = texts[(start + turn) % len(texts)]
                if photos.ids(text, k=5) != alone[text]:
                    wrong.append(text)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_words_that_the_encoder_knows_nothing_of_match_nothing(photos: Photos) -> None:
    photos.add("red.jpg", COLOURS["red"])

    class Blank(ColourEncoder):
        def encode_texts(
            self, texts: Sequence[str], *, documents: bool = False
        ) -> NDArray[np.float32]:
            return np.zeros((len(texts), 4), np.float32)

    answer = Searcher(Blank(), photos.store, "photos").search("zeppelin", min_relevance=0.05)
    assert answer.hits == ()
    assert answer.nearest is not None


# The default cut


def with_background(encoder: ColourEncoder, **calibration: Any) -> ColourEncoder:
    """The background is yellow and blue things: no library of reds shows any."""
    vectors = encoder.encode_texts(["yellow"] * 10 + ["blue"] * 10)
    background = Background(tuple(f"thing {n}" for n in range(20)), vectors)
    declared = calibration | {"background": background_to_json(background)}
    encoder.info = replace(encoder.info, calibration=declared)
    return encoder


def test_at_the_default_cut_what_is_there_is_found_as_a_whole_and_nothing_else(
    store: EdgeStore, colour_encoder: ColourEncoder
) -> None:
    encoder = with_background(colour_encoder, **colour_encoder.info.calibration)
    photos = Photos(store, encoder)
    names = reds(photos, 5, camera="Leica")
    photos.add("grey.jpg", (110, 100, 100))
    searcher = Searcher(encoder, store, "photos")
    cut = searcher.default_cut()
    assert 0 < cut < 0.9

    red = searcher.search("red", default_cut=True, facets=("camera",))
    assert [hit.image_id for hit in red.hits][:5] == names
    assert red.min_relevance == pytest.approx(cut)
    assert red.facets["camera"] == (("Leica", 5),)
    for options in ({}, {"sort": Order("camera")}):
        blue = searcher.search("blue", default_cut=True, facets=("camera",), **options)
        assert blue.hits == ()
        assert blue.partial != ()
        assert blue.facets["camera"] == ()
    assert searcher.search("blue", min_relevance=0).hits != ()


def test_pages_at_the_default_cut_follow_each_other_while_the_library_grows(
    store: EdgeStore, colour_encoder: ColourEncoder
) -> None:
    encoder = with_background(colour_encoder, **colour_encoder.info.calibration)
    photos = Photos(store, encoder)
    reds(photos, 6)
    searcher = Searcher(encoder, store, "photos")
    first = searcher.search("red", k=3, default_cut=True)
    reds(photos, 3, first=6)
    second = searcher.search("red", k=3, default_cut=True, after=first.next)
    seen = [hit.image_id for hit in (*first.hits, *second.hits)]
    assert len(set(seen)) == 6


def test_without_a_background_and_for_pictures_the_cut_is_five_per_cent(
    store: EdgeStore, colour_encoder: ColourEncoder
) -> None:
    photos = Photos(store, colour_encoder)
    reds(photos, 3)
    plain = Searcher(colour_encoder, store, "photos")
    assert plain.default_cut() == UNMEASURED_CUT
    measured = Searcher(
        with_background(colour_encoder, **colour_encoder.info.calibration), store, "photos"
    )
    alike = Request(parts=(Upload(png(COLOURS["red"])),))
    assert measured.search(alike, default_cut=True).min_relevance == UNMEASURED_CUT


def test_by_contrast_hits_rank_by_what_they_have_above_chance(
    store: EdgeStore, colour_encoder: ColourEncoder
) -> None:
    encoder = with_background(colour_encoder, method="contrast")
    photos = Photos(store, encoder)
    reds(photos, 5)
    photos.add("orange.jpg", (235, 130, 40))  # near to yellow, so near by chance
    searcher = Searcher(encoder, store, "photos")
    hits = searcher.search("red").hits
    assert hits[-1].image_id == "orange.jpg"
    relevances = [hit.relevance for hit in hits]
    assert relevances == sorted(relevances, reverse=True)


def test_an_encoder_without_a_calibration_is_measured_when_a_library_is_opened(
    store: EdgeStore, colour_encoder: ColourEncoder
) -> None:
    colour_encoder.info = replace(colour_encoder.info, calibration={})
    photos = Photos(store, colour_encoder)
    reds(photos, 3)
    searcher = Searcher(colour_encoder, store, "photos")
    assert searcher.calibration.contrast is not None
    assert len(searcher.search("red").hits) == 3
