"""Figures of queries that share a trait."""

import numpy as np

from scenesearch.evaluation.metrics import score_queries
from scenesearch.evaluation.slices import field_slices, slices
from scenesearch.store.fields import PayloadField


def world(texts: list[str], found: list[bool]):
    qrels = {str(n): {f"{n}.jpg": 1} for n in range(len(texts))}
    run = {str(n): {f"{n}.jpg": 1.0} if hit else {} for n, hit in enumerate(found)}
    return score_queries(qrels, run), {str(n): text for n, text in enumerate(texts)}


def test_each_slice_has_the_figures_of_its_queries() -> None:
    texts = ["Two red kites in the sky"] * 10 + ["a dog"] * 10
    scores, named = world(texts, [True] * 10 + [False] * 8 + [True] * 2)
    found = {part.name: part for part in slices(scores, named)}
    assert found.keys() == {"up to 7 words", "counts", "colours", "animals", "outdoors"}
    assert found["animals"].metrics["recall@10"] == 0.2
    assert found["counts"].metrics["recall@1"] == 1.0
    assert (found["up to 7 words"].queries, found["up to 7 words"].images) == (20, 20)
    low, high = found["animals"].ci95["recall@10"]
    assert low < 0.2 < high


def test_fewer_than_ten_queries_are_no_slice() -> None:
    scores, named = world(["a cat without a tail"] * 9 + ["boats"] * 9, [True] * 18)
    assert [part.name for part in slices(scores, named)] == ["up to 7 words"]


def test_words_are_whole_words() -> None:
    scores, named = world(["catwalk, hotdog; redo"] * 12, [True] * 12)
    assert [part.name for part in slices(scores, named)] == ["up to 7 words"]
    assert np.isfinite(scores.first_rank).all()


def by_field(kind: str, values: list) -> dict[str, int]:
    """Queries in each slice by a field of this type, whose value for picture n is given."""
    scores, _ = world(["x"] * len(values), [True] * len(values))
    payloads = {f"{n}.jpg": {"f": value} for n, value in enumerate(values) if value is not None}
    found = field_slices(scores, payloads, PayloadField("f", kind, "F"))
    return {part.name: part.queries for part in found}


def test_a_field_cuts_by_value_year_quarter_or_presence() -> None:
    assert by_field("keyword", ["a", ["a", "b"]] * 10 + ["rare"] * 9) == {"f a": 20, "f b": 10}
    assert by_field("keyword", ["a"] * 10 + [None] * 11) == {"f (no f)": 11, "f a": 10}
    assert by_field("boolean", [True] * 12 + [False] * 10) == {"f True": 12, "f False": 10}
    dates = ["2020-05-01T00:00:00Z"] * 11 + ["2019-01-01T00:00:00Z"] * 10
    assert by_field("datetime", dates) == {"f 2019": 10, "f 2020": 11}
    assert by_field("text", ["some words", "others"] * 5) == {"f (has f)": 10}
    assert by_field("integer", list(range(41))) == {
        "f 0 to 10": 10,
        "f 10 to 20": 10,
        "f 20 to 30": 10,
        "f 30 to 40": 11,
    }
    assert by_field("float", [2.5] * 10) == {"f 2.5": 10}
    assert by_field("integer", [None] * 10) == {}
