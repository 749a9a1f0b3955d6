"""Pictures in which the words of a request are written: what comes first, and what must not."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scenesearch.search.request import Phrase, Request, Text
from scenesearch.search.searcher import Searcher
from scenesearch.search.text_match import A_WORD, ALL_WORDS, PHRASE, AskedWords
from scenesearch.store.base import CollectionSpec, Point
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import BUILTIN_FIELDS
from scenesearch.store.written import WrittenLine, written_payload
from tests.conftest import COLOURS, ColourEncoder

USED = ("image_id", "folder", "captions", "text", "text_words")
FIELDS = tuple(field for field in BUILTIN_FIELDS if field.name in USED)
BOX = (0.1, 0.1, 0.5, 0.1, 0.5, 0.2, 0.1, 0.2)


def written(*lines: str) -> dict[str, Any]:
    return written_payload([WrittenLine(line, BOX, 0.99) for line in lines], 1)


def asked(text: str) -> AskedWords:
    return AskedWords.of(Request((Text((Phrase(text),)),)))


@pytest.fixture
def library(store: EdgeStore, colour_encoder: ColourEncoder) -> Searcher:
    """Six plain pictures, of which some show text: the green one 'RED', the white one 'NO PARKING'
    over two lines, the black one the same words in another order."""
    info = colour_encoder.info
    spec = CollectionSpec("photos", info.name, info.fingerprint, info.dimension, FIELDS)
    store.create_collection("photos-1", spec)
    store.set_alias("photos", "photos-1")
    texts = {
        "green": written("RED"),
        "white": written("NO", "PARKING"),
        "black": written("Parking: no fee"),
        "blue": written("Invoice 2023-17", "Total 12,50"),
    }
    for name, colour in COLOURS.items():
        (vector,) = colour_encoder.encode_images([Image.new("RGB", (8, 8), colour)])
        payload = {"path": f"/p/{name}", "sha256": name, **texts.get(name, {})}
        store.upsert("photos", [Point(name, vector, payload)])
    return Searcher(colour_encoder, store, "photos")


def found(searcher: Searcher, text: str, **options: Any) -> list[str]:
    return [hit.image_id for hit in searcher.search(text, **options).hits]


def test_a_phrase_that_is_written_comes_first_across_lines(library: Searcher) -> None:
    assert found(library, "no parking", min_relevance=0.5) == ["white"]


def test_a_phrase_comes_before_what_looks_like_it(library: Searcher) -> None:
    library._store.upsert(  # a red picture that says nothing is nearest to the word
        "photos", [Point("warm", np.array([1, 0, 0, 0], np.float32), {"path": "/p/warm"})]
    )
    library._store.upsert(
        "photos",
        [Point("sign", np.array([-1, 0, 0, 0], np.float32), written("red alert"))],
    )
    assert found(library, "red alert", k=1) == ["sign"]


def test_a_thing_comes_before_its_name(library: Searcher) -> None:
    first, *rest = found(library, "red")
    assert first == "red"
    assert "green" in rest


def test_words_of_a_document_find_it_in_any_case_and_order(library: Searcher) -> None:
    assert found(library, "INVOICE total", min_relevance=0.5) == ["blue"]


def test_a_number_alone_is_a_text(library: Searcher) -> None:
    assert found(library, "2023", min_relevance=0.5) == ["blue"]


def test_a_word_alone_finds_what_it_is_written_in_after_what_shows_it(library: Searcher) -> None:
    assert found(library, "parking", default_cut=True)[:2] in (
        ["white", "black"],
        ["black", "white"],
    )
    red, *_, last = found(library, "red", default_cut=True)
    assert (red, last) == ("red", "green")


def seen(library: Searcher, image_id: str, cosine: float, *lines: str) -> None:
    """Add a picture of this cosine to the word 'red', in which the lines are written."""
    (red,) = library._encoder.encode_texts(["red"])
    other = np.array([0, 1, -1, 0], np.float32) / np.sqrt(2)
    vector = cosine * red + np.sqrt(1 - cosine**2) * other
    library._store.upsert("photos", [Point(image_id, vector, {**written(*lines), "path": "/p/x"})])


def test_a_name_stays_behind_what_shows_the_thing_in_part(library: Searcher) -> None:
    seen(library, "reddish", 0.7)  # 35 % relevant
    seen(library, "sign", 0.65, "RED")
    assert found(library, "red")[:3] == ["red", "reddish", "sign"]
    assert found(library, "red sign")[0] == "red"
    seen(library, "both", 0.65, "RED SIGN")
    assert found(library, "red sign")[0] == "both"


def test_where_a_name_is_found_so_is_what_shows_the_thing_in_part(
    library: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Searcher, "_cut", lambda *_: 0.99)
    assert found(library, "blue", default_cut=True) == []
    seen(library, "reddish", 0.7)
    seen(library, "sign", -0.5, "RED")
    assert found(library, "red", default_cut=True)[:2] == ["red", "reddish"]


def test_text_counts_for_nothing_where_another_order_is_asked_for(library: Searcher) -> None:
    plain = found(library, "no parking", diversity=0.9)
    assert plain[0] != "white"


def test_pages_of_an_answer_hold_each_picture_once(library: Searcher) -> None:
    whole = found(library, "no parking", min_relevance=0.0)
    cursor, seen = None, []
    while True:
        page = library.search("no parking", k=2, min_relevance=0.0, after=cursor)
        seen += [hit.image_id for hit in page.hits]
        if (cursor := page.next) is None:
            break
    assert seen == whole
    assert len(seen) == len(COLOURS)


def test_relevance_falls_from_hit_to_hit(library: Searcher) -> None:
    hits = library.search("no parking", min_relevance=0.0).hits
    relevance = [hit.relevance for hit in hits]
    assert relevance == sorted(relevance, reverse=True)


def test_a_scope_hides_what_is_written_outside_it(library: Searcher) -> None:
    scope = library.parse("text:invoice").filters
    conditions = library._live.conditions(replace(library.parse("x"), filters=scope))[0]
    answer = library.search("no parking", scope=conditions, min_relevance=0.0)
    assert [hit.image_id for hit in answer.hits] == ["blue"]


@pytest.mark.parametrize(
    ("request_", "lines", "added"),
    [
        ("no parking", ["NO", "PARKING"], PHRASE),
        ("café zürich", ["CAFE ZURICH"], PHRASE),
        ("parking fee", ["Fee for parking"], ALL_WORDS),
        ("a sign that says no parking", ["NO PARKING"], ALL_WORDS),
        ("a sign that says no parking", ["NO", "PARKING"], ALL_WORDS),
        ("a person at gate 12", ["Departures from gate 12"], ALL_WORDS),
        ("dogs run on the street", ["Mill Street", "on the corner"], A_WORD / 3),
        ("dog", ["DOG"], A_WORD),
        ("a dog in the snow", ["DOG"], A_WORD / 2),
        ("the dog", ["the cat"], 0.0),
        ("2023", ["12.03.2023"], PHRASE),
        ("dog", ["dogma"], 0.0),
        ("invoice 10", ["INV0ICE l0"], PHRASE),
        ("10", ["Gate 10"], PHRASE),
        ("停车", ["禁止停车"], PHRASE),
        ("出口", ["禁止停车"], 0.0),
        ("?!", ["DOG"], 0.0),
    ],
)
def test_writing_counts_by_how_much_of_the_request_it_is(
    request_: str, lines: Sequence[str], added: float
) -> None:
    assert asked(request_).log_odds(written(*lines)) == added


def test_a_payload_of_a_stranger_counts_for_nothing() -> None:
    assert asked("dog").log_odds({"text": 7}) == 0.0
    assert asked("dog").lines({"text": "dog", "text_lines": "x"}) == []
    assert asked("dog").lines({"text": "dog\ndog", "text_lines": []}) == []


def test_the_lines_that_made_a_picture_a_hit_are_known() -> None:
    payload = written("No parking", "any time")
    assert [line.text for line in asked("a parking sign").lines(payload)] == ["No parking"]
    assert asked("a parking sign").lines(payload)[0].box == BOX


# Filters


@pytest.mark.parametrize(
    ("text", "pictures"),
    [
        ('text:"no parking"', {"white"}),
        ("text:parking", {"white", "black"}),
        ("text:PARK", {"white", "black"}),  # no word is 'park', so a part of one
        ("text:*oice", {"blue"}),
        ("text:inv0lce", {"blue"}),  # 'o' and '0', 'i' and 'l' are read for one another
        ("text:red", {"green"}),
        ("text:invoice,red", {"blue", "green"}),
        ("-has:text", {"red", "yellow"}),
        ('-text:"no parking" has:text', {"green", "black", "blue"}),
        ("text:nothing", set()),
        ("text:?", set()),
    ],
)
def test_text_is_filtered_by_words_parts_and_phrases(
    library: Searcher, text: str, pictures: set[str]
) -> None:
    assert set(found(library, text)) == pictures


def test_a_filter_says_which_words_it_means(library: Searcher) -> None:
    notices = library.search("text:*a*").notices
    assert any("text:*a* means" in notice for notice in notices)


def test_a_library_without_text_says_so(store: EdgeStore, colour_encoder: ColourEncoder) -> None:
    info = colour_encoder.info
    spec = CollectionSpec("photos", info.name, info.fingerprint, info.dimension, FIELDS)
    store.create_collection("photos-1", spec)
    store.set_alias("photos", "photos-1")
    store.upsert("photos", [Point("a", np.array([1, 0, 0, 0], np.float32), {"path": "/a"})])
    answer = Searcher(colour_encoder, store, "photos").search("text:gate")
    assert answer.notices == ("text:gate: no picture of this library has text in it",)
