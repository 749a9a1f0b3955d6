"""What is not there is seldom found, and what is there seldom missed."""

from pathlib import Path

import numpy as np
import pytest

from scenesearch.search.background import read_descriptions
from tests.absence import curves, error_when_equal, suite, table
from tests.chance import SIZES, ClipVectors, Lite


def test_the_suite_names_each_thing_once() -> None:
    absent, later, present = suite("absent"), suite("absent", "later"), suite("present")
    assert len(absent) > 150
    assert len(later) > 150
    assert len(present) > 100
    assert len({*absent, *later, *present}) == len(absent) + len(later) + len(present)
    assert not {*absent, *later, *present} & set(read_descriptions())


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


@pytest.mark.slow
@pytest.mark.shared
def test_the_default_cut_holds_for_real_clip_vectors(shared_data: Path) -> None:
    clip = ClipVectors(shared_data)
    for gallery in clip.galleries():
        errors = clip.errors(gallery)
        assert errors.found <= 0.115, gallery.name
        assert round(errors.missed, 3) <= 0.15, gallery.name
    matching, others = clip.bands()
    assert matching >= 0.8
    assert others <= 0.05


@pytest.mark.slow
@pytest.mark.shared
def test_the_default_cut_holds_in_small_and_large_libraries(shared_data: Path) -> None:
    lite = Lite(shared_data)
    for size in SIZES:
        shipped = lite.errors(lite.shipped, "flickr8k", size)
        assert shipped.found <= 0.12, size
        assert shipped.missed <= 0.1, size
        contrast = lite.errors(lite.contrast, "flickr8k", size)
        assert contrast.found <= 0.12, size
        assert contrast.when_equal <= shipped.when_equal + 0.03, size
    dogs = lite.bands(lite.shipped, ["dog"])
    assert dogs["matching, of the first ten"]["weak"] == 0
    assert dogs["others"]["weak"] > 0.99
