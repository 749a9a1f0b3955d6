"""How many pictures are encoded together."""

import threading
from statistics import median

import pytest

from ingest import batch_size
from ingest.batch_size import BatchSize


def found_out(seconds_a_picture: dict[int, float]) -> BatchSize:
    """After the first batches, each size as quick as said."""
    sizes = BatchSize()
    for _ in range(20):
        size = sizes.current
        sizes.begun()
        sizes.took(size, size * seconds_a_picture[size])
    return sizes


@pytest.mark.parametrize(
    ("seconds_a_picture", "chosen"),
    [
        ({4: 1.00, 8: 1.00, 16: 1.00, 32: 1.00}, 4),
        ({4: 1.20, 8: 1.00, 16: 0.99, 32: 0.97}, 8),
        ({4: 4.00, 8: 2.00, 16: 1.20, 32: 1.00}, 32),
        ({4: 1.00, 8: 1.10, 16: 1.40, 32: 2.00}, 4),
    ],
)
def test_smallest_size_within_five_per_cent_of_the_quickest(
    seconds_a_picture: dict[int, float], chosen: int
) -> None:
    assert found_out(seconds_a_picture).current == chosen


def test_given_size_is_kept_whatever_it_takes() -> None:
    sizes = BatchSize(3)
    for _ in range(20):
        sizes.begun()
        sizes.took(3, 99.0)
    assert (sizes.current, sizes.largest) == (3, 3)


def test_one_slow_batch_and_the_first_of_all_decide_nothing() -> None:
    sizes = BatchSize()
    for turn in range(16):
        size = sizes.current
        sizes.begun()
        sizes.took(size, size * (50.0 if turn in (0, 5) else 1.0))
    assert sizes.current == 4


def test_the_first_batches_are_the_smallest_since_a_short_run_has_no_others() -> None:
    assert (BatchSize().current, BatchSize().largest) == (4, 8)


def test_a_size_is_tried_only_where_the_last_doubling_saved_much() -> None:
    xeon = {4: 1.05 / 67, 8: 1 / 67, 16: 1 / 71, 32: 1 / 70}  # measured: 16 takes twice the memory
    sizes = found_out(xeon)
    assert (sizes.current, sizes.largest) == (4, 4)
    gpu = {4: 1.0, 8: 0.55, 16: 0.32, 32: 0.31}
    assert found_out(gpu).current == 16


def test_two_workers_that_tell_at_once_decide_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = BatchSize()
    others: list[threading.Thread] = []

    def while_another_tells(values: list[float]) -> float:
        if not others:
            others.append(threading.Thread(target=sizes.took, args=(8, 8.0)))
            others[0].start()
            others[0].join(0.2)
        return median(values)

    monkeypatch.setattr(batch_size, "median", while_another_tells)
    for _ in range(8):
        size = sizes.current
        sizes.begun()
        sizes.took(size, size * {4: 2.0, 8: 1.0}[size])
    others[0].join()
    assert sizes._tried == [4, 8, 16]
