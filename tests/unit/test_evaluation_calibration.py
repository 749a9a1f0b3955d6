"""Trust in a relevance: by hand, and against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from scenesearch.evaluation.calibration import auroc, cross_fitted, platt


def test_auroc_counts_pairs_in_order_and_ties_half() -> None:
    relevant = np.array([True, False, True, False])
    relevance = np.array([0.9, 0.9, 0.4, 0.2])
    # of 4 pairs: .9-.9 tied, .9-.2 right, .4-.9 wrong, .4-.2 right
    assert auroc(relevant, relevance) == 2.5 / 4
    assert auroc(np.array([True, True]), relevance[:2]) is None


def test_auroc_agrees_with_scikit_learn_on_random_votes_with_ties() -> None:
    generator = np.random.default_rng(3)
    relevance = np.round(generator.random(500), 1)
    relevant = generator.random(500) < relevance
    assert auroc(relevant, relevance) == pytest.approx(roc_auc_score(relevant, relevance))


def test_platt_finds_what_scikit_learn_finds() -> None:
    generator = np.random.default_rng(4)
    logits = generator.normal(-2, 2, 800)
    votes = generator.integers(1, 7, 800).astype(float)
    share = generator.binomial(votes.astype(int), 1 / (1 + np.exp(-(0.7 * logits - 0.4)))) / votes
    regression = LogisticRegression(C=1e6, max_iter=1000)
    regression.fit(
        np.concatenate([logits, logits])[:, None],
        np.repeat([1, 0], len(logits)),
        sample_weight=np.concatenate([share * votes, (1 - share) * votes]),
    )
    slope, intercept = platt(logits, share, votes)
    assert slope == pytest.approx(regression.coef_[0, 0], abs=1e-3)
    assert intercept == pytest.approx(regression.intercept_[0], abs=1e-3)


def test_platt_ends_where_a_line_separates_the_votes() -> None:
    slope, intercept = platt(np.array([-1.0, 1.0]), np.array([0.0, 1.0]), np.ones(2))
    assert np.isfinite([slope, intercept]).all()
    assert slope > 1


def test_a_relevance_that_promises_too_much_is_brought_down_by_pairs_it_shares_nothing_with() -> (
    None
):
    generator = np.random.default_rng(5)
    names = [f"{number}.jpg" for number in range(60)]
    pictures = [names[n] for n in generator.integers(60, size=3000)]
    owners = [names[n] for n in generator.integers(60, size=3000)]
    true = generator.random(3000) * 0.2
    votes = np.full(3000, 3.0)
    share = generator.binomial(3, true) / 3
    promised = np.clip(4 * true, 0.001, 0.999)
    fitted = cross_fitted(promised, share, votes, pictures, owners)
    assert np.abs(promised - true).mean() > 0.2
    assert np.abs(fitted - true).mean() < 0.04


def test_a_pairs_own_votes_do_not_move_its_cross_fitted_relevance() -> None:
    pictures = [f"{n}.jpg" for n in range(40)]
    owners = [f"{(7 * n) % 40}.jpg" for n in range(40)]
    relevance = np.linspace(0.1, 0.9, 40)
    share = (np.arange(40) % 3 == 0).astype(float)
    other = share.copy()
    other[11] = 1 - other[11]
    one = cross_fitted(relevance, share, np.ones(40), pictures, owners)
    two = cross_fitted(relevance, other, np.ones(40), pictures, owners)
    assert one[11] == two[11]
    assert (one != two).any()
