"""All hits of a request, page after page, are those of a search."""

from pathlib import Path

import pytest

from scenesearch.search import matches as matching
from scenesearch.search.searcher import Searcher
from scenesearch.store.edge import EdgeStore
from tests.conftest import ColourEncoder
from tests.unit.ui_world import LIBRARY, build_library, reds


@pytest.fixture
def searcher(tmp_path: Path, colour_encoder: ColourEncoder) -> Searcher:
    build_library(tmp_path, colour_encoder, reds(30))
    store = EdgeStore(tmp_path / "edge")
    return Searcher(colour_encoder, store, LIBRARY)


@pytest.mark.parametrize("text", ["red", "width:>0", "-blue"])
@pytest.mark.parametrize("limit", [None, 1, 7, 8, 25])
def test_all_hits_come_once_in_order(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch, text: str, limit: int | None
) -> None:
    monkeypatch.setattr(matching, "MAX_HITS", 7)
    whole = searcher.search(text, k=limit or 100, min_relevance=0.0)
    request = searcher.parse(text, min_relevance=0.0)
    found = list(matching.matches(searcher, request, limit=limit))
    assert [hit.image_id for hit in found] == [hit.image_id for hit in whole.hits]
    assert [hit.rank for hit in found] == list(range(1, len(found) + 1))
    assert all("path" in hit.payload for hit in found)
