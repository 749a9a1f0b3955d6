"""What a library's marks do to relevance."""

import numpy as np
import pytest

from scenesearch.search.refine import fit


def _marks(shift: float, gain: float, number: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    log_odds = rng.normal(-1, 2, size=number)
    right = rng.uniform(size=number) < 1 / (1 + np.exp(-(shift + gain * log_odds)))
    return log_odds, right


def test_many_marks_find_the_shift_and_the_gain() -> None:
    shift, gain = fit(*_marks(1.5, 0.7, 5000))
    assert shift == pytest.approx(1.5, abs=0.15)
    assert gain == pytest.approx(0.7, abs=0.08)


def test_marks_that_agree_with_the_relevance_change_nothing() -> None:
    shift, gain = fit(*_marks(0, 1, 5000))
    assert (shift, gain) == (pytest.approx(0, abs=0.12), pytest.approx(1, abs=0.1))


def test_few_marks_move_little() -> None:
    shift, gain = fit(np.full(10, -2.0), np.array([True] * 5 + [False] * 5))
    assert 0 < shift < 2
    assert 0.5 < gain < 1.1
