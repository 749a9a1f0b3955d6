"""Calibration from votes."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from training.calibrate import Votes, cross_fitted_auroc, fit_platt


def votes(cosines, yes, no, image_ids=None) -> Votes:
    ids = image_ids or tuple(f"{n}.jpg" for n in range(len(cosines)))
    return Votes(tuple(ids), np.array(cosines), np.array(yes, float), np.array(no, float))


def test_two_cosines_get_back_the_shares_that_were_voted():
    slope, intercept = fit_platt(votes([0.0, 1.0], [1, 3], [3, 1]))
    # sigmoid(intercept) = 1/4 and sigmoid(slope + intercept) = 3/4
    assert intercept == pytest.approx(-np.log(3), abs=1e-3)
    assert slope == pytest.approx(2 * np.log(3), abs=1e-3)


def test_a_pair_judged_by_more_people_weighs_more():
    few = fit_platt(votes([0.0, 1.0, 1.0], [1, 1, 0], [3, 0, 1]))
    many = fit_platt(votes([0.0, 1.0, 1.0], [1, 6, 0], [3, 0, 1]))
    assert sum(many) > sum(few)


def test_votes_of_one_kind_cannot_be_calibrated_on():
    with pytest.raises(ValueError, match="both kinds"):
        fit_platt(votes([0.1, 0.2], [0, 0], [3, 3]))


def test_cosines_that_order_the_votes_have_the_best_auroc():
    cosines = np.linspace(0, 1, 60)
    yes = (cosines > 0.5).astype(int) * 2 + 1
    ordered = votes(cosines, yes, 4 - yes)
    assert cross_fitted_auroc(ordered, folds=3) > 0.9
    shuffled = np.random.default_rng(0).permutation(cosines)
    assert 0.2 < cross_fitted_auroc(votes(shuffled, yes, 4 - yes), folds=3) < 0.8
