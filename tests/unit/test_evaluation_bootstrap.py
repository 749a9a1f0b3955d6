"""Intervals resample pictures and repeat to the last digit."""

import math

import numpy as np
import pytest

from scenesearch.evaluation.bootstrap import bootstrap_ci95
from scenesearch.evaluation.metrics import QueryMetrics, score_queries


def scores_of(first_ranks: list[float], groups: list[str]) -> QueryMetrics:
    """Queries whose single relevant image stands at these ranks."""
    qrels = {f"q{number}": {group: 1} for number, group in enumerate(groups)}
    run = {
        f"q{number}": {f"other{i:04d}": 1.0 for i in range(int(rank) - 1)} | {groups[number]: 0.5}
        for number, rank in enumerate(first_ranks)
        if math.isfinite(rank)
    }
    return score_queries(qrels, run)


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others() -> None:
    ranks = [float(rank) for rank in np.random.default_rng(1).integers(1, 30, size=200)]
    scores = scores_of(ranks, [f"img{i}" for i in range(200)])
    first = bootstrap_ci95(scores)
    assert bootstrap_ci95(scores) == first
    assert bootstrap_ci95(scores, seed=1)["mrr"] != first["mrr"]


def test_an_interval_encloses_its_figure_for_every_metric() -> None:
    ranks = [float(rank) for rank in np.random.default_rng(2).integers(1, 30, size=200)]
    scores = scores_of(ranks, [f"img{i}" for i in range(200)])
    intervals = bootstrap_ci95(scores)
    figures = scores.means()
    assert intervals.keys() == figures.keys()
    for name, (low, high) in intervals.items():
        assert low <= figures[name] <= high
        assert low < high


def test_the_interval_of_a_share_has_the_width_the_binomial_gives() -> None:
    scores = scores_of([1.0] * 200 + [2.0] * 200, [f"img{i}" for i in range(400)])
    low, high = bootstrap_ci95(scores, resamples=4000)["recall@1"]
    half = 1.96 * math.sqrt(0.5 * 0.5 / 400)
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.006)


def test_captions_of_one_picture_move_together() -> None:
    # 400 queries of 80 pictures, five alike each: no more is known than from 80 queries.
    ranks = [1.0] * 200 + [2.0] * 200
    grouped = scores_of(ranks, [f"img{i // 5}" for i in range(400)])
    low, high = bootstrap_ci95(grouped, resamples=4000)["recall@1"]
    half = 1.96 * math.sqrt(0.5 * 0.5 / 80)
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.015)


def test_a_single_picture_leaves_nothing_to_vary() -> None:
    scores = scores_of([1.0, 2.0], ["img", "img"])
    intervals = bootstrap_ci95(scores)
    assert intervals["recall@1"] == (0.5, 0.5)
    assert intervals["median_rank"] == (1.5, 1.5)


def test_every_resampled_median_is_the_median_of_the_resample() -> None:
    # Two pictures: resamples are {a,a}, {a,b}, {b,b} with medians 1, 2.5 and 4.
    scores = scores_of([1.0, 4.0], ["a", "b"])
    assert bootstrap_ci95(scores)["median_rank"] == (1.0, 4.0)
    # Uneven groups: {a,a}: 1 1, {a,b}: 1 3 5 7, {b,b}: 3 3 5 5 7 7.
    uneven = scores_of([1.0, 3.0, 5.0, 7.0], ["a", "b", "b", "b"])
    assert bootstrap_ci95(uneven)["median_rank"] == (1.0, 5.0)


def test_a_median_rank_may_be_unbounded_above() -> None:
    scores = scores_of([1.0] * 6 + [math.inf] * 5, [f"img{i}" for i in range(11)])
    low, high = bootstrap_ci95(scores)["median_rank"]
    assert (low, high) == (1.0, math.inf)


def test_a_mean_rank_is_unbounded_as_soon_as_a_drawn_picture_was_not_found() -> None:
    all_found = scores_of([1.0, 3.0] * 10, [f"img{i}" for i in range(20)])
    low, high = bootstrap_ci95(all_found)["mean_rank"]
    assert 1 < low < 2 < high < 3
    one_lost = scores_of([1.0] * 10 + [math.inf], [f"img{i}" for i in range(11)])
    assert bootstrap_ci95(one_lost)["mean_rank"] == (1.0, math.inf)
