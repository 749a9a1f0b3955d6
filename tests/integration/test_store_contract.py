"""What every home of the store does alike: embedded, in memory, over gRPC and REST, a real server.

    pytest tests/integration/test_store_contract.py
    QDRANT_TEST_URL=http://localhost:6333 pytest tests/integration/test_store_contract.py

With QDRANT_TEST_URL the suite also runs over that server (API key in QDRANT_TEST_API_KEY); its
collections begin with 'test-' and are deleted again. The client's memory is a double of the
client, not of the engine: it builds no index, scans always and never flushes. No test here needs
to know, because the store asks only what it answers as the engine does. `over_grpc` and `over_rest`
are the same memory behind a socket, so that all that travels is serialised.
"""

import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from scenesearch.pictures.records import GeoPoint
from scenesearch.store.ask import (
    RESCORED,
    Ask,
    Diverse,
    Examples,
    Fusion,
    Hybrid,
    RankBy,
    Rescored,
    Written,
)
from scenesearch.store.base import (
    CollectionMissing,
    CollectionSpec,
    EncoderMismatch,
    Point,
    ScoredPoint,
    StoreError,
    VectorStore,
)
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import BUILTIN_FIELDS, PayloadField
from scenesearch.store.filters import (
    AllOf,
    AnyOf,
    Condition,
    Filter,
    Has,
    HasPhrase,
    HasWords,
    Near,
    Not,
    OneOf,
    Prefix,
    Range,
    Within,
)
from scenesearch.store.written import words_of

# What the in-memory client says of settings that mean nothing to it.
pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning")

FIELDS = (
    PayloadField("image_id", "keyword", "Image"),
    PayloadField("folder", "keyword", "Folder"),
    PayloadField("tags", "keyword", "Tags", multiple=True),
    PayloadField("width", "integer", "Width"),
    PayloadField("sharpness", "float", "Sharpness"),
    PayloadField("indoors", "boolean", "Indoors"),
    PayloadField("taken", "datetime", "Taken"),
    PayloadField("captions", "text", "Captions", multiple=True),
    PayloadField("location", "geo", "Place"),
    PayloadField("photo date.v2", "keyword", "A column named by somebody else"),
)
SPEC = CollectionSpec("pets", "tiny", "f00dcafe" * 8, 4, FIELDS)

# Angles from the query, so that the ranking can be read off.
DEGREES = {"cat.jpg": 10, "dog.jpg": 20, "trip/boat.jpg": 30, "trip/snow.jpg": 40, "blank.jpg": 50}
QUERY = np.array([1, 0, 0, 0], np.float32)

PAYLOADS: dict[str, dict[str, Any]] = {
    "cat.jpg": {
        "folder": "",
        "tags": ["cat", "pet"],
        "width": 640,
        "sharpness": 0.5,
        "indoors": True,
        "taken": "2019-05-01T10:00:00Z",
        "captions": ["A cat sleeps", "on the sofa"],
        "location": {"lat": 52.52, "lon": 13.405},
        "photo date.v2": "A-1",
    },
    "dog.jpg": {
        "folder": "",
        "tags": ["dog", "pet"],
        "width": 800,
        "sharpness": 1.5,
        "indoors": False,
        "taken": "2019-05-01T12:30:00+02:00",
        "captions": ["Ein Hund läuft; dog's day"],
        "location": {"lat": 52.40, "lon": 13.06},
        "photo date.v2": "A-2",
    },
    "trip/boat.jpg": {"folder": "trip", "width": 800, "sharpness": 2, "indoors": False},
    "trip/snow.jpg": {
        "folder": "trip/alps",
        "tags": ["dog", "snow"],
        "taken": "2021-12-31T23:59:59Z",
        "captions": ["A dog runs through snow"],
        "location": {"lat": 46.5, "lon": 8.0},
    },
    "blank.jpg": {},
}


def unit(degrees: float) -> NDArray[np.float32]:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), 0, 0], np.float32)


def pictures() -> list[Point]:
    return [Point(name, unit(DEGREES[name]), PAYLOADS[name]) for name in DEGREES]


KEPT = f"test-kept-{uuid.uuid4().hex[:12]}"


def embedded(folder: Path) -> VectorStore:
    return EdgeStore(folder / "edge")


def in_memory(folder: Path) -> VectorStore:
    from qdrant_client import QdrantClient

    from scenesearch.store.server import ServerStore
    from scenesearch.store.server_nodes import Node, Nodes

    return ServerStore(Nodes([Node(QdrantClient(":memory:"), "memory")]))


def over_grpc(folder: Path) -> VectorStore:
    return _loopback(rest=False)


def over_rest(folder: Path) -> VectorStore:
    return _loopback(rest=True)


def _loopback(*, rest: bool) -> VectorStore:
    from scenesearch.store.server import ServerStore
    from tests.integration.qdrant_loopback import QdrantLoopback

    class LoopbackStore(ServerStore):
        """Takes its server along when it is closed."""

        def close(self) -> None:
            super().close()
            server.close()

    server = QdrantLoopback(api_key="key")
    url = f"http://127.0.0.1:{server.rest_port}"
    port = None if rest else server.port
    return LoopbackStore(url, api_key="key", grpc_port=port, timeout_s=20)


def real_server(folder: Path) -> VectorStore:
    from scenesearch.store.server import ServerStore

    port = os.environ.get("QDRANT_TEST_GRPC_PORT", "6334")
    key = os.environ.get("QDRANT_TEST_API_KEY")
    return ServerStore(
        os.environ["QDRANT_TEST_URL"], api_key=key, grpc_port=int(port) if port else None
    )


HOMES = [
    embedded,
    in_memory,
    over_grpc,
    over_rest,
    *([real_server] if os.environ.get("QDRANT_TEST_URL") else []),
]


def test_the_suite_runs_over_a_real_server() -> None:
    if real_server not in HOMES:
        pytest.skip("no Qdrant server to test against: QDRANT_TEST_URL is not set")
    assert "Qdrant server" in real_server(Path()).health()


@contextmanager
def opened(home: Callable[[Path], VectorStore], folder: Path) -> Iterator[VectorStore]:
    """The home's store; on a shared server what a test made is deleted again."""
    store = home(folder)
    before = set(store.collections())
    yield store
    store.close()
    if home is real_server:
        store = home(folder)
        for name in set(store.collections()) - before:
            store.delete_collection(name)
        store.close()


@pytest.fixture(params=HOMES, ids=lambda home: home.__name__)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorStore]:
    with opened(request.param, tmp_path) as store:
        yield store


@pytest.fixture(scope="module", params=HOMES, ids=lambda home: home.__name__)
def kept(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VectorStore]:
    """A store with the five pictures in 'test-kept', for tests that only read."""
    with opened(request.param, tmp_path_factory.mktemp("kept")) as store:
        store.create_collection(KEPT, SPEC)
        store.upsert(KEPT, pictures())
        yield store


@pytest.fixture
def name() -> str:
    """A collection's name that no other test run uses on a shared server."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def pets(store: VectorStore, name: str) -> str:
    """A collection with the five pictures."""
    store.create_collection(name, SPEC)
    store.upsert(name, pictures())
    return name


# Collections and aliases


def test_a_new_collection_is_listed_empty_and_describes_itself(
    store: VectorStore, name: str
) -> None:
    store.create_collection(name, SPEC)

    assert name in store.collections()
    assert store.count(name) == 0
    assert store.describe(name) == SPEC
    assert store.search(name, Ask(QUERY, limit=3)) == []


def test_what_a_collection_records_can_be_changed_in_part(store: VectorStore, name: str) -> None:
    store.create_collection(name, replace(SPEC, image_fingerprint="1mage", state="building"))
    assert store.describe(name).state == "building"
    assert store.record(name, state="ready").state == "ready"
    store.record(name, previous="older")
    assert store.describe(name) == replace(SPEC, image_fingerprint="1mage", previous="older")


def test_a_specification_of_an_earlier_version_is_read() -> None:
    early = {
        key: value
        for key, value in SPEC.to_json().items()
        if key in ("library", "encoder", "fingerprint", "dimension", "fields")
    }
    assert CollectionSpec.from_json(early) == replace(SPEC, words=False)


def test_a_collection_is_made_only_once(store: VectorStore, pets: str) -> None:
    with pytest.raises(StoreError, match="already exists"):
        store.create_collection(pets, SPEC)
    assert store.count(pets) == 5


def test_an_alias_stands_for_its_collection_everywhere(store: VectorStore, pets: str) -> None:
    alias = f"{pets}-alias"
    store.set_alias(alias, pets)

    assert store.aliases()[alias] == pets
    assert store.resolve(alias) == store.resolve(pets) == pets
    assert store.describe(alias) == SPEC
    assert store.count(alias) == 5
    store.upsert(alias, [Point("new.jpg", unit(0), {"folder": "new"})])
    assert store.search(alias, Ask(QUERY, limit=1))[0].image_id == "new.jpg"
    assert [p.image_id for p in store.scroll(alias, where=(OneOf("folder", ("new",)),))] == [
        "new.jpg"
    ]
    store.delete(alias, ["new.jpg"])
    assert set(store.retrieve(alias, ["new.jpg", "cat.jpg"])) == {"cat.jpg"}
    assert alias not in store.collections()


def test_moving_an_alias_moves_its_readers_and_moving_back_rolls_back(
    store: VectorStore, pets: str
) -> None:
    other, alias = f"{pets}-2", f"{pets}-alias"
    store.create_collection(other, SPEC)
    store.upsert(other, [Point("other.jpg", unit(0), {})])
    store.set_alias(alias, pets)
    assert store.count(alias) == 5

    store.set_alias(alias, other)
    assert store.count(alias) == 1
    assert store.search(alias, Ask(QUERY, limit=1))[0].image_id == "other.jpg"

    store.set_alias(alias, pets)
    assert store.count(alias) == 5


def test_an_alias_needs_a_collection_and_a_name_of_its_own(store: VectorStore, pets: str) -> None:
    with pytest.raises(CollectionMissing):
        store.set_alias(f"{pets}-alias", f"{pets}-nowhere")
    with pytest.raises(StoreError, match="is a collection"):
        store.set_alias(pets, pets)
    store.set_alias(f"{pets}-alias", pets)
    with pytest.raises(StoreError, match="already exists"):
        store.create_collection(f"{pets}-alias", SPEC)


def test_deleting_a_collection_takes_its_aliases_along(store: VectorStore, pets: str) -> None:
    store.set_alias(f"{pets}-alias", pets)

    store.delete_collection(pets)

    assert pets not in store.collections()
    assert f"{pets}-alias" not in store.aliases()
    with pytest.raises(CollectionMissing):
        store.resolve(f"{pets}-alias")


def test_a_deleted_collection_can_be_made_again_empty(store: VectorStore, pets: str) -> None:
    store.delete_collection(pets)
    store.create_collection(pets, replace(SPEC, dimension=2))
    assert store.count(pets) == 0
    assert store.describe(pets).dimension == 2


def test_an_alias_cannot_be_deleted_as_a_collection(store: VectorStore, pets: str) -> None:
    store.set_alias(f"{pets}-alias", pets)
    with pytest.raises(CollectionMissing):
        store.delete_collection(f"{pets}-alias")
    assert store.count(pets) == 5


@pytest.mark.parametrize(
    "use",
    [
        lambda store, name: store.count(name),
        lambda store, name: store.describe(name),
        lambda store, name: store.search(name, Ask(QUERY, limit=1)),
        lambda store, name: store.upsert(name, pictures()),
        lambda store, name: store.delete(name, ["cat.jpg"]),
        lambda store, name: store.retrieve(name, ["cat.jpg"]),
        lambda store, name: list(store.scroll(name)),
        lambda store, name: store.facet(name, "tags"),
        lambda store, name: store.version(name),
        lambda store, name: store.flush(name),
        lambda store, name: store.optimize(name),
        lambda store, name: store.add_fields(name, ()),
        lambda store, name: store.delete_collection(name),
        lambda store, name: store.resolve(name),
    ],
)
def test_an_unknown_name_is_missing_and_the_known_ones_are_named(
    kept: VectorStore, name: str, use: Callable[[VectorStore, str], object]
) -> None:
    with pytest.raises(CollectionMissing, match=rf"{name}'.*{KEPT}"):
        use(kept, name)


def test_a_missing_library_is_told_the_nearest_of_the_libraries_not_of_the_collections(
    store: VectorStore, pets: str
) -> None:
    alias = f"photos-{pets[-6:]}"
    store.set_alias(alias, pets)
    with pytest.raises(CollectionMissing) as missing:
        store.describe(f"photo-{pets[-6:]}")
    said = str(missing.value)
    assert said.startswith(f"no library 'photo-{pets[-6:]}'")
    assert said.endswith(f"; did you mean {alias}?")
    assert pets not in said


@pytest.mark.parametrize(
    "hostile", ["../out", "a/b", "", ".", "..", "a\\b", "-x", ".hidden", "a\nb", "ä", "x" * 129]
)
def test_names_that_could_leave_the_store_are_refused(kept: VectorStore, hostile: str) -> None:
    for use in (kept.resolve, kept.count, kept.delete_collection, kept.describe):
        with pytest.raises(StoreError, match="cannot name a collection"):
            use(hostile)
    with pytest.raises(StoreError, match="cannot name a collection"):
        kept.create_collection(hostile, SPEC)
    with pytest.raises(StoreError, match="cannot name a collection"):
        kept.set_alias(hostile, hostile)


# Points


def test_points_come_back_as_they_were_written(kept: VectorStore) -> None:
    found = kept.retrieve(KEPT, ["cat.jpg", "nothing.jpg", "blank.jpg"], with_vectors=True)

    assert set(found) == {"cat.jpg", "blank.jpg"}
    assert found["cat.jpg"].payload == {**PAYLOADS["cat.jpg"], "image_id": "cat.jpg"}
    assert found["blank.jpg"].payload == {"image_id": "blank.jpg"}
    vector = found["cat.jpg"].vector
    assert vector is not None
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, unit(10), atol=1e-6)


def test_vectors_stay_behind_unless_asked_for(kept: VectorStore) -> None:
    assert kept.retrieve(KEPT, ["cat.jpg"])["cat.jpg"].vector is None
    assert all(point.vector is None for point in kept.scroll(KEPT))


def test_writing_twice_leaves_one_point_with_the_last_content(
    store: VectorStore, pets: str
) -> None:
    store.upsert(pets, pictures())
    assert store.count(pets) == 5

    store.upsert(pets, [Point("cat.jpg", unit(90), {"folder": "moved"})])

    assert store.count(pets) == 5
    assert store.retrieve(pets, ["cat.jpg"])["cat.jpg"].payload == {
        "folder": "moved",
        "image_id": "cat.jpg",
    }
    assert [hit.image_id for hit in store.search(pets, Ask(QUERY, limit=5))][-1] == "cat.jpg"
    assert store.count(pets, where=(OneOf("tags", ("cat",)),)) == 0


def test_the_last_of_two_points_in_one_batch_wins(store: VectorStore, pets: str) -> None:
    twice = [Point("x.jpg", unit(1), {"width": n}) for n in (1, 2)]
    store.upsert(pets, twice)
    assert store.retrieve(pets, ["x.jpg"])["x.jpg"].payload["width"] == 2


def test_writing_and_deleting_nothing_is_fine(store: VectorStore, pets: str) -> None:
    store.upsert(pets, [])
    store.delete(pets, [])
    assert store.retrieve(pets, []) == {}
    assert store.count(pets) == 5


def test_deleting_takes_points_away_and_ignores_unknown_ids(store: VectorStore, pets: str) -> None:
    store.delete(pets, ["cat.jpg", "nothing.jpg"])
    assert sorted(point.image_id for point in store.scroll(pets)) == sorted(
        set(DEGREES) - {"cat.jpg"}
    )


def test_payload_values_of_our_own_types_become_plain_ones(store: VectorStore, pets: str) -> None:
    payload = {
        "taken": datetime(2020, 1, 2, 3, 4, 5),
        "location": GeoPoint(1.5, -2.5),
        "tags": ("a", "b"),
        "width": np.int64(7),
        "image_id": "a lie",
    }
    store.upsert(pets, [Point("x.jpg", unit(1), payload)])
    assert store.retrieve(pets, ["x.jpg"])["x.jpg"].payload == {
        "taken": "2020-01-02T03:04:05Z",
        "location": {"lat": 1.5, "lon": -2.5},
        "tags": ["a", "b"],
        "width": 7,
        "image_id": "x.jpg",
    }


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (Point("x.jpg", None, {}), "x.jpg has no vector"),
        (Point("x.jpg", np.full(4, np.nan, np.float32), {}), "vector of x.jpg is not finite"),
        (Point("x.jpg", unit(1), {"width": float("inf")}), "width of x.jpg is inf"),
        (Point("x.jpg", unit(1), {"width": object()}), "width of x.jpg is a object"),
        (Point("x\udcff.jpg", unit(1), {}), "not valid Unicode"),
        (Point("", unit(1), {}), "image id is empty"),
    ],
)
def test_a_point_that_cannot_be_stored_is_named(
    kept: VectorStore, point: Point, message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        kept.upsert(KEPT, [point])
    assert kept.count(KEPT) == 5


def test_vectors_of_another_size_are_another_encoders(kept: VectorStore) -> None:
    with pytest.raises(EncoderMismatch, match=r"pets holds 4-d vectors of encoder tiny.*8-d"):
        kept.upsert(KEPT, [Point("x.jpg", np.ones(8, np.float32), {})])
    with pytest.raises(EncoderMismatch, match=r"pets holds 4-d vectors of encoder tiny.*8-d"):
        kept.search(KEPT, Ask(np.ones(8, np.float32), limit=1))


def test_any_unicode_may_name_a_picture(store: VectorStore, pets: str) -> None:
    image_id = "Ümläut/写真 'quoted' \"x\".jpg"
    store.upsert(pets, [Point(image_id, unit(0), {})])
    assert store.search(pets, Ask(QUERY, limit=1))[0].image_id == image_id
    assert store.count(pets, where=(OneOf("image_id", (image_id,)),)) == 1


# Scroll


def test_scrolling_yields_every_point_once_in_a_stable_order(store: VectorStore, name: str) -> None:
    store.create_collection(name, SPEC)
    written = [Point(f"{n}.jpg", unit(n), {"width": n % 3}) for n in range(25)]
    store.upsert(name, written)

    first = [point.image_id for point in store.scroll(name, batch_size=4)]

    assert sorted(first) == sorted(point.image_id for point in written)
    assert first == [point.image_id for point in store.scroll(name, batch_size=1000)]
    assert first == [point.image_id for point in store.scroll(name, batch_size=25)]


def test_scrolling_filters_across_batches(store: VectorStore, name: str) -> None:
    store.create_collection(name, SPEC)
    store.upsert(name, [Point(f"{n}.jpg", unit(n), {"width": n % 3}) for n in range(25)])
    found = store.scroll(name, where=(OneOf("width", (1,)),), batch_size=3)
    assert sorted(int(point.image_id[:-4]) for point in found) == list(range(1, 25, 3))


def test_scrolling_brings_only_the_keys_wanted(kept: VectorStore) -> None:
    wanted = ["width", "photo date.v2"]
    found = {point.image_id: point.payload for point in kept.scroll(KEPT, payload=wanted)}
    assert found["cat.jpg"] == {"image_id": "cat.jpg", "width": 640, "photo date.v2": "A-1"}
    assert found["blank.jpg"] == {"image_id": "blank.jpg"}


def test_points_may_be_deleted_while_scrolling(store: VectorStore, name: str) -> None:
    store.create_collection(name, SPEC)
    store.upsert(name, [Point(f"{n}.jpg", unit(n), {}) for n in range(20)])
    seen = []
    for point in store.scroll(name, batch_size=3):
        seen.append(point.image_id)
        store.delete(name, [point.image_id])
    assert len(seen) == len(set(seen)) == 20
    assert store.count(name) == 0


# Search


def ranked(hits: list[ScoredPoint]) -> list[str]:
    return [hit.image_id for hit in hits]


def test_search_ranks_by_cosine(kept: VectorStore) -> None:
    hits = kept.search(KEPT, Ask(QUERY, limit=3))
    assert [hit.image_id for hit in hits] == ["cat.jpg", "dog.jpg", "trip/boat.jpg"]
    assert [hit.score for hit in hits] == pytest.approx(
        [np.cos(np.radians(d)) for d in (10, 20, 30)], abs=1e-6
    )
    assert hits[0].payload == {**PAYLOADS["cat.jpg"], "image_id": "cat.jpg"}


def test_search_fetches_only_the_keys_asked_for(kept: VectorStore) -> None:
    (hit,) = kept.search(KEPT, Ask(QUERY, limit=1, payload=()))
    assert hit.payload == {"image_id": "cat.jpg"}


def test_a_search_that_asks_for_more_than_there_is_gets_all(kept: VectorStore) -> None:
    assert ranked(kept.search(KEPT, Ask(QUERY, limit=6))) == list(DEGREES)


def test_a_search_can_ask_for_a_least_cosine(kept: VectorStore) -> None:
    least = float(np.cos(np.radians(25)))
    hits = kept.search(KEPT, Ask(QUERY, limit=9, min_cosine=least))
    assert ranked(hits) == ["cat.jpg", "dog.jpg"]
    assert kept.search(KEPT, Ask(QUERY, limit=9, min_cosine=1.0)) == []


def test_asking_for_no_hits_gets_none(kept: VectorStore) -> None:
    assert kept.search(KEPT, Ask(QUERY, limit=0)) == []


def test_exact_search_agrees(kept: VectorStore) -> None:
    assert kept.search(KEPT, Ask(QUERY, limit=5, exact=True)) == kept.search(
        KEPT, Ask(QUERY, limit=5)
    )


def test_ties_are_broken_by_image_id_wherever_the_answer_ends(
    store: VectorStore, name: str
) -> None:
    store.create_collection(name, SPEC)
    copies = [f"{n:03}.jpg" for n in range(60)]
    order = np.random.default_rng(3).permutation(60)
    store.upsert(name, [Point(copies[n], unit(15), {}) for n in order])
    store.upsert(name, [Point("best.jpg", unit(0), {})])

    whole = ["best.jpg", *copies]
    for limit in range(1, 62, 6):
        assert ranked(store.search(name, Ask(QUERY, limit=limit))) == whole[:limit]


# Filters

CASES: list[tuple[str, Filter, set[str]]] = [
    ("no condition", (), set(DEGREES)),
    ("keyword", (OneOf("folder", ("trip",)),), {"trip/boat.jpg"}),
    ("empty keyword", (OneOf("folder", ("",)),), {"cat.jpg", "dog.jpg"}),
    ("any of", (OneOf("tags", ("cat", "snow")),), {"cat.jpg", "trip/snow.jpg"}),
    ("none of nothing", (OneOf("tags", ()),), set()),
    ("no alternative", (AnyOf(()),), set()),
    ("not of no alternative", (Not(AnyOf(())),), set(DEGREES)),
    ("not one of nothing", (Not(OneOf("tags", ())),), set(DEGREES)),
    ("any of empty ones", (AnyOf((OneOf("tags", ()), OneOf("indoors", ()))),), set()),
    ("no truth value", (OneOf("indoors", ()),), set()),
    ("not", (Not(OneOf("tags", ("pet",))),), {"trip/boat.jpg", "trip/snow.jpg", "blank.jpg"}),
    ("all hold", (OneOf("tags", ("dog",)), OneOf("tags", ("pet",))), {"dog.jpg"}),
    ("integer", (OneOf("width", (640, 1)),), {"cat.jpg"}),
    ("true", (OneOf("indoors", (True,)),), {"cat.jpg"}),
    ("false", (OneOf("indoors", (False,)),), {"dog.jpg", "trip/boat.jpg"}),
    ("either", (OneOf("indoors", (True, False)),), {"cat.jpg", "dog.jpg", "trip/boat.jpg"}),
    ("not true", (Not(OneOf("indoors", (True,))),), set(DEGREES) - {"cat.jpg"}),
    ("at least", (Range("width", at_least=800),), {"dog.jpg", "trip/boat.jpg"}),
    ("above", (Range("width", above=800),), set()),
    ("between", (Range("sharpness", above=0.5, at_most=2),), {"dog.jpg", "trip/boat.jpg"}),
    ("below", (Range("sharpness", below=1.5),), {"cat.jpg"}),
    ("any number", (Range("width"),), {"cat.jpg", "dog.jpg", "trip/boat.jpg"}),
    ("no number", (Not(Range("width")),), {"trip/snow.jpg", "blank.jpg"}),
    (
        "naive date is UTC",
        (Range("taken", at_least=datetime(2019, 5, 1, 10), at_most=datetime(2019, 5, 1, 10)),),
        {"cat.jpg"},
    ),
    (
        "aware date",
        (
            Range(
                "taken",
                at_least=datetime(2019, 5, 1, 12, tzinfo=timezone(timedelta(hours=2))),
                below=datetime(2019, 5, 1, 10, 30, tzinfo=UTC),
            ),
        ),
        {"cat.jpg"},
    ),
    ("later", (Range("taken", above=datetime(2021, 1, 1)),), {"trip/snow.jpg"}),
    ("prefix", (Prefix("folder", "trip"),), {"trip/boat.jpg", "trip/snow.jpg"}),
    ("prefix in a list", (Prefix("tags", "sn"),), {"trip/snow.jpg"}),
    ("prefix has case", (Prefix("tags", "SN"),), set()),
    ("not prefix", (Not(Prefix("folder", "trip")),), {"cat.jpg", "dog.jpg", "blank.jpg"}),
    ("word", (HasWords("captions", "dog"),), {"dog.jpg", "trip/snow.jpg"}),
    ("words in any order and case", (HasWords("captions", "SNOW a"),), {"trip/snow.jpg"}),
    ("words of two captions", (HasWords("captions", "sofa cat"),), {"cat.jpg"}),
    ("no part of a word", (HasWords("captions", "sno"),), set()),
    ("word with umlaut", (HasWords("captions", "LÄUFT"),), {"dog.jpg"}),
    ("no words", (HasWords("captions", " "),), set()),
    ("not words", (Not(HasWords("captions", "a dog")),), set(DEGREES) - {"trip/snow.jpg"}),
    ("near", (Near("location", GeoPoint(52.5, 13.4), 5_000),), {"cat.jpg"}),
    ("wider", (Near("location", GeoPoint(52.5, 13.4), 50_000),), {"cat.jpg", "dog.jpg"}),
    (
        "not near",
        (Not(Near("location", GeoPoint(52.5, 13.4), 5e6)),),
        {"trip/boat.jpg", "blank.jpg"},
    ),
    ("box", (Within("location", 52.5, 13.0, 53.0, 14.0),), {"cat.jpg"}),
    (
        "box with its edges",
        (Within("location", 52.40, 13.06, 52.52, 13.405),),
        {"cat.jpg", "dog.jpg"},
    ),
    (
        "box around the Earth",
        (Within("location", -90, -180, 90, 180),),
        {"cat.jpg", "dog.jpg", "trip/snow.jpg"},
    ),
    ("box of one place", (Within("location", 46.5, 8.0, 46.5, 8.0),), {"trip/snow.jpg"}),
    (
        "box across the 180th meridian",
        (Within("location", -90, 13.2, 90, 8.5),),
        {"cat.jpg", "trip/snow.jpg"},
    ),
    (
        "not in the box",
        (Not(Within("location", 52.0, 13.0, 53.0, 14.0)),),
        {"trip/boat.jpg", "trip/snow.jpg", "blank.jpg"},
    ),
    ("odd field name", (OneOf("photo date.v2", ("A-2",)),), {"dog.jpg"}),
    ("has words", (Has("captions"),), {"cat.jpg", "dog.jpg", "trip/snow.jpg"}),
    ("has an empty keyword", (Has("folder"),), set(DEGREES) - {"blank.jpg"}),
    ("has a list", (Has("tags"),), {"cat.jpg", "dog.jpg", "trip/snow.jpg"}),
    ("has a number", (Has("sharpness"),), {"cat.jpg", "dog.jpg", "trip/boat.jpg"}),
    ("has yes or no", (Has("indoors"),), {"cat.jpg", "dog.jpg", "trip/boat.jpg"}),
    ("has a place", (Has("location"),), {"cat.jpg", "dog.jpg", "trip/snow.jpg"}),
    ("has not", (Not(Has("taken")),), {"trip/boat.jpg", "blank.jpg"}),
    ("has an odd name", (Has("photo date.v2"),), {"cat.jpg", "dog.jpg"}),
    (
        "either of two ranges",
        (AnyOf((Range("width", below=700), Range("sharpness", at_least=2))),),
        {"cat.jpg", "trip/boat.jpg"},
    ),
    (
        "neither",
        (Not(AnyOf((OneOf("tags", ("cat",)), HasWords("captions", "snow")))),),
        {"dog.jpg", "trip/boat.jpg", "blank.jpg"},
    ),
    ("one of no conditions", (AnyOf(()),), set()),
    ("all of no conditions", (AllOf(()),), set(DEGREES)),
    ("not all of no conditions", (Not(AllOf(())),), set()),
    ("not not", (Not(Not(OneOf("tags", ("pet",)))),), {"cat.jpg", "dog.jpg"}),
    (
        "both of a group or one that is missing",
        (AnyOf((AllOf((OneOf("tags", ("pet",)), Range("width", above=700))), Not(Has("width")))),),
        {"dog.jpg", "trip/snow.jpg", "blank.jpg"},
    ),
]


@pytest.mark.parametrize(
    ("where", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_a_filter_means_the_same_in_scroll_count_and_search(
    kept: VectorStore, where: Filter, expected: set[str]
) -> None:
    assert {point.image_id for point in kept.scroll(KEPT, where=where)} == expected
    assert kept.count(KEPT, where=where) == len(expected)
    ranking = [hit.image_id for hit in kept.search(KEPT, Ask(QUERY, limit=9, where=where))]
    assert ranking == [name for name in DEGREES if name in expected]


# A case's condition, and what passes it; the expectations above are worked out by hand.
Truth = tuple[Condition, frozenset[str]]
ALL = frozenset(DEGREES)


def all_of(truths: list[Truth]) -> Truth:
    conditions = tuple(condition for condition, _ in truths)
    return AllOf(conditions), ALL.intersection(*(passing for _, passing in truths))


def any_of(truths: list[Truth]) -> Truth:
    conditions = tuple(condition for condition, _ in truths)
    return AnyOf(conditions), frozenset().union(*(passing for _, passing in truths))


NESTED = st.recursive(
    st.sampled_from([(where[0], frozenset(found)) for _, where, found in CASES if len(where) == 1]),
    lambda inner: st.one_of(
        inner.map(lambda truth: (Not(truth[0]), ALL - truth[1])),
        st.lists(inner, max_size=3).map(all_of),
        st.lists(inner, max_size=3).map(any_of),
    ),
    max_leaves=12,
)


@given(truths=st.lists(NESTED, min_size=1, max_size=3))
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_nested_conditions_pass_what_their_parts_say(
    kept: VectorStore, truths: list[Truth]
) -> None:
    where = tuple(condition for condition, _ in truths)
    expected = ALL.intersection(*(passing for _, passing in truths))
    assert {point.image_id for point in kept.scroll(KEPT, where=where, payload=())} == expected
    assert kept.count(KEPT, where=where) == len(expected)
    tags = Counter(tag for name in expected for tag in PAYLOADS[name].get("tags", ()))
    assert dict(kept.facet(KEPT, "tags", where=where)) == tags


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (OneOf("tag", ("x",)), "no field 'tag'; did you mean tags"),
        (Not(OneOf("tag", ("x",))), "no field 'tag'; did you mean tags"),
        (Has("tag"), "no field 'tag'; did you mean tags"),
        (AnyOf((Has("tags"), Has("tag"))), "no field 'tag'; did you mean tags"),
        (AnyOf((AllOf((Not(Has("tag")),)),)), "no field 'tag'; did you mean tags"),
        (OneOf("zzz", ("x",)), "no field 'zzz'; did you mean .*width"),
        (OneOf("width", ("640",)), "width is a integer field; '640' is not one of its values"),
        (OneOf("width", (True,)), "width is a integer field; True"),
        (OneOf("indoors", (1,)), "indoors is a boolean field; 1"),
        (OneOf("width", (2**70,)), "too large"),
        (OneOf("captions", ("x",)), "captions is a text field and cannot be compared"),
        (Range("tags", at_least=1), "tags is a keyword field and has no range"),
        (Range("width", at_least=datetime(2020, 1, 1)), "cannot bound its range"),
        (Range("taken", at_least=2020), "cannot bound its range"),
        (Range("width", at_least=float("nan")), "nan cannot bound"),
        (Prefix("captions", "x"), "captions is a text field and cannot be searched by prefix"),
        (HasWords("tags", "x"), "tags is a keyword field and cannot be searched for words"),
        (Near("tags", GeoPoint(0, 0), 1), "tags is a keyword field"),
        (Near("location", GeoPoint(91, 0), 1), "not a place on Earth"),
        (Near("location", GeoPoint(0, 0), 0), "radius of 0"),
        (Within("tags", 0, 0, 1, 1), "tags is a keyword field"),
        (Within("location", 0, 0, 91, 1), "is not on Earth"),
        (Within("location", 2, 0, 1, 1), "contains no place"),
    ],
)
def test_a_condition_the_field_cannot_answer_is_refused(
    kept: VectorStore, condition: Condition, message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        kept.search(KEPT, Ask(QUERY, limit=1, where=(condition,)))
    with pytest.raises(StoreError, match=message):
        kept.count(KEPT, where=(condition,))


def test_a_period_lies_before_an_end_with_all_of_it_and_a_guess_is_no_date(
    store: VectorStore, pets: str
) -> None:
    store.add_fields(
        pets,
        [
            PayloadField("taken_until", "datetime", "Taken until"),
            PayloadField("taken_guessed", "boolean", "Date guessed"),
        ],
    )
    year = {"taken": "1978-01-01T00:00:00", "taken_until": "1979-01-01T00:00:00"}
    guessed = {"taken": "1978-06-01T10:00:00", "taken_guessed": True}
    exact = {"taken": "1978-06-01T10:00:00"}
    for name, payload in (("year", year), ("guessed", guessed), ("exact", exact)):
        store.upsert(pets, [Point(name, unit(60), payload)])

    def found(*where: Condition) -> set[str]:
        return {point.image_id for point in store.scroll(pets, where=where)}

    def between(first: int, end: int) -> Range:
        return Range("taken", at_least=datetime(first, 1, 1), below=datetime(end, 1, 1))

    june = Range("taken", at_least=datetime(1978, 1, 1), below=datetime(1978, 7, 1))
    assert found(between(1978, 1979)) == {"year", "guessed", "exact"}
    assert found(june) == {"guessed", "exact"}
    assert "year" in found(Not(june))
    assert found(AnyOf((june, between(2021, 2022)))) == {"guessed", "exact", "trip/snow.jpg"}
    assert found(Has("taken"), between(1978, 1979)) == {"year", "exact"}
    assert "guessed" in found(Not(Has("taken")))
    assert found(Not(AnyOf((Not(june), Not(Has("taken")))))) == {"exact"}
    either = AnyOf((Has("taken"), Has("taken_guessed")))
    assert found(either, between(1978, 1979)) == {"year", "guessed", "exact"}


# Fields and facets


def test_a_field_added_later_can_be_asked_for(store: VectorStore, pets: str) -> None:
    season = PayloadField("season", "keyword", "Season", widget="choice")
    with pytest.raises(StoreError, match="no field 'season'"):
        store.count(pets, where=(OneOf("season", ("winter",)),))

    store.add_fields(pets, [season, FIELDS[1]])
    store.upsert(pets, [Point("ski.jpg", unit(60), {"season": "winter"})])

    assert store.describe(pets).fields == (*FIELDS, season)
    assert store.count(pets, where=(OneOf("season", ("winter",)),)) == 1
    assert store.facet(pets, "season") == [("winter", 1)]


def test_a_field_keeps_its_type(kept: VectorStore) -> None:
    with pytest.raises(StoreError, match="pets has width as a field of type integer"):
        kept.add_fields(KEPT, [PayloadField("width", "keyword", "Width")])
    assert kept.describe(KEPT) == SPEC


def test_a_field_name_that_no_path_can_hold_is_refused(store: VectorStore, name: str) -> None:
    with pytest.raises(StoreError, match="cannot name a payload field"):
        store.create_collection(name, replace(SPEC, fields=(PayloadField('"', "keyword", "?"),)))
    assert name not in store.collections()


def test_facets_count_values_most_frequent_first(kept: VectorStore) -> None:
    assert kept.facet(KEPT, "tags") == [("dog", 2), ("pet", 2), ("cat", 1), ("snow", 1)]
    assert kept.facet(KEPT, "width") == [(800, 2), (640, 1)]
    assert kept.facet(KEPT, "indoors") == [(False, 2), (True, 1)]
    assert kept.facet(KEPT, "photo date.v2") == [("A-1", 1), ("A-2", 1)]
    assert [type(value) for value, _ in kept.facet(KEPT, "indoors")] == [bool, bool]


def test_facets_take_filters_and_limits(kept: VectorStore) -> None:
    dogs = (OneOf("tags", ("dog",)),)
    assert kept.facet(KEPT, "tags", where=dogs) == [("dog", 2), ("pet", 1), ("snow", 1)]
    assert kept.facet(KEPT, "tags", where=dogs, limit=1) == [("dog", 2)]


def test_values_that_no_picture_has_any_more_are_not_counted(store: VectorStore, pets: str) -> None:
    gone = [point.image_id for point in pictures() if "cat" in point.payload.get("tags", ())]
    assert "cat" in dict(store.facet(pets, "tags"))
    store.flush(pets)
    store.delete(pets, gone)
    assert "cat" not in dict(store.facet(pets, "tags"))


def test_only_countable_declared_fields_have_facets(kept: VectorStore) -> None:
    with pytest.raises(StoreError, match=r"values of taken \(datetime\) cannot be counted"):
        kept.facet(KEPT, "taken")
    with pytest.raises(StoreError, match="no field 'colour'"):
        kept.facet(KEPT, "colour")


# Ranked by more than the cosine


@pytest.mark.parametrize("fusion", ["rrf", "dbsf"])
def test_words_of_captions_tags_and_file_names_raise_a_picture(
    kept: VectorStore, fusion: Fusion
) -> None:
    # 'snow' stands in the last but one's caption, tag and name, 'boat' in a name alone.
    assert ranked(
        kept.search(KEPT, Ask(QUERY, limit=1, rank_by=Hybrid("SNOW", fusion=fusion)))
    ) == ["trip/snow.jpg"]
    assert ranked(kept.search(KEPT, Ask(QUERY, limit=5, rank_by=Hybrid("boat", fusion=fusion))))[
        :2
    ] == (["trip/boat.jpg", "cat.jpg"])
    assert ranked(
        kept.search(KEPT, Ask(QUERY, limit=1, rank_by=Hybrid("lauft", fusion=fusion)))
    ) == ["dog.jpg"]


def test_a_word_that_is_a_stop_word_elsewhere_is_a_word_here(kept: VectorStore) -> None:
    # Danish 'dog' is 'however'.
    assert ranked(kept.search(KEPT, Ask(QUERY, limit=1, rank_by=Hybrid("the dog")))) == ["dog.jpg"]


def test_the_score_of_a_hybrid_hit_is_its_cosine(kept: VectorStore) -> None:
    plain = {hit.image_id: hit.score for hit in kept.search(KEPT, Ask(QUERY, limit=5))}
    hybrid = {
        hit.image_id: hit.score
        for hit in kept.search(KEPT, Ask(QUERY, limit=5, rank_by=Hybrid("snow dog")))
    }
    assert hybrid == pytest.approx(plain, abs=1e-6)


def signs(store: VectorStore, name: str) -> str:
    """Pictures with text in them, and one that is described by the same words."""
    store.create_collection(name, replace(SPEC, fields=BUILTIN_FIELDS))
    texts = {"sign.jpg": "NO PARKING\nany time", "page.jpg": "Parking: no fee", "shirt.jpg": "DOG"}
    points = [
        Point(image_id, unit(degrees), {"text": text, "text_words": words_of(text)})
        for degrees, (image_id, text) in enumerate(texts.items())
    ]
    described = Point("described.jpg", unit(5), {"captions": ["a dog parking"]})
    store.upsert(name, [*points, described])
    return name


def test_words_in_pictures_find_them_and_no_described_ones(store: VectorStore, name: str) -> None:
    signs(store, name)
    hits = store.search(name, Ask(QUERY, limit=5, rank_by=Written("dog no parking")))
    assert set(ranked(hits)) == {"sign.jpg", "page.jpg", "shirt.jpg"}
    assert ranked(store.search(name, Ask(QUERY, limit=5, rank_by=Written("zebra")))) == []
    assert ranked(store.search(name, Ask(QUERY, limit=5, rank_by=Written("?!")))) == []
    where = (OneOf("text_words", ("dog",)),)
    hits = store.search(name, Ask(QUERY, limit=5, where=where, rank_by=Written("dog parking")))
    assert ranked(hits) == ["shirt.jpg"]


def test_descriptions_do_not_find_words_in_pictures(store: VectorStore, name: str) -> None:
    signs(store, name)
    hits = store.search(name, Ask(QUERY, limit=1, rank_by=Hybrid("dog", fusion="rrf")))
    assert ranked(hits) == ["described.jpg"]


def test_the_score_of_a_written_hit_is_its_cosine(store: VectorStore, name: str) -> None:
    signs(store, name)
    (hit,) = store.search(name, Ask(QUERY, limit=5, rank_by=Written("dog")))
    assert hit.score == pytest.approx(np.cos(np.radians(2)), abs=1e-6)


def test_a_phrase_is_words_in_a_row_across_lines(store: VectorStore, name: str) -> None:
    signs(store, name)
    for phrase, count in (("no parking", 1), ("Parking any", 1), ("parking no", 1), ("no time", 0)):
        assert store.count(name, where=(HasPhrase("text", phrase),)) == count, phrase


def test_a_phrase_is_asked_of_texts_alone(kept: VectorStore) -> None:
    with pytest.raises(StoreError, match="searched for a phrase"):
        kept.count(KEPT, where=(HasPhrase("tags", "a dog"),))


@pytest.mark.parametrize("text", ["zebra crossing", "?!", ""])
def test_words_that_no_picture_has_leave_the_plain_ranking(kept: VectorStore, text: str) -> None:
    assert ranked(kept.search(KEPT, Ask(QUERY, limit=9, rank_by=Hybrid(text)))) == list(DEGREES)


def test_hybrid_search_filters_both_sides_and_fetches_the_keys_asked_for(
    kept: VectorStore,
) -> None:
    hits = kept.search(
        KEPT,
        Ask(
            QUERY,
            limit=9,
            where=(OneOf("folder", ("",)),),
            payload=("width",),
            rank_by=Hybrid("snow dog", fusion="rrf"),
        ),
    )
    assert [(hit.image_id, dict(hit.payload)) for hit in hits] == [
        ("dog.jpg", {"image_id": "dog.jpg", "width": 800}),
        ("cat.jpg", {"image_id": "cat.jpg", "width": 640}),
    ]


@pytest.mark.parametrize(
    "rank_by",
    [Hybrid("red"), Diverse(), Examples(right=[unit(60)], wrong=[unit(90)])],
    ids=["hybrid", "diverse", "examples"],
)
def test_a_longer_answer_begins_with_the_shorter_one(
    store: VectorStore, name: str, rank_by: RankBy
) -> None:
    store.create_collection(name, SPEC)
    captions = [{"captions": ["red"]} if n % 2 else {} for n in range(500)]
    store.upsert(name, [Point(f"{n}", unit(n / 6), told) for n, told in enumerate(captions)])

    def first(limit: int) -> list[str]:
        return ranked(store.search(name, Ask(QUERY, limit, payload=(), rank_by=rank_by)))

    whole = first(600)
    assert sorted(whole) == sorted(map(str, range(500)))
    for limit in range(0, 600, 120):
        assert first(limit) == whole[:limit]


def test_a_limit_cannot_be_negative() -> None:
    with pytest.raises(ValueError, match="negative"):
        Ask(QUERY, limit=-1)


def test_the_nearest_are_ranked_again_by_their_penalty_and_the_rest_follow(
    store: VectorStore, name: str
) -> None:
    store.create_collection(name, SPEC)
    store.upsert(name, [Point(f"{n:03}", unit(n / 2), {"width": n}) for n in range(70)])

    def penalty(pictures: NDArray[np.float32]) -> NDArray[np.float64]:
        assert pictures.shape == (RESCORED, 4)
        return np.where(pictures[:, 1] < np.sin(np.radians(0.6)), 0.5, 0.0)  # the first two

    hits = store.search(name, Ask(QUERY, limit=70, rank_by=Rescored(penalty)))
    assert ranked(hits) == [f"{n:03}" for n in (*range(2, RESCORED), 0, 1, *range(RESCORED, 70))]
    assert hits[48].score == pytest.approx(1, abs=1e-6)
    shorter = store.search(name, Ask(QUERY, 51, payload=("width",), rank_by=Rescored(penalty)))
    assert [(hit.image_id, hit.payload["width"]) for hit in shorter[48:]] == [
        ("000", 0),
        ("001", 1),
        ("050", 50),
    ]
    near = Ask(QUERY, 70, rank_by=Rescored(penalty), min_cosine=float(np.cos(np.radians(26.2))))
    # The least cosine ends what follows by cosine: those ranked again have another worth.
    assert ranked(store.search(name, near)) == ranked(hits)[:53]
    few = (Range("width", at_most=1),)
    free = store.search(
        name, Ask(QUERY, limit=9, where=few, rank_by=Rescored(lambda v: np.zeros(len(v))))
    )
    assert ranked(free) == ["000", "001"]


def test_a_diverse_answer_takes_what_is_unlike_before_what_is_alike(
    store: VectorStore, name: str
) -> None:
    store.create_collection(name, SPEC)
    copies = [Point(f"copy-{n}.jpg", unit(10 + n / 10), {}) for n in range(4)]
    store.upsert(name, [*copies, Point("other.jpg", unit(-30), {})])

    assert ranked(store.search(name, Ask(QUERY, limit=2, rank_by=Diverse(0)))) == [
        "copy-0.jpg",
        "copy-1.jpg",
    ]
    diverse = store.search(name, Ask(QUERY, limit=2, rank_by=Diverse(0.7)))
    assert ranked(diverse) == ["copy-0.jpg", "other.jpg"]
    assert [hit.score for hit in diverse] == pytest.approx(np.cos(np.radians([10, 30])), abs=1e-6)
    with pytest.raises(StoreError, match="between 0 and 1"):
        store.search(name, Ask(QUERY, limit=2, rank_by=Diverse(1.5)))


def test_right_examples_draw_their_like_and_wrong_ones_push_it_away(kept: VectorStore) -> None:
    assert ranked(kept.search(KEPT, Ask(QUERY, limit=9, rank_by=Examples()))) == list(DEGREES)
    right = kept.search(KEPT, Ask(QUERY, limit=2, rank_by=Examples(right=[unit(50), unit(50)])))
    assert ranked(right) == ["trip/boat.jpg", "trip/snow.jpg"]
    assert [hit.score for hit in right] == pytest.approx(np.cos(np.radians([30, 40])), abs=1e-6)
    assert ranked(
        kept.search(KEPT, Ask(QUERY, limit=1, rank_by=Examples(wrong=[unit(10)] * 2)))
    ) == ["blank.jpg"]
    with pytest.raises(EncoderMismatch):
        kept.search(KEPT, Ask(QUERY, limit=1, rank_by=Examples(right=[np.ones(3, np.float32)])))


def test_a_collection_without_words_is_searched_by_cosine_alone(
    store: VectorStore, name: str
) -> None:
    older = {key: value for key, value in SPEC.to_json().items() if key != "words"}
    spec = CollectionSpec.from_json(older)
    store.create_collection(name, spec)
    store.upsert(name, pictures())

    assert not store.describe(name).words
    assert ranked(store.search(name, Ask(QUERY, limit=9))) == list(DEGREES)
    found = store.retrieve(name, ["cat.jpg"], with_vectors=True)["cat.jpg"].vector
    np.testing.assert_allclose(found, unit(10), atol=1e-6)
    with pytest.raises(StoreError, match="made before words were indexed"):
        store.search(name, Ask(QUERY, limit=1, rank_by=Hybrid("snow")))


# Life


def test_writing_and_searching_from_several_threads(store: VectorStore, name: str) -> None:
    store.create_collection(name, SPEC)
    failures: list[BaseException] = []

    def work(part: int) -> None:
        try:
            for n in range(10):
                batch = [Point(f"{part}-{n}-{m}.jpg", unit(m), {"width": part}) for m in range(10)]
                store.upsert(name, batch)
                store.search(name, Ask(QUERY, limit=5, where=(OneOf("width", (part,)),)))
        except BaseException as error:
            failures.append(error)

    # The client's in-memory double is not thread-safe by its own account; the others are.
    together = not (type(store).__name__ == "ServerStore" and "memory" in store.health())
    threads = [Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
        if not together:
            thread.join()
    for thread in threads:
        thread.join()

    assert failures == []
    assert store.count(name) == 400


def test_the_version_changes_when_points_are_written_or_deleted(
    store: VectorStore, pets: str
) -> None:
    versions = [store.version(pets)]
    assert store.version(pets) == versions[0]
    store.count(pets)
    point = next(store.scroll(pets, with_vectors=True))
    store.upsert(pets, [replace(point, payload={**point.payload, "tags": ["new"]})])
    store.flush(pets)
    versions.append(store.version(pets))
    store.delete(pets, [point.image_id])
    versions.append(store.version(pets))
    assert store.version(pets) == versions[-1]
    assert len(set(versions)) == 3


def test_flush_optimize_and_release_leave_the_points_as_they_are(
    store: VectorStore, pets: str
) -> None:
    store.flush(pets)
    store.optimize(pets)
    store.release(pets)
    assert [hit.image_id for hit in store.search(pets, Ask(QUERY, limit=9))] == list(DEGREES)


def test_health_is_one_line_with_engine_and_version(kept: VectorStore) -> None:
    line = kept.health()
    assert "Qdrant" in line
    assert any(character.isdigit() for character in line)
    assert "\n" not in line


def test_closing_twice_is_fine_and_using_a_closed_store_is_said(
    store: VectorStore, pets: str
) -> None:
    if os.environ.get("QDRANT_TEST_URL") and type(store).__name__ == "ServerStore":
        store.delete_collection(pets)  # the fixture cannot once the store is closed
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.count(pets)
