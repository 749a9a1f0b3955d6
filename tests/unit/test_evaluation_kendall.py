"""Kendall's tau by hand and against scipy's."""

import math

import numpy as np
import pytest

from scenesearch.evaluation.kendall import kendall_tau


def test_tau_counts_concordant_minus_discordant_pairs() -> None:
    # Pairs of (1, 2, 3, 4) with (1, 3, 2, 2): 12 13 14 agree, 23 24 disagree, 34 is tied.
    tau_b, tau_c = kendall_tau(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 2]))
    assert tau_b == pytest.approx((3 - 2) / math.sqrt(6 * 5))
    assert tau_c == pytest.approx(2 * (3 - 2) / (4**2 * 2 / 3))


@pytest.mark.parametrize("seed", range(5))
def test_tau_agrees_with_scipy_on_tied_data(seed: int) -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy comes with the train extra")
    generator = np.random.default_rng(seed)
    grades = generator.integers(1, 5, size=3000).astype(np.float64)
    scores = np.round(generator.normal(size=3000) + 0.5 * grades, 1 + seed % 3)
    ours_b, ours_c = kendall_tau(scores, grades)
    assert ours_b == pytest.approx(stats.kendalltau(scores, grades, variant="b").statistic)
    assert ours_c == pytest.approx(stats.kendalltau(scores, grades, variant="c").statistic)


def test_tau_of_a_constant_is_not_a_number() -> None:
    tau_b, tau_c = kendall_tau(np.ones(3), np.array([1.0, 2, 3]))
    assert math.isnan(tau_b)
    assert math.isnan(tau_c)


def test_scores_and_grades_of_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        kendall_tau(np.ones(3), np.ones(2))


def test_a_score_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        kendall_tau(np.array([1.0, math.nan]), np.ones(2))
