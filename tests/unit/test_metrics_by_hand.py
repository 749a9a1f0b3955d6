"""Every metric against fractions worked out on paper."""

import math
from math import log2

import numpy as np
import pytest

from scenesearch.evaluation.metrics import (
    RankedRun,
    first_relevant_rank,
    ndcg_at_k,
    place,
    ranking,
    recall_at_k,
    reciprocal_rank,
    score_queries,
    success_at_k,
)

# Ranking d e a f b g h i j k c: relevant a, b and c stand at 3, 5 and 11.
SCORES = {name: 1 - rank / 100 for rank, name in enumerate("deafbghijkc", start=1)}
GRADES = {"a": 1, "b": 3, "c": 2, "d": 0}


def test_ties_are_broken_by_image_id() -> None:
    assert ranking({"b": 0.5, "c": 0.9, "a": 0.5}) == ["c", "a", "b"]


def test_placement_holds_ranks_of_relevant_images_and_all_relevant_grades() -> None:
    placement = place(GRADES | {"absent": 1}, SCORES)
    assert placement.ranks == (3, 5, 11)
    assert placement.grades == (1, 3, 2)
    assert placement.ideal == (3, 2, 1, 1)


@pytest.mark.parametrize(("k", "expected"), [(1, 0), (3, 1 / 3), (5, 2 / 3), (10, 2 / 3), (11, 1)])
def test_recall_is_the_share_of_relevant_images_found(k: int, expected: float) -> None:
    assert recall_at_k(place(GRADES, SCORES), k) == expected


@pytest.mark.parametrize(("k", "expected"), [(1, 0), (2, 0), (3, 1), (10, 1)])
def test_success_is_whether_any_relevant_image_was_found(k: int, expected: float) -> None:
    assert success_at_k(place(GRADES, SCORES), k) == expected


def test_reciprocal_rank_looks_at_the_first_relevant_image() -> None:
    assert reciprocal_rank(place(GRADES, SCORES)) == 1 / 3


def test_ndcg_discounts_grades_by_the_log_of_the_rank() -> None:
    gained = 1 / log2(4) + 3 / log2(6)  # a at 3, b at 5; c at 11 is beyond the cutoff
    best = 3 / log2(2) + 2 / log2(3) + 1 / log2(4)
    assert ndcg_at_k(place(GRADES, SCORES), 10) == pytest.approx(gained / best, abs=1e-15)


def test_ndcg_compares_with_the_best_that_fits_the_cutoff() -> None:
    grades = {"d": 1, "e": 1, "a": 1}
    assert ndcg_at_k(place(grades, SCORES), 2) == 1


def test_a_query_the_run_lacks_scores_zero_and_has_no_rank() -> None:
    placement = place({"a": 1}, {})
    assert first_relevant_rank(placement) == math.inf
    assert (
        reciprocal_rank(placement),
        recall_at_k(placement, 10),
        success_at_k(placement, 10),
        ndcg_at_k(placement, 10),
    ) == (0, 0, 0, 0)


def test_a_query_without_a_relevant_image_is_refused() -> None:
    with pytest.raises(ValueError, match="without a relevant image"):
        place({"a": 0}, SCORES)


def test_figures_are_means_over_queries_and_the_median_rank() -> None:
    qrels = {"first": {"d": 1}, "third": {"a": 1}, "two": {"e": 1, "k": 1}, "absent": {"z": 1}}
    run = dict.fromkeys(qrels, SCORES)
    scores = score_queries(qrels, run)
    assert scores.query_ids == ("first", "third", "two", "absent")
    assert scores.groups == ("d", "a", "e", "z")
    assert scores.first_rank.tolist() == [1, 3, 2, math.inf]
    discounts = [1, 1 / log2(4), (1 / log2(3) + 1 / log2(11)) / (1 + 1 / log2(3)), 0]
    assert scores.means() == pytest.approx(
        {
            "recall@1": 1 / 4,
            "recall@5": 5 / 8,  # 1, 1, 1/2, 0
            "recall@10": 3 / 4,
            "success@1": 1 / 4,
            "success@5": 3 / 4,
            "success@10": 3 / 4,
            "mrr": (1 + 1 / 3 + 1 / 2) / 4,
            "ndcg@10": np.mean(discounts),
            "map": (1 + 1 / 3 + (1 / 2 + 2 / 10) / 2 + 0) / 4,
            "median_rank": 2.5,
            "mean_rank": math.inf,  # one was not found
        }
    )


def test_median_rank_is_infinite_when_half_of_the_queries_found_nothing() -> None:
    scores = score_queries({"q": {"a": 1}, "r": {"b": 1}}, {"q": {"a": 1.0}})
    assert scores.means()["median_rank"] == math.inf
    assert scores.means()["mrr"] == 0.5


def test_the_mean_rank_is_the_mean_of_the_first_relevant_ranks() -> None:
    run = {query_id: {"a": 2.0, "b": 1.0} for query_id in "qr"}
    scores = score_queries({"q": {"a": 1}, "r": {"b": 1}}, run)
    assert scores.means()["mean_rank"] == 1.5


def test_a_group_is_the_first_relevant_image_not_the_first_judged() -> None:
    assert score_queries({"q": {"x": 0, "y": 2, "z": 1}}, {}).groups == ("y",)


def test_no_query_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="no query"):
        score_queries({}, {"q": {"a": 1.0}})


def test_a_run_holds_hits_best_first_whatever_order_they_come_in() -> None:
    run = RankedRun({})
    run.add("in order", {"b": 0.9, "a": 0.5, "c": 0.1})
    run.add("not so", {"c": 0.1, "b": 0.5, "a": 0.5, "d": 0.9})
    run.add("nothing", {})
    assert {query: list(run[query].items()) for query in run} == {
        "in order": [("b", 0.9), ("a", 0.5), ("c", 0.1)],
        "not so": [("d", 0.9), ("a", 0.5), ("b", 0.5), ("c", 0.1)],
        "nothing": [],
    }
