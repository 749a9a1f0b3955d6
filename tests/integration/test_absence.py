"""What is not there is seldom found, and what is there seldom missed."""

from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ingest.pipeline import ingest
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.registry import find_encoder
from scenesearch.search.background import read_descriptions
from scenesearch.search.grammar import parse
from scenesearch.search.request import Phrase, Text
from scenesearch.search.searcher import Searcher
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import BUILTIN_FIELDS
from tests.absence import (
    Answered,
    Asked,
    answer,
    curves,
    error_when_equal,
    errors_table,
    interval,
    suite,
    table,
    web_library,
    web_suite,
)
from tests.chance import ClipVectors, Lite
from tests.conftest import COLOURS, ColourEncoder


def test_the_suite_names_each_thing_once() -> None:
    absent, later, present = suite("absent"), suite("absent", "later"), suite("present")
    assert len(absent) > 150
    assert len(later) > 150
    assert len(present) > 100
    assert len({*absent, *later, *present}) == len(absent) + len(later) + len(present)
    assert not {*absent, *later, *present} & set(read_descriptions())


def test_half_of_what_the_web_is_asked_for_is_there_in_every_shape() -> None:
    asked = web_suite()
    count = Counter((bool(one.pictures), one.shape) for one in asked)
    assert count == {(there, s): 50 for there in (True, False) for s in ("word", "name", "scene")}
    assert {one.distance for one in asked if one.pictures} == {""}
    assert {one.distance for one in asked if not one.pictures} == {"near", "far"}
    lengths = {"word": {1}, "name": {2}, "scene": {4, 5, 6, 7, 8}}
    assert all(len(one.text.split()) in lengths[one.shape] for one in asked)


def test_the_web_is_asked_for_each_thing_once_and_for_nothing_of_the_background() -> None:
    texts = [one.text for one in web_suite()]
    assert len(set(texts)) == 300
    background = set(read_descriptions())
    assert not {*texts, *(f"a {t}" for t in texts), *(f"an {t}" for t in texts)} & background


def test_requests_over_the_web_are_read_as_the_words_they_are() -> None:
    for one in web_suite():
        request = parse(one.text, BUILTIN_FIELDS)
        assert request.parts == (Text((Phrase(one.text),)),)
        assert (request.filters, request.notices) == ((), ())


@pytest.mark.shared
def test_the_pictures_of_present_things_are_among_those_to_choose_by(shared_data: Path) -> None:
    dev = set((shared_data / "data" / "web" / "dev.txt").read_text(encoding="utf-8").split())
    assert not {name for one in web_suite() for name in one.pictures} - dev


def test_an_answer_says_whether_the_right_picture_reaches_the_cut(
    store: EdgeStore, tmp_path: Path
) -> None:
    for name in ("red", "blue"):
        Image.new("RGB", (8, 8), COLOURS[name]).save(tmp_path / f"{name}.png")
    encoder = ColourEncoder()
    sources = find_sources([tmp_path], roots=Roots())
    ingest(sources, library="colours", encoder=encoder, store=store)
    searcher = Searcher(encoder, store, "colours")

    def answered(text: str, *pictures: str) -> tuple[bool, bool, str]:
        one = answer(searcher, Asked(text, pictures=frozenset(pictures)), 2)
        return one.found, one.right, one.first

    assert answered("red", "red.png") == (True, True, "red.png")
    assert answered("red", "blue.png") == (True, False, "red.png")
    assert answered("red") == (True, False, "red.png")
    assert answered("yellow", "blue.png") == (False, False, "red.png")


def test_errors_at_the_default_cut_are_counted_by_shape_and_distance() -> None:
    def answered(shape: str, distance: str, found: bool, right: bool) -> Answered:
        pictures = frozenset() if distance else frozenset({"a.jpg"})
        return Answered(Asked("a", shape, distance, pictures), found, right, "b.jpg", 0.5)

    rows = errors_table(
        [
            answered("word", "near", True, False),
            answered("word", "far", False, False),
            answered("word", "", True, True),
            answered("word", "", True, False),
            answered("scene", "", False, False),
        ]
    )
    assert rows[2:] == [
        "| one word | 2 | 50.0% (9-91) | 2 | 0.0% (0-66) | 50.0% (9-91) |",
        "| scenes |  |  | 1 | 100.0% (21-100) | 100.0% (21-100) |",
        "| near | 1 | 100.0% (21-100) |  |  |  |",
        "| far | 1 | 0.0% (0-79) |  |  |  |",
        "| all | 2 | 50.0% (9-91) | 3 | 33.3% (6-79) | 66.7% (21-94) |",
    ]


def test_the_interval_of_a_share_is_wilsons() -> None:
    assert interval(10, 50) == pytest.approx((0.1124, 0.3304), abs=1e-4)
    assert interval(0, 50) == pytest.approx((0, 0.0713), abs=1e-4)


def test_errors_are_equal_where_as_much_is_found_as_is_missed() -> None:
    absent, present = np.array([0.1, 0.2, 0.3, 0.6]), np.array([0.2, 0.5, 0.7, 0.8])
    assert error_when_equal(absent, present) == pytest.approx(0.25)  # at .3 or .5: one of four each
    rows = table({"absent": absent, "present": present}, (0.4,))
    assert rows[-1] == "| 0.40 | 25% | 25% |"


@pytest.mark.slow
@pytest.mark.shared
def test_few_absent_things_are_found_among_the_real_photographs(
    shared_data: Path, tmp_path: Path
) -> None:
    encoder = OnnxEncoder(find_encoder("lite"))
    with closing(EdgeStore(tmp_path)) as store:
        best = curves(shared_data, encoder, store)
    assert error_when_equal(best["absent"], best["captions"]) < 0.13
    assert error_when_equal(best["absent, later"], best["captions"]) < 0.1
    assert error_when_equal(best["absent"], best["short names"]) < 0.27


@pytest.mark.slow
@pytest.mark.shared
def test_few_absent_things_are_found_in_the_web_at_the_default_cut(
    shared_data: Path, tmp_path: Path
) -> None:
    with closing(EdgeStore(tmp_path)) as store:
        searcher = web_library(shared_data, OnnxEncoder(find_encoder("lite")), store)
        answers = [answer(searcher, asked, 999) for asked in web_suite()]
    absent = [one.found for one in answers if not one.asked.pictures]
    missed = [not one.right for one in answers if one.asked.pictures]
    assert np.mean(absent) <= 0.15
    assert np.mean(missed) <= 0.68


@pytest.mark.slow
@pytest.mark.shared
def test_the_default_cut_holds_for_real_clip_vectors(shared_data: Path) -> None:
    clip = ClipVectors(shared_data)
    for gallery in clip.galleries():
        errors = clip.errors(gallery)
        assert errors.found <= 0.115, gallery.name
        assert round(errors.missed, 3) <= 0.15, gallery.name
    matching, others = clip.bands()
    assert matching >= 0.8
    assert others <= 0.05


@pytest.mark.slow
@pytest.mark.shared
def test_the_default_cut_holds_in_small_and_large_libraries(shared_data: Path) -> None:
    lite = Lite(shared_data, most=2_000)  # `python -m tests.chance` encodes all
    for size in (100, 2_000):
        shipped = lite.errors(lite.shipped, "flickr8k", size)
        assert shipped.found <= 0.12, size
        assert shipped.missed <= 0.15, size
        contrast = lite.errors(lite.contrast, "flickr8k", size)
        assert contrast.found <= 0.12, size
        assert contrast.when_equal <= shipped.when_equal + 0.03, size
    dogs = lite.bands(lite.shipped, ["dog"])
    assert dogs["matching, of the first ten"]["weak"] == 0
    assert dogs["others"]["weak"] > 0.99
