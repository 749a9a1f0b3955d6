"""Image to text: does a picture find the texts that ask for it?

The store holds only pictures, so this direction is an exact matrix product, in blocks of pictures:
memory does not grow with the gallery. A picture's relevant texts are the queries that ask for it.
"""

import itertools
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from scenesearch.evaluation.metrics import Placement, QueryMetrics, score_placements
from scenesearch.evaluation.result import Evaluation
from scenesearch.runtime.cancel import cancellable
from scenesearch.store.base import VectorStore

_BLOCK = 512  # pictures at once: 10 MB of cosines with 5,000 texts


def image_to_text(evaluation: Evaluation, store: VectorStore) -> QueryMetrics:
    """Metrics with each picture asked for as a query, and all texts of the evaluation as gallery.

    Cosines that agree to six decimals are ties, which rank by query id: the last bits of a product
    differ from machine to machine.
    """
    query_ids = evaluation.query_metrics.query_ids
    order = np.argsort(np.array(query_ids, dtype=object), kind="stable")
    by_id = np.empty(len(order), np.int64)
    by_id[order] = np.arange(len(order))  # each query's place in the order of ids
    relevant: dict[str, dict[int, int]] = defaultdict(dict)  # picture -> its queries and grades
    for row, query_id in enumerate(query_ids):
        for image_id, grade in evaluation.qrels[query_id].items():
            if grade > 0:
                relevant[image_id][row] = grade
    points = (
        point
        for point in store.scroll(
            evaluation.library, where=evaluation.where, payload=(), with_vectors=True
        )
        if point.image_id in relevant
    )
    placed: dict[str, Placement] = {}
    while block := list(itertools.islice(points, _BLOCK)):
        vectors = np.stack([point.vector for point in block if point.vector is not None])
        cosines = np.round(vectors @ evaluation.embeddings.T, 6)  # (pictures, queries)
        for point, row in cancellable(zip(block, cosines, strict=True)):
            grades = relevant[point.image_id]
            found = sorted((_rank(row, text, by_id), grade) for text, grade in grades.items())
            placed[point.image_id] = Placement.of(found, grades.values())
    image_ids = tuple(sorted(placed))
    return score_placements(image_ids, image_ids, [placed[image_id] for image_id in image_ids])


def _rank(cosines: NDArray[np.float32], text: int, by_id: NDArray[np.int64]) -> int:
    """The rank of one text among all, from 1."""
    own = cosines[text]
    return 1 + int((cosines > own).sum() + ((cosines == own) & (by_id < by_id[text])).sum())
