"""The same request has the same answer in every home of the store.

    pytest tests/integration/test_search_contract.py

The homes are those of the store's own contract suite, with QDRANT_TEST_URL a real server too.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from scenesearch.search.answer import SearchResult
from scenesearch.search.request import Order
from scenesearch.search.searcher import Searcher
from scenesearch.store.base import CollectionSpec, Point, VectorStore
from scenesearch.store.fields import BUILTIN_FIELDS
from tests.conftest import ColourEncoder
from tests.integration.test_store_contract import HOMES, KEPT, embedded, opened

# What the in-memory client says of settings that mean nothing to it.
pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning")

TELLING = ("f0f0f0f00f0f0f0f", "0f0f0f0ff0f0f0f0")


def fill(store: VectorStore) -> Searcher:
    """Forty pictures of as many colours with all kinds of metadata, some of them copies."""
    encoder = ColourEncoder()
    info = encoder.info
    store.create_collection(
        KEPT,
        CollectionSpec("photos", info.name, info.fingerprint, info.dimension, BUILTIN_FIELDS),
    )
    points = []
    for number in range(40):
        colour = (250 - 6 * number, 30 + (number * 37) % 200, 20 + 5 * number)
        payload: dict[str, Any] = {
            "path": f"/pictures/{number}.jpg",
            "sha256": f"{number - number % 7 if number % 7 == 1 else number:064}",
            "phash": TELLING[number % 2],
            "folder": [str(2019 + number % 3), f"{2019 + number % 3}/may"],
            "tags": [["sea", "holiday"], ["sea lion"], []][number % 3],
            "width": 400 + 100 * (number % 5),
            "orientation": ("landscape", "portrait")[number % 2],
        }
        if number % 4:
            payload["camera"] = ("Canon EOS 5D", "Nikon D90", "Canon PowerShot")[number % 3]
            payload["taken"] = f"20{10 + number % 12}-0{1 + number % 9}-15T10:00:00Z"
            payload["captions"] = [f"a boat of the {number}th kind"]
            payload["location"] = {"lat": 50.0 + number / 10, "lon": 8.0}
        (vector,) = encoder.encode_images([Image.new("RGB", (8, 8), colour)])
        points.append(Point(f"trip/{number:02}.jpg", vector, payload))
    store.upsert(KEPT, points)
    return Searcher(encoder, store, KEPT)


@pytest.fixture(scope="module", params=HOMES, ids=lambda home: home.__name__)
def searcher(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Searcher]:
    with opened(request.param, tmp_path_factory.mktemp("search")) as store:
        yield fill(store)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searcher]:
    with opened(embedded, tmp_path_factory.mktemp("reference")) as store:
        yield fill(store)


REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("red", {}),
    ("red + blue", {"k": 40}),
    ("red^3 boat + like:07", {}),
    ("red - green", {"k": 40}),
    ("-blue", {"k": 40}),
    ("like:trip/11.jpg", {"collapse": True}),
    ("red", {"collapse": True, "k": 40}),
    ("red", {"min_relevance": 0.3, "facets": ("tags", "camera", "width")}),
    ("red camera:canon -tag:holiday", {"facets": ("folder",)}),
    ("camera:canon,nikon taken:2012..2016", {"k": 40}),
    ("red taken:2012,2015 width:>500", {}),
    ("red folder:2020/* has:caption", {}),
    ("red near:51,8,100km", {}),
    ("red caption:boat,ship orientation:portrait", {}),
    ("yellow", {"min_relevance": 0.99}),
    ("red", {"sort": Order("taken"), "k": 40}),
    ("red", {"sort": Order("taken", descending=True), "min_relevance": 0.2}),
    ("has:tag", {"sort": Order("camera"), "k": 40}),
    ("red", {"diversity": 0.6}),
    ("red 11th", {"hybrid": True}),  # one picture has the word: ranks of ties are the engine's own
    ("red note: x camera:cannon", {}),
]


def told(result: SearchResult) -> dict[str, Any]:
    """All that an answer says but how long it took."""
    document = result.to_json()
    del document["timing_ms"]
    for hit in [*document["hits"], *document["partial"]]:
        hit["score"] = pytest.approx(hit["score"], abs=1e-6)
        hit["relevance"] = pytest.approx(hit["relevance"], abs=1e-5)
    document["next"] = document["next"] is not None  # scores in it differ in their last bit
    return document


@pytest.mark.parametrize(
    ("text", "options"), REQUESTS, ids=[f"{text} {options}" for text, options in REQUESTS]
)
def test_every_home_gives_the_same_answer(
    searcher: Searcher, reference: Searcher, text: str, options: dict[str, Any]
) -> None:
    assert told(searcher.search(text, **options)) == told(reference.search(text, **options))


@pytest.mark.parametrize("options", [{}, {"sort": Order("width")}, {"hybrid": True}], ids=str)
def test_pages_join_to_the_whole_answer_in_every_home(
    searcher: Searcher, options: dict[str, Any]
) -> None:
    whole = [hit.image_id for hit in searcher.search("red boat", k=40, **options).hits]
    seen: list[str] = []
    cursor: str | None = None
    while not seen or cursor is not None:
        page = searcher.search("red boat", k=7, after=cursor, **options)
        seen += [hit.image_id for hit in page.hits]
        cursor = page.next
    assert seen == whole
    assert len(whole) == 40
