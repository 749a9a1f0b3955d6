"""What is said beside the figures: the way back, the index, failures, speed, and the page."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scenesearch.datasets.queries import Query
from scenesearch.errors import SceneSearchError
from scenesearch.evaluation.diagnostics import Diagnostics, diagnose
from scenesearch.evaluation.evaluate import evaluate
from scenesearch.evaluation.image_to_text import image_to_text
from scenesearch.evaluation.index_recall import index_recall
from scenesearch.evaluation.report import render_report
from scenesearch.evaluation.result import Evaluation
from scenesearch.store.ask import Ask
from scenesearch.store.base import CollectionSpec, Point, ScoredPoint
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import BUILTIN_FIELDS
from tests.conftest import COLOURS, ColourEncoder

World = Callable[..., Evaluation]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EdgeStore]:
    with closing(EdgeStore(tmp_path / "edge")) as opened:
        yield opened


@pytest.fixture
def world(store: EdgeStore, tmp_path: Path, colour_encoder: ColourEncoder) -> World:
    """Evaluates queries over one picture of each colour and a darker red."""
    pictures = COLOURS | {"dark": (200, 25, 25)}
    for name, colour in pictures.items():
        Image.new("RGB", (40, 30), colour).save(tmp_path / f"{name}.png")
    info = colour_encoder.info
    spec = CollectionSpec("c", info.name, info.fingerprint, info.dimension, BUILTIN_FIELDS)
    store.create_collection("c", spec)
    images = [Image.open(tmp_path / f"{name}.png") for name in pictures]
    vectors = colour_encoder.encode_images(images)
    store.upsert(
        "c",
        [
            Point(f"{name}.png", vector, {"path": str(tmp_path / f"{name}.png"), "width": 40})
            for name, vector in zip(pictures, vectors, strict=True)
        ],
    )

    def run(*queries: Query, **options: Any) -> Evaluation:
        return evaluate(queries, store=store, library="c", encoder=colour_encoder, **options)

    return run


def closer(evaluation: Evaluation, store: EdgeStore, slice_by: Sequence[str] = ()) -> Diagnostics:
    return diagnose(evaluation, store=store, load_encoder=ColourEncoder, slice_by=slice_by)


def test_each_picture_asked_for_is_a_question_to_all_texts(world: World, store: EdgeStore) -> None:
    scores = image_to_text(
        world(
            Query("1", "red", ("red.png",)),
            Query("2", "blue", ("blue.png", "red.png")),
            Query("3", "yellow", ("green.png",)),
        ),
        store,
    )
    assert scores.query_ids == ("blue.png", "green.png", "red.png")
    # red is nearest to "red", then "yellow", then "blue"; it should find texts 1 and 2
    assert scores.per_query["recall@1"].tolist() == [1, scores.per_query["recall@1"][1], 0.5]
    assert scores.first_rank.tolist()[0] == 1
    assert scores.first_rank.tolist()[2] == 1


def test_equal_texts_are_ranked_by_their_ids(world: World, store: EdgeStore) -> None:
    found = world(Query("b", "red", ("blue.png",)), Query("a", "red", ("red.png",)))
    scores = image_to_text(found, store)
    assert dict(zip(scores.query_ids, scores.first_rank.tolist(), strict=True)) == {
        "blue.png": 2,  # both texts are as near; "a" comes first
        "red.png": 1,
    }


def test_an_exact_index_loses_nothing(world: World, store: EdgeStore) -> None:
    found = index_recall(world(Query("q", "red", ("red.png",))), store)
    assert (found.queries, found.at) == (1, {1: 1.0})


def test_what_the_index_misses_is_told_by_k(world: World, store: EdgeStore) -> None:
    evaluation = world(Query("q", "red", ("red.png",)), depth=10)

    class Better:
        """An exact search that finds a nearer picture than the run did."""

        def search(self, name: str, ask: Ask) -> list[ScoredPoint]:
            hits = evaluation.run["q"].items()
            known = [ScoredPoint(image_id, score, {}) for image_id, score in hits]
            return [ScoredPoint("new", 1.5, {}), *known][: ask.limit]

    found = index_recall(evaluation, Better())  # type: ignore[arg-type]
    assert found.at == {1: 0.0}


def test_the_worst_query_of_each_picture_comes_first_with_what_came_instead(
    world: World, store: EdgeStore
) -> None:
    evaluation = world(
        Query("fine", "green", ("green.png",)),
        Query("bad", "blue", ("yellow.png",)),
        Query("worse", "black", ("yellow.png",)),
        Query("alike", "red", ("dark.png",)),
    )
    failures = closer(evaluation, store).failures
    assert failures.misses == 3
    assert {one.query_id for one in failures.worst} <= {"bad", "worse", "alike"}
    assert len(failures.worst) == 2  # yellow.png once, with its worse query
    first = failures.worst[0]
    assert first.wanted[0].image_id == "yellow.png"
    assert first.wanted[0].rank == max(evaluation.query_metrics.first_rank)
    assert "yellow.png" not in {place.image_id for place in first.instead}
    assert first.instead[0].rank == 1


def test_a_miss_with_a_look_alike_first_is_flagged(
    world: World, store: EdgeStore, colour_encoder: ColourEncoder
) -> None:
    twin = store.retrieve("c", ["red.png"], with_vectors=True)["red.png"]
    store.upsert("c", [Point("a-twin.png", twin.vector, dict(twin.payload))])
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(300, 4)).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    store.upsert("c", [Point(f"z{n:03}.png", row, {}) for n, row in enumerate(noise)])
    failures = closer(world(Query("q", "red", ("red.png",))), store).failures
    assert (failures.misses, failures.alike) == (1, 1)
    assert failures.worst[0].instead[0].alike
    assert failures.worst[0].instead[0].image_id == "a-twin.png"


def test_latency_is_of_warm_requests_and_of_a_cold_one(world: World, store: EdgeStore) -> None:
    queries = [Query(str(n), f"red {n}", ("red.png",)) for n in range(250)]
    latency = closer(world(*queries), store).latency
    assert latency.queries == 200
    for part in ("encode", "search", "total"):
        assert (
            0 < latency.warm[part]["p50"] <= latency.warm[part]["p95"] <= latency.warm[part]["p99"]
        )
        assert latency.cold[part] > 0
    assert latency.cold["total"] >= latency.cold["encode"] + latency.cold["search"]


def test_a_field_nobody_declared_is_one_sentence(world: World, store: EdgeStore) -> None:
    evaluation = world(Query("q", "red", ("red.png",)))
    with pytest.raises(SceneSearchError, match="no field 'widht'; did you mean width"):
        closer(evaluation, store, ["widht"])


def test_the_details_have_their_documented_shape(world: World, store: EdgeStore) -> None:
    queries = [Query(str(n), "red", ("red.png",)) for n in range(10)]
    document = closer(world(*queries), store, ["width"]).to_json()
    assert document.keys() == {
        "image_to_text",
        "index",
        "failures",
        "latency_ms",
        "field_slices",
    }
    assert document["image_to_text"]["images"] == 1
    assert document["field_slices"]["width 40"]["queries"] == 10
    assert document["index"] == {"queries": 10, "recall@1": 1.0}


@pytest.mark.slow
def test_the_page_shows_every_part_and_nothing_of_a_caption_is_markup(
    world: World, store: EdgeStore, tmp_path: Path
) -> None:
    evaluation = world(
        Query("q1", "red <img src=x onerror=alert(1)>", ("blue.png",)),
        Query("q2", "blue $x^2$", ("blue.png",)),
    )
    (tmp_path / "red.png").unlink()
    page = render_report(
        title="<b>lite</b>",
        evaluation=evaluation,
        diagnostics=closer(evaluation, store),
        agreement=None,
        notes=["queries.csv:3: <i>left out</i>"],
        originals=None,
    )
    assert "<img src=x" not in page
    assert "<b>lite" not in page
    assert "<i>left" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    for heading in ("Text to image", "Image to text", "Index and speed", "Where it fails"):
        assert f"<h2>{heading}</h2>" in page
    assert "no picture" in page  # red.png is gone
    assert page.count("<svg") == 3
    assert 'aria-label="Recall at each cutoff' in page
