"""Trying again: what passes, what stays, and when patience ends."""

import time
from collections.abc import Callable

import pytest

from scenesearch.runtime.retry import RetryPolicy, retry


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses that were asked for; a clock that they move."""
    asked: list[float] = []
    clock = [0.0]

    def sleep(seconds: float) -> None:
        asked.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr("scenesearch.runtime.retry.sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    return asked


def failing(times: int) -> Callable[[], str]:
    left = [times]

    def do() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(left[0])
        return "done"

    return do


def test_pauses_double_up_to_the_longest_each_jittered_by_half(pauses: list[float]) -> None:
    heard = []
    patience = RetryPolicy(deadline_s=100, first_pause_s=1, longest_pause_s=4)
    done = retry(
        failing(5), patience, delay_of=lambda e: 0.0, on_retry=lambda e, s: heard.append(s)
    )
    assert done == "done"
    assert pauses == heard
    for pause, middle in zip(pauses, [1, 2, 4, 4, 4], strict=True):
        assert 0.5 * middle <= pause <= 1.5 * middle


def test_error_that_stays_is_raised_at_once(pauses: list[float]) -> None:
    with pytest.raises(OSError, match="4"):
        retry(failing(5), RetryPolicy(deadline_s=100), delay_of=lambda e: None)
    assert pauses == []


def test_count_and_deadline_each_end_it(pauses: list[float]) -> None:
    with pytest.raises(OSError, match="7"):  # the third of ten failures
        retry(failing(10), RetryPolicy(deadline_s=1000, tries=3), delay_of=lambda e: 0.0)
    assert len(pauses) == 2
    pauses.clear()
    patience = RetryPolicy(deadline_s=10, first_pause_s=4, longest_pause_s=4)
    with pytest.raises(OSError):
        retry(failing(10), patience, delay_of=lambda e: 0.0)
    assert sum(pauses) <= 10


def test_what_the_other_side_asks_for_is_waited_at_least(pauses: list[float]) -> None:
    retry(failing(1), RetryPolicy(deadline_s=100, first_pause_s=0.1), delay_of=lambda e: 7.0)
    assert pauses == [7.0]


def test_longer_than_there_is_patience_is_not_waited(pauses: list[float]) -> None:
    with pytest.raises(OSError):
        retry(failing(1), RetryPolicy(deadline_s=5), delay_of=lambda e: 60.0)
    assert pauses == []
