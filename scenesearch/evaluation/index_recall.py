"""How much of what exact search finds the index finds: its loss told apart from the model's."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from scenesearch.evaluation.metrics import ranking
from scenesearch.evaluation.outcome import Evaluation
from scenesearch.runtime.cancel import watched
from scenesearch.store.ask import Ask
from scenesearch.store.base import VectorStore

CUTOFFS = (1, 10, 100)
MOST_QUERIES = 500
_SAME = 1e-5  # scores this near are the same picture's, or as good


@dataclass(frozen=True)
class IndexRecall:
    """Share of the exact k nearest that the index returned, by k, as a mean over `queries`."""

    queries: int
    at: dict[int, float]

    def to_json(self) -> dict[str, Any]:
        return {"queries": self.queries, **{f"recall@{k}": value for k, value in self.at.items()}}


def index_recall(evaluation: Evaluation, store: VectorStore) -> IndexRecall:
    """Asks at most 500 of the queries, evenly spread, again and exactly.

    A returned picture counts when it is as near as the exact k-th, so that ties cost nothing. A k
    beyond the depth of the run is left out.
    """
    count = len(evaluation.scores.query_ids)
    rows = np.unique(np.linspace(0, count - 1, min(count, MOST_QUERIES)).astype(int))
    cutoffs = [k for k in CUTOFFS if k <= evaluation.depth] or [evaluation.depth]
    found: dict[int, list[float]] = {k: [] for k in cutoffs}
    for row in watched(rows):
        ask = Ask(
            evaluation.embeddings[row],
            limit=cutoffs[-1],
            where=evaluation.where,
            payload=(),
            exact=True,
        )
        exact = store.search(evaluation.library, ask)
        hits = evaluation.run[evaluation.scores.query_ids[row]]
        scores = [hits[image_id] for image_id in ranking(hits)[: cutoffs[-1]]]
        for k in cutoffs:
            least = exact[k - 1].score - _SAME
            found[k].append(sum(score >= least for score in scores[:k]) / k)
    return IndexRecall(len(rows), {k: float(np.mean(values)) for k, values in found.items()})
