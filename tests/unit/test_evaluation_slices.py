"""Figures of queries that share a trait."""

import numpy as np

from scenesearch.evaluation.metrics import score_queries
from scenesearch.evaluation.slices import slices


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
