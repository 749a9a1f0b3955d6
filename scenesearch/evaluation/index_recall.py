"""How much of exact search the index finds: its own loss, apart from that of the model."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from scenesearch.evaluation.metrics import ranking
from scenesearch.evaluation.result import Evaluation
from scenesearch.evaluation.sampling import spread_evenly
from scenesearch.runtime.cancel import cancellable
from scenesearch.store.ask import Ask
from scenesearch.store.base import VectorStore

CUTOFFS = (1, 10, 100)
MOST_QUERIES = 500
_SAME = 1e-5  # scores closer than this count as equal


@dataclass(frozen=True)
class IndexRecall:
    """Mean share of the exact k nearest that the index returned, by k, over `queries`."""

    queries: int
    at: dict[int, float]

    def to_json(self) -> dict[str, Any]:
        return {"queries": self.queries, **{f"recall@{k}": value for k, value in self.at.items()}}


def index_recall(evaluation: Evaluation, store: VectorStore) -> IndexRecall:
    """Asks at most 500 of the queries, evenly spread, again with exact search.

    A returned picture counts when it is as near as the exact k-th, so that ties do no harm. A k
    beyond the depth of the run is left out.
    """
    query_ids = evaluation.query_metrics.query_ids
    rows = spread_evenly(len(query_ids), MOST_QUERIES)
    cutoffs = [k for k in CUTOFFS if k <= evaluation.depth] or [evaluation.depth]
    found: dict[int, list[float]] = {k: [] for k in cutoffs}
    for row in cancellable(rows):
        ask = Ask(
            evaluation.embeddings[row],
            limit=cutoffs[-1],
            where=evaluation.where,
            payload=(),
            exact=True,
        )
        exact = store.search(evaluation.library, ask)
        hits = evaluation.run[query_ids[row]]
        scores = [hits[image_id] for image_id in ranking(hits)[: cutoffs[-1]]]
        for k in cutoffs:
            least = exact[k - 1].score - _SAME
            found[k].append(sum(score >= least for score in scores[:k]) / k)
    return IndexRecall(len(rows), {k: float(np.mean(values)) for k, values in found.items()})
