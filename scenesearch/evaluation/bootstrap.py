"""95 % intervals by bootstrap over pictures, not over queries.

Five captions of one picture succeed and fail together. Resampling them one by one would make the
intervals look narrower than they are. So pictures are drawn with replacement, each with all its
queries.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scenesearch.evaluation.metrics import QueryMetrics
from scenesearch.runtime.cancel import cancellable

Floats = NDArray[np.float64]

# Resamples computed at once: limits memory at 5,000 queries to about 10 MB.
_BLOCK = 100


def group_sums(
    values: Floats, groups: Sequence[str]
) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64]]:
    """Each query's group number `(queries,)`; of each group the sums of its queries' `values`
    `(queries, columns)` and its number of queries."""
    _, group = np.unique(np.array(groups, dtype=object), return_inverse=True)
    sizes = np.bincount(group)
    sums = np.zeros((len(sizes), values.shape[1]))
    np.add.at(sums, group, values)
    return group, sums, sizes


def bootstrap_ci95(
    metrics: QueryMetrics, *, resamples: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """The 2.5th and 97.5th percentile of everything in `metrics.means()`.

    The same metrics and seed give the same intervals. With a single picture both ends are equal.
    """
    values = np.stack(list(metrics.per_query.values()), axis=1)  # (queries, metrics)
    group, sums, sizes = group_sums(values, metrics.groups)
    group_count = len(sizes)
    by_rank = np.argsort(metrics.first_rank, kind="stable")
    ranks, rank_group = metrics.first_rank[by_rank], group[by_rank]
    found = np.isfinite(metrics.first_rank)
    rank_sums = np.bincount(group, np.where(found, metrics.first_rank, 0), group_count)
    unfound = np.bincount(group, ~found, group_count)

    generator = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1] + 2))
    for start in cancellable(range(0, resamples, _BLOCK)):
        count = min(_BLOCK, resamples - start)
        drawn = _draw(generator, count, group_count)  # (resamples, groups): times each was drawn
        block = means[start : start + count]
        block[:, :-2] = (drawn @ sums) / (drawn @ sizes)[:, None]
        block[:, -2] = _weighted_medians(ranks, drawn[:, rank_group])
        block[:, -1] = np.where(drawn @ unfound > 0, np.inf, (drawn @ rank_sums) / (drawn @ sizes))
    # No interpolation between resamples: a rank may be infinite.
    low, high = np.quantile(means, [0.025, 0.975], axis=0, method="inverted_cdf")
    names = [*metrics.per_query, "median_rank", "mean_rank"]
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(names)}


def curve_band(values: Floats, groups: Sequence[str], *, resamples: int) -> tuple[Floats, Floats]:
    """95 % interval of each column's mean; `values` is `(queries, columns)`."""
    _, sums, sizes = group_sums(values, groups)
    count = len(sizes)
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=resamples)
    means = (drawn @ sums) / (drawn @ sizes)[:, None]  # (resamples, columns)
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return low, high


def _draw(generator: np.random.Generator, count: int, group_count: int) -> NDArray[np.int64]:
    picks = generator.integers(group_count, size=(count, group_count))
    offsets = np.arange(count)[:, None] * group_count
    drawn = np.bincount((picks + offsets).ravel(), minlength=count * group_count)
    return drawn.reshape(count, group_count)


def _weighted_medians(ascending: Floats, times: NDArray[np.int64]) -> Floats:
    """Medians of the values, each counted as often as its column says; `(resamples,)`."""
    upto = np.cumsum(times, axis=1)  # (resamples, queries)
    total = upto[:, -1]
    lower = np.argmax(upto > ((total - 1) // 2)[:, None], axis=1)
    upper = np.argmax(upto > (total // 2)[:, None], axis=1)
    medians: Floats = (ascending[lower] + ascending[upper]) / 2
    return medians
