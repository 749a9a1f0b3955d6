"""The other way round: does a picture find the texts that ask for it?

The store holds pictures only, so this direction is an exact product, in blocks of pictures: memory
does not grow with the gallery. The relevant texts of a picture are the queries that ask for it.
"""

import itertools
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from scenesearch.evaluation.metrics import Placement, Scores, score_placements
from scenesearch.evaluation.outcome import Evaluation
from scenesearch.runtime.cancel import watched
from scenesearch.store.base import VectorStore

_BLOCK = 512  # pictures at once: 10 MB of cosines with 5,000 texts


def image_to_text(evaluation: Evaluation, store: VectorStore) -> Scores:
    """Metrics of every picture asked for, each a question to all texts of the evaluation.

    Cosines equal to six decimals count as tied, ties rank by query id: the last bits of a product
    differ from machine to machine.
    """
    query_ids = evaluation.scores.query_ids
    order = np.argsort(np.array(query_ids, dtype=object), kind="stable")
    by_id = np.empty(len(order), np.int64)
    by_id[order] = np.arange(len(order))  # each query's place in the order of ids
    asking: dict[str, dict[int, int]] = defaultdict(dict)  # picture -> its queries and grades
    for row, query_id in enumerate(query_ids):
        for image_id, grade in evaluation.qrels[query_id].items():
            if grade > 0:
                asking[image_id][row] = grade
    points = (
        point
        for point in store.scroll(
            evaluation.library, where=evaluation.where, payload=(), with_vectors=True
        )
        if point.image_id in asking
    )
    placed: dict[str, Placement] = {}
    while block := list(itertools.islice(points, _BLOCK)):
        vectors = np.stack([point.vector for point in block if point.vector is not None])
        cosines = np.round(vectors @ evaluation.embeddings.T, 6)  # (pictures, queries)
        for point, row in watched(zip(block, cosines, strict=True)):
            placed[point.image_id] = _place(row, asking[point.image_id], by_id)
    image_ids = tuple(sorted(placed))
    return score_placements(image_ids, image_ids, [placed[image_id] for image_id in image_ids])


def _place(
    cosines: NDArray[np.float32], grades: dict[int, int], by_id: NDArray[np.int64]
) -> Placement:
    ranked = sorted((1 + _before(cosines, row, by_id), grade) for row, grade in grades.items())
    return Placement(
        ranks=tuple(rank for rank, _ in ranked),
        grades=tuple(grade for _, grade in ranked),
        ideal=tuple(sorted(grades.values(), reverse=True)),
    )


def _before(cosines: NDArray[np.float32], row: int, by_id: NDArray[np.int64]) -> int:
    """How many texts rank above the one in this row."""
    own = cosines[row]
    return int((cosines > own).sum() + ((cosines == own) & (by_id < by_id[row])).sum())
