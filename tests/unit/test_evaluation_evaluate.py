"""Evaluation through a real store: solid colours as pictures, colour words as queries."""

import gc
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from numpy.typing import NDArray
from qdrant_client import QdrantClient

from scenesearch.datasets.queries import Query
from scenesearch.evaluation.evaluate import EvaluationError, evaluate
from scenesearch.evaluation.metrics import score_queries
from scenesearch.evaluation.output_folder import save
from scenesearch.evaluation.result import Evaluation, Omission
from scenesearch.evaluation.trec import decode_id, read_qrels
from scenesearch.store.base import CollectionSpec, EncoderMismatch, Point, VectorStore
from scenesearch.store.fields import BUILTIN_FIELDS, by_name
from scenesearch.store.filters import OneOf
from scenesearch.store.server import ServerStore
from scenesearch.store.server_nodes import Node, Nodes
from tests.conftest import ColourEncoder

COLOURS = {"red": (1, 0, 0, 0), "green": (0, 1, 0, 0), "blue": (0, 0, 1, 0), "yellow": (1, 1, 0, 0)}


class AxisEncoder(ColourEncoder):
    """Colours on the axes, so that rankings and ties can be worked out by hand."""

    def __init__(self, name: str = "colour", fingerprint: str = "c0104f") -> None:
        super().__init__(name, fingerprint)
        self.batches: list[int] = []

    def encode_texts(self, texts: Sequence[str], *, documents: bool = False) -> NDArray[np.float32]:
        self.batches.append(len(texts))
        sums = [np.sum([COLOURS[word] for word in text.split()], axis=0) for text in texts]
        unit: NDArray[np.float32] = np.array(sums, np.float32)
        return unit / np.linalg.norm(unit, axis=1, keepdims=True)


def fill(store: VectorStore, pictures: dict[str, str], encoder: AxisEncoder) -> None:
    """A collection `colours` of plain pictures: image id -> colour; red ones are portraits."""
    info = encoder.info
    fields = (by_name(BUILTIN_FIELDS)["orientation"],)
    spec = CollectionSpec("colours", info.name, info.fingerprint, info.dimension, fields)
    store.create_collection("colours", spec)
    vectors = AxisEncoder().encode_texts(list(pictures.values()))
    shapes = ["portrait" if colour == "red" else "landscape" for colour in pictures.values()]
    store.upsert(
        "colours",
        [
            Point(image_id, vector, {"image_id": image_id, "orientation": shape})
            for image_id, vector, shape in zip(pictures, vectors, shapes, strict=True)
        ],
    )


@pytest.fixture
def run_evaluation(store: VectorStore) -> Callable[..., Evaluation]:
    """Evaluates queries over one picture of each colour, named after it."""
    encoder = AxisEncoder()
    fill(store, {f"{colour}.jpg": colour for colour in COLOURS}, encoder)

    def run(*queries: Query, **options: Any) -> Evaluation:
        return evaluate(queries, store=store, library="colours", encoder=encoder, **options)

    return run


Run = Callable[..., Evaluation]


def test_what_a_process_keeps_from_garbage_collection_stays_so(run_evaluation: Run) -> None:
    gc.freeze()
    kept = gc.get_freeze_count()
    run_evaluation(Query("first", "red", ("red.jpg",)))
    assert gc.get_freeze_count() == pytest.approx(kept, rel=0.01)  # what ends is no longer counted


def test_figures_follow_from_the_ranks_in_the_store(run_evaluation: Run) -> None:
    evaluation = run_evaluation(
        Query("first", "red", ("red.jpg",)),
        # yellow itself, then green and red tied (green by its id), then blue
        Query("second", "yellow", ("green.jpg",)),
        Query("two", "yellow", ("red.jpg", "yellow.jpg")),
    )
    assert evaluation.query_metrics.first_rank.tolist() == [1, 2, 1]
    assert evaluation.metrics == pytest.approx(
        {
            "recall@1": (1 + 0 + 1 / 2) / 3,
            "recall@5": 1,
            "recall@10": 1,
            "success@1": 2 / 3,
            "success@5": 1,
            "success@10": 1,
            "mrr": (1 + 1 / 2 + 1) / 3,
            "ndcg@10": (1 + 1 / math.log2(3) + (1 + 1 / 2) / (1 + 1 / math.log2(3))) / 3,
            "map": (1 + 1 / 2 + (1 + 2 / 3) / 2) / 3,
            "median_rank": 1,
            "mean_rank": 4 / 3,
        }
    )
    assert evaluation.ci95.keys() == evaluation.metrics.keys()
    assert (evaluation.gallery, evaluation.query_count, evaluation.depth) == (4, 3, 4)
    assert evaluation.images_asked_for == 2


def test_json_has_the_documented_shape(run_evaluation: Run) -> None:
    document = json.loads(
        json.dumps(run_evaluation(Query("q", "red", ("red.jpg",))).to_json(), allow_nan=False)
    )
    metrics = [
        "recall@1",
        "recall@5",
        "recall@10",
        "success@1",
        "success@5",
        "success@10",
        "mrr",
        "ndcg@10",
        "map",
        "median_rank",
        "mean_rank",
    ]
    assert {key: document[key] for key in ("encoder", "gallery", "queries", "metrics", "ci95")} == {
        "encoder": "colour",
        "gallery": 4,
        "queries": 1,
        "metrics": dict.fromkeys(metrics, 1.0),
        "ci95": {metric: [1.0, 1.0] for metric in metrics},
    }
    assert list(document["metrics"]) == metrics


def test_a_query_for_a_missing_picture_is_left_out_and_listed(run_evaluation: Run) -> None:
    evaluation = run_evaluation(
        Query("there", "red", ("red.jpg",)), Query("gone", "blue", ("lost.jpg",))
    )
    assert evaluation.metrics["recall@1"] == 1
    assert evaluation.omissions == (Omission("gone", "not in the library", ("lost.jpg",), True),)
    assert (evaluation.query_count, evaluation.left_out) == (1, 1)
    assert evaluation.omissions[0].sentence() == (
        "query gone left out (not in the library: lost.jpg)"
    )


def test_a_query_keeps_the_relevant_pictures_that_are_there(run_evaluation: Run) -> None:
    evaluation = run_evaluation(Query("half", "red", ("red.jpg", "lost.jpg")))
    assert evaluation.qrels == {"half": {"red.jpg": 1}}
    assert evaluation.metrics["recall@1"] == 1
    assert evaluation.omissions == (Omission("half", "not in the library", ("lost.jpg",), False),)
    assert evaluation.left_out == 0


def test_a_file_name_stands_for_the_one_picture_of_that_name_in_any_folder(
    store: VectorStore,
) -> None:
    encoder = AxisEncoder()
    fill(store, {"a/red.jpg": "red", "a/blue.jpg": "blue", "b/blue.jpg": "blue"}, encoder)
    queries = [
        Query("one", "red", ("red.jpg",)),
        Query("two", "blue", ("blue.jpg",)),
        Query("full", "blue", ("b/blue.jpg",)),
    ]
    evaluation = evaluate(queries, store=store, library="colours", encoder=encoder)
    assert evaluation.qrels == {"one": {"a/red.jpg": 1}, "full": {"b/blue.jpg": 1}}
    assert evaluation.omissions == (
        Omission("two", "in the library under several folders", ("blue.jpg",), True),
    )


def test_a_filter_narrows_the_gallery_and_the_queries(run_evaluation: Run) -> None:
    evaluation = run_evaluation(
        Query("second", "yellow", ("green.jpg",)),
        Query("filtered", "red", ("red.jpg",)),
        Query("gone", "blue", ("lost.jpg",)),
        where=(OneOf("orientation", ("landscape",)),),
    )
    assert evaluation.gallery == 3
    assert evaluation.run.keys() == {"second"}
    assert evaluation.run["second"].keys() == {"yellow.jpg", "green.jpg", "blue.jpg"}
    assert evaluation.omissions == (
        Omission("filtered", "excluded by the filter", ("red.jpg",), True),
        Omission("gone", "not in the library", ("lost.jpg",), True),
    )


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (Query("bad", " ", ("red.jpg",)), "empty text"),
        (Query("bad", "red", ()), "names no image"),
    ],
)
def test_a_query_that_asks_for_nothing_is_left_out(
    run_evaluation: Run, query: Query, reason: str
) -> None:
    evaluation = run_evaluation(query, Query("good", "blue", ("blue.jpg",)))
    assert list(evaluation.qrels) == ["good"]
    assert [(o.query_id, o.reason) for o in evaluation.omissions] == [("bad", reason)]


def test_grades_weigh_the_gain_and_grade_0_is_not_relevant(run_evaluation: Run) -> None:
    evaluation = run_evaluation(
        # yellow, green, red, blue is the ranking
        Query("graded", "yellow", ("red.jpg", "blue.jpg"), {"red.jpg": 3, "blue.jpg": 1}),
        Query("judged", "red", ("blue.jpg",), {"blue.jpg": 0}, line=7),
    )
    third, fourth, second = 1 / math.log2(4), 1 / math.log2(5), 1 / math.log2(3)
    assert evaluation.metrics["ndcg@10"] == pytest.approx((3 * third + fourth) / (3 + second))
    assert evaluation.omissions == (Omission("judged", "no picture judged relevant", (), True, 7),)


def test_nothing_to_measure_is_one_sentence_naming_a_case(run_evaluation: Run) -> None:
    with pytest.raises(EvaluationError) as caught:
        run_evaluation(Query("a", "red", ("lost.jpg",)), Query("b", "red", ("gone.jpg",)))
    assert str(caught.value) == (
        "none of the 2 queries asks for a picture of the gallery, "
        "the first: query a left out (not in the library: lost.jpg)"
    )


def test_no_query_is_refused(run_evaluation: Run) -> None:
    with pytest.raises(EvaluationError, match="no query"):
        run_evaluation()


def test_a_filter_that_nothing_fits_is_refused(run_evaluation: Run) -> None:
    with pytest.raises(EvaluationError, match="no picture of library colours fits the filter"):
        run_evaluation(Query("q", "red", ("red.jpg",)), where=(OneOf("orientation", ("square",)),))


def test_an_empty_library_is_refused(store: VectorStore) -> None:
    encoder = AxisEncoder()
    fill(store, {"red.jpg": "red"}, encoder)
    store.delete("colours", ["red.jpg"])
    with pytest.raises(EvaluationError, match="library colours holds no picture"):
        evaluate([Query("q", "red", ("red.jpg",))], store=store, library="colours", encoder=encoder)


def test_two_queries_with_one_id_are_refused(run_evaluation: Run) -> None:
    with pytest.raises(EvaluationError, match="query id q is given twice"):
        run_evaluation(Query("q", "red", ("red.jpg",)), Query("q", "blue", ("blue.jpg",)))


def test_another_encoder_than_the_library_s_is_refused(store: VectorStore) -> None:
    fill(store, {"red.jpg": "red"}, AxisEncoder())
    other = AxisEncoder(name="other", fingerprint="other-1")
    with pytest.raises(EncoderMismatch, match="other"):
        evaluate([Query("q", "red", ("red.jpg",))], store=store, library="colours", encoder=other)


def test_a_picture_beyond_the_depth_counts_as_not_found(store: VectorStore) -> None:
    encoder = AxisEncoder()
    fill(store, {f"red{n:02d}.jpg": "red" for n in range(12)} | {"blue.jpg": "blue"}, encoder)
    evaluation = evaluate(
        [Query("q", "red", ("blue.jpg",))],
        store=store,
        library="colours",
        encoder=encoder,
        depth=10,
    )
    # Twelve pictures alike: the ten with the first ids are the ranking.
    assert list(evaluation.run["q"]) == [f"red{n:02d}.jpg" for n in range(10)]
    assert evaluation.metrics["mrr"] == 0
    assert evaluation.metrics["median_rank"] == math.inf
    assert evaluation.to_json()["metrics"]["median_rank"] is None
    assert evaluation.to_json()["ci95"]["median_rank"] == [None, None]
    assert ("Median rank", "> 10", "> 10 – > 10") in evaluation.rows()
    assert ("Mean rank", "unknown", "unknown – unknown") in evaluation.rows()


def test_a_depth_too_shallow_for_the_metrics_is_refused(run_evaluation: Run) -> None:
    with pytest.raises(ValueError, match="depth 5 is too shallow"):
        run_evaluation(Query("q", "red", ("red.jpg",)), depth=5)


def test_texts_are_encoded_in_batches_and_progress_is_told(store: VectorStore) -> None:
    encoder = AxisEncoder()
    fill(store, {"red.jpg": "red"}, encoder)
    told: list[int] = []
    evaluate(
        [Query(f"q{n}", "red " * (n + 1), ("red.jpg",)) for n in range(130)]
        + [Query("gone", "red", ("lost.jpg",))],
        store=store,
        library="colours",
        encoder=encoder,
        on_progress=told.append,
    )
    assert encoder.batches == [64, 64, 2]
    assert told == [65, 129, 131]  # the one left out is done from the start


def test_table_rows_carry_percent_and_interval(run_evaluation: Run) -> None:
    rows = run_evaluation(
        Query("a", "red", ("red.jpg",)), Query("b", "red yellow", ("yellow.jpg",))
    ).rows()
    assert rows == [
        ("Recall@1", "100.0 %", "100.0 % – 100.0 %"),
        ("Recall@5", "100.0 %", "100.0 % – 100.0 %"),
        ("Recall@10", "100.0 %", "100.0 % – 100.0 %"),
        ("Success@1", "100.0 %", "100.0 % – 100.0 %"),
        ("Success@5", "100.0 %", "100.0 % – 100.0 %"),
        ("Success@10", "100.0 %", "100.0 % – 100.0 %"),
        ("MRR", "1.000", "1.000 – 1.000"),
        ("nDCG@10", "1.000", "1.000 – 1.000"),
        ("mAP", "1.000", "1.000 – 1.000"),
        ("Median rank", "1", "1 – 1"),
        ("Mean rank", "1.0", "1.0 – 1.0"),
    ]


def test_both_homes_of_the_store_give_the_same_evaluation(store: VectorStore) -> None:
    encoder = AxisEncoder()
    memory = ServerStore(Nodes([Node(QdrantClient(":memory:"), "memory")]))
    queries = [Query("a", "yellow", ("green.jpg",)), Query("b", "red", ("red.jpg", "lost.jpg"))]
    where = (OneOf("orientation", ("landscape", "portrait")),)
    outcomes = []
    for home in (store, memory):
        fill(home, {f"{colour}.jpg": colour for colour in COLOURS}, encoder)
        outcomes.append(
            evaluate(queries, store=home, library="colours", encoder=encoder, where=where)
        )
    memory.close()
    edge, server = outcomes
    assert list(edge.run["a"]) == list(server.run["a"])
    assert (edge.metrics, edge.ci95, edge.omissions) == (
        server.metrics,
        server.ci95,
        server.omissions,
    )


def test_the_same_evaluation_twice_gives_the_same_figures(run_evaluation: Run) -> None:
    queries = [Query(f"q{n}", colour, ("red.jpg",)) for n, colour in enumerate(COLOURS)]
    first, second = run_evaluation(*queries), run_evaluation(*queries)
    assert (first.metrics, first.ci95) == (second.metrics, second.ci95)


def test_files_hold_the_run_the_judgments_the_queries_and_the_summary(
    run_evaluation: Run, tmp_path: Path
) -> None:
    evaluation = run_evaluation(
        Query("q 1", "red", ("red.jpg",)), Query("q2", "yellow", ("green.jpg", "red.jpg"))
    )
    folder = tmp_path / "out" / "colours"
    old = run_evaluation(Query("old", "red", ("red.jpg",)))
    for one in (old, evaluation):
        save(folder, evaluation=one, title="t")
    assert sorted(path.name for path in folder.iterdir()) == [
        "per_query.parquet",
        "qrels.trec",
        "report.html",
        "run.trec",
        "summary.json",
    ]
    written = json.loads((folder / "summary.json").read_text("utf-8"))
    assert written == evaluation.to_json() | {"notes": []}
    lines = [line.split() for line in (folder / "run.trec").read_text().splitlines()]
    run: dict[str, dict[str, float]] = {}
    for query, _, image, _, score, _ in lines:
        run.setdefault(decode_id(query), {})[decode_id(image)] = float(score)
    again = score_queries(read_qrels(folder / "qrels.trec"), run)
    assert again.means() == evaluation.metrics
    table = pandas.read_parquet(folder / "per_query.parquet")
    assert table["query_id"].tolist() == ["q 1", "q2"]
    assert table["text"].tolist() == ["red", "yellow"]
    assert [list(images) for images in table["relevant"]] == [["red.jpg"], ["green.jpg", "red.jpg"]]
    assert table["first_image"].tolist() == ["red.jpg", "yellow.jpg"]
    assert table["first_rank"].tolist() == [1, 2]
    assert table["recall@1"].tolist() == [1, 0]
    assert table["mrr"].mean() == evaluation.metrics["mrr"]
