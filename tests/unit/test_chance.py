"""The default cut: chance reaches it in one of ten requests, however many pictures there are."""

import numpy as np
import pytest
from numpy.typing import NDArray

from scenesearch.search.chance import KEPT_OUT, measure_chance, measure_chances

DESCRIPTIONS = 400


def _scores(pictures: int, seed: int, descriptions: int = DESCRIPTIONS) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(99).normal(-5, 0.4, size=descriptions)
    return means + rng.normal(size=(pictures, descriptions))


@pytest.mark.parametrize("pictures", [100, 1000])
def test_in_a_library_that_is_seen_as_a_whole_the_cut_is_what_was_reached(pictures: int) -> None:
    scores = _scores(pictures, 0)
    cut = measure_chance(scores).cut(pictures)
    assert (scores.max(axis=0) >= cut).mean() == pytest.approx(1 - KEPT_OUT, abs=0.01)


@pytest.mark.parametrize("pictures", [10_000, 100_000])
def test_more_pictures_raise_the_cut_by_what_chance_gains(pictures: int) -> None:
    cut = measure_chance(_scores(1000, 0)).cut(pictures)
    best = np.full(DESCRIPTIONS, -np.inf)
    for seed in range(1, 1 + pictures // 10_000):
        best = np.maximum(best, _scores(10_000, seed).max(axis=0))
    assert 0.05 <= (best >= cut).mean() <= 0.14


def test_the_cut_rises_with_the_number_of_pictures_up_to_a_million() -> None:
    chance = measure_chance(_scores(1000, 0))
    cuts = [chance.cut(10**power) for power in range(3, 7)]
    assert cuts == sorted(cuts)
    assert 0.5 < cuts[-1] - cuts[0] < 3


def test_descriptions_that_the_library_shows_hardly_raise_the_cut_of_a_large_one() -> None:
    scores = _scores(1000, 0)
    shown = scores.copy()
    shown[:200, :20] += 6  # of one description in twenty every fifth picture
    clean, mixed = (measure_chance(one).cut(100_000) for one in (scores, shown))
    assert 0 <= mixed - clean < 1


def test_a_single_picture_has_a_cut() -> None:
    assert np.isfinite(measure_chance(_scores(1, 0)).cut(1))


def test_single_words_that_chance_reaches_lower_with_have_a_lower_cut() -> None:
    scores = _scores(1000, 0)
    words = np.arange(DESCRIPTIONS) < 100
    scores[:, words] -= 2
    cuts = measure_chances(scores, words).cuts(1000)
    assert cuts.of(True) == pytest.approx(cuts.of(False) - 2, abs=0.5)
    assert (scores[:, words].max(axis=0) >= cuts.word).mean() == pytest.approx(0.09, abs=0.02)
    assert (scores[:, ~words].max(axis=0) >= cuts.other).mean() == pytest.approx(0.09, abs=0.02)


@pytest.mark.parametrize("words", [0, 3, DESCRIPTIONS])
def test_with_few_descriptions_of_a_kind_there_is_one_cut(words: int) -> None:
    scores = _scores(1000, 0)
    cuts = measure_chances(scores, np.arange(DESCRIPTIONS) < words).cuts(1000)
    assert cuts.word == cuts.other == measure_chance(scores).cut(1000)
