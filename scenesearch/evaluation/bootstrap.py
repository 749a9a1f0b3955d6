"""95 % intervals by resampling images, not queries.

Five captions of one picture succeed and fail together; resampling them one by one would make
intervals look narrower than they are. So pictures are drawn with replacement, and each brings
all its queries along.
"""

import numpy as np
from numpy.typing import NDArray

from scenesearch.evaluation.metrics import Scores
from scenesearch.runtime.cancel import watched

# Resamples worked on at once: bounds memory at 5,000 queries to some 10 MB.
_BLOCK = 100


def bootstrap_ci95(
    scores: Scores, *, resamples: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """The 2.5th and 97.5th percentile of every figure of `scores.means()`.

    The same scores and seed give the same intervals. With a single image both ends are its own.
    """
    _, group = np.unique(np.array(scores.groups, dtype=object), return_inverse=True)
    group_count = int(group.max()) + 1
    values = np.stack(list(scores.per_query.values()), axis=1)  # (queries, metrics)
    sums = np.zeros((group_count, values.shape[1]))
    np.add.at(sums, group, values)  # (groups, metrics)
    sizes = np.bincount(group, minlength=group_count)
    by_rank = np.argsort(scores.first_rank, kind="stable")
    ranks, rank_group = scores.first_rank[by_rank], group[by_rank]
    found = np.isfinite(scores.first_rank)
    rank_sums = np.bincount(group, np.where(found, scores.first_rank, 0), group_count)
    unfound = np.bincount(group, ~found, group_count)

    generator = np.random.default_rng(seed)
    figures = np.empty((resamples, values.shape[1] + 2))
    for start in watched(range(0, resamples, _BLOCK)):
        count = min(_BLOCK, resamples - start)
        drawn = _draw(generator, count, group_count)  # (resamples, groups): times each was drawn
        block = figures[start : start + count]
        block[:, :-2] = (drawn @ sums) / (drawn @ sizes)[:, None]
        block[:, -2] = _weighted_medians(ranks, drawn[:, rank_group])
        block[:, -1] = np.where(drawn @ unfound > 0, np.inf, (drawn @ rank_sums) / (drawn @ sizes))
    # No interpolation between resamples: a rank may be infinite.
    low, high = np.quantile(figures, [0.025, 0.975], axis=0, method="inverted_cdf")
    names = [*scores.per_query, "median_rank", "mean_rank"]
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(names)}


def _draw(generator: np.random.Generator, count: int, group_count: int) -> NDArray[np.int64]:
    picks = generator.integers(group_count, size=(count, group_count))
    offsets = np.arange(count)[:, None] * group_count
    drawn = np.bincount((picks + offsets).ravel(), minlength=count * group_count)
    return drawn.reshape(count, group_count)


def _weighted_medians(
    ascending: NDArray[np.float64], times: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Medians of the values, each taken as often as its column says; `(resamples,)`."""
    upto = np.cumsum(times, axis=1)  # (resamples, queries)
    total = upto[:, -1]
    lower = np.argmax(upto > ((total - 1) // 2)[:, None], axis=1)
    upper = np.argmax(upto > (total // 2)[:, None], axis=1)
    medians: NDArray[np.float64] = (ascending[lower] + ascending[upper]) / 2
    return medians
