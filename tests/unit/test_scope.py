"""The scope of a request: pictures outside are not found, counted, named or compared with."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from scenesearch.search.request import QueryError
from scenesearch.search.searcher import Searcher
from scenesearch.store.edge import EdgeStore
from scenesearch.store.filters import OneOf
from tests.conftest import ColourEncoder
from tests.unit.serve_world import LIBRARY, make_library

SCOPE = (OneOf("folder", ("public",)),)


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searcher]:
    folder: Path = tmp_path_factory.mktemp("library")
    make_library(folder)
    with closing(EdgeStore(folder / "edge")) as store:
        yield Searcher(ColourEncoder(), store, LIBRARY)


def found(searcher: Searcher, text: str, **options: Any) -> set[str]:
    answer = searcher.search(text, scope=SCOPE, min_relevance=0.0, **options)
    return {hit.image_id for hit in answer.hits}


def test_only_pictures_inside_are_found_and_counted(searcher: Searcher) -> None:
    assert found(searcher, "green") == {"public/red.png", "public/blue.png"}
    assert searcher.count(searcher.parse("", scope=SCOPE)) == 2
    assert {one.image_id for one in searcher.ranking(searcher.parse("red", scope=SCOPE))} == {
        "public/red.png",
        "public/blue.png",
    }


def test_all_that_a_filter_passes_are_those_inside(searcher: Searcher) -> None:
    every = searcher.every(searcher.parse("width:>0", scope=SCOPE))
    assert [hit.image_id for hit in every] == ["public/blue.png", "public/red.png"]


def test_examples_outside_do_not_move_the_ranking(searcher: Searcher) -> None:
    def order(**options: Any) -> list[tuple[str, float | None]]:
        answer = searcher.search("blue", scope=SCOPE, min_relevance=0.0, **options)
        return [(hit.image_id, hit.score) for hit in answer.hits]

    inside = order(right=("public/red.png",))
    assert order(right=("public/red.png", "private/green.png")) == inside
    assert order(right=("public/red.png",), wrong=("private/red.png",)) == inside


def test_names_mean_pictures_inside_whoever_asked_before(searcher: Searcher) -> None:
    with pytest.raises(QueryError, match="may be 2 pictures"):
        searcher.image_id("red.png")
    assert searcher.image_id("red.png", SCOPE) == "public/red.png"
    assert searcher.image_id("green.png") == "private/green.png"  # now it is remembered
    with pytest.raises(QueryError, match="has no such picture"):
        searcher.image_id("green.png", SCOPE)


def test_values_are_those_inside(searcher: Searcher) -> None:
    assert searcher.search("camera:nikon").hits
    # What is suggested is inside too.
    said = "camera:nikon: no picture has such a value; did you mean camera:canon?"
    assert searcher.search("camera:nikon", scope=SCOPE).notices == (said,)


def test_a_cursor_belongs_to_its_scope(searcher: Searcher) -> None:
    first = searcher.search("width:>0", k=1)
    with pytest.raises(QueryError, match="belongs to another request"):
        searcher.search("width:>0", k=1, after=first.next, scope=SCOPE)
