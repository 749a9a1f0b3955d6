"""What is not there is seldom found, and what is there seldom missed."""

from pathlib import Path

import numpy as np
import pytest

from tests.absence import curves, error_when_equal, suite, table


def test_the_suite_names_each_thing_once() -> None:
    absent, later, present = suite("absent"), suite("absent", "later"), suite("present")
    assert len(absent) > 150
    assert len(later) > 150
    assert len(present) > 100
    assert len({*absent, *later, *present}) == len(absent) + len(later) + len(present)


def test_errors_are_equal_where_as_much_is_found_as_is_missed() -> None:
    absent, present = np.array([0.1, 0.2, 0.3, 0.6]), np.array([0.2, 0.5, 0.7, 0.8])
    assert error_when_equal(absent, present) == pytest.approx(0.25)  # at .3 or .5: one of four each
    rows = table({"absent": absent, "present": present}, (0.4,))
    assert rows[-1] == "| 0.40 | 25% | 25% |"


@pytest.mark.slow
@pytest.mark.shared
def test_few_absent_things_are_found_among_the_real_photographs(
    shared_data: Path, tmp_path: Path
) -> None:
    best = curves(shared_data, tmp_path)
    assert error_when_equal(best["absent"], best["captions"]) < 0.1
    assert error_when_equal(best["absent, later"], best["captions"]) < 0.1
    assert error_when_equal(best["absent"], best["short names"]) < 0.22
