"""Many descriptions ranked at once stand in the order that the store gives each of them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from scenesearch.evaluation.gallery import Gallery
from scenesearch.search.request import Phrase, Request, Text
from scenesearch.search.searcher import Searcher
from scenesearch.store.base import CollectionSpec, Point
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Filter, OneOf
from tests.conftest import ColourEncoder

TEXTS = ["red", "a green field", "blue and white", "black", "yellow red", "nothing of it"]


def redness(pictures: NDArray[np.float32]) -> NDArray[np.float64]:
    """What the pictures lose in a ranking, in the place of a nearness to any text."""
    return np.abs(pictures[:, 0]).astype(np.float64)


@pytest.fixture(params=["plain", "hubs"])
def searcher(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Searcher]:
    encoder = ColourEncoder()
    random = np.random.default_rng(7)
    vectors = random.normal(size=(300, 4)).astype(np.float32)
    vectors[200:] = vectors[:100]  # copies: ties
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store = EdgeStore(tmp_path)
    fields = (PayloadField("folder", "keyword", "Folder"),)
    spec = CollectionSpec("photos", encoder.info.name, encoder.info.fingerprint, 4, fields)
    store.create_collection("photos", spec)
    names = [f"{n:03}.jpg" for n in random.permutation(300)]
    points = [
        Point(name, vector, {"folder": "odd" if n % 2 else "even"})
        for n, (name, vector) in enumerate(zip(names, vectors, strict=True))
    ]
    store.upsert("photos", points)
    made = Searcher(encoder, store, "photos")
    if request.param == "hubs":
        monkeypatch.setattr(Searcher, "hub_penalty", property(lambda _: redness))
    yield made
    store.close()


@pytest.mark.parametrize("depth", [1, 10, 50, 60, 300])
@pytest.mark.parametrize("where", [(), (OneOf("folder", ("odd",)),)])
def test_the_order_and_scores_are_those_of_one_request_at_a_time(
    searcher: Searcher, where: Filter, depth: int
) -> None:
    gallery = Gallery.of(searcher._store, "photos", where, searcher.hub_penalty)
    queries = np.stack(searcher.texts.embed_all(TEXTS))
    for text, (ids, scores) in zip(TEXTS, gallery.rank(queries, depth), strict=True):
        asked = Request((Text((Phrase(text),)),), where=where, k=depth)
        points = searcher.ranking(asked)
        assert ids == [point.image_id for point in points]
        np.testing.assert_allclose(scores, [point.score for point in points], atol=1e-6)
