"""The result of an evaluation: the run, its metrics with intervals, and what was left out."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scenesearch.evaluation.formatting import metric_rows, metrics_json
from scenesearch.evaluation.metrics import Qrels, QueryMetrics, Run
from scenesearch.evaluation.slices import Slice, slices
from scenesearch.store.filters import Filter

Reason = Literal[
    "empty text",
    "names no image",
    "not in the library",
    "in the library under several folders",
    "excluded by the filter",
    "no picture judged relevant",
    "named twice, counted once",
]


@dataclass(frozen=True)
class Omission:
    """Relevant images (`image_ids`) of a query that do not count, and the reason.

    `left_out` says that the whole query does not count: no relevant image remained, or it has no
    text. `line` is the query's line in its file, 0 without a file.
    """

    query_id: str
    reason: Reason
    image_ids: tuple[str, ...]
    left_out: bool
    line: int = 0

    def sentence(self) -> str:
        """The omission as a sentence."""
        images = f": {', '.join(self.image_ids)}" if self.image_ids else ""
        effect = "left out" if self.left_out else "judged without"
        return f"query {self.query_id} {effect} ({self.reason}{images})"


@dataclass(frozen=True)
class Evaluation:
    """A run, its qrels, and the metrics.

    `gallery` counts the pictures searched: with a filter, those that fit it. `metrics` are means
    over the queries, and `ci95` has their keys. `median_rank` is infinite when it lies beyond
    `depth`, `mean_rank` when the first relevant image of any query does. `embeddings` `(queries,
    dim)` are those of the texts, in the order of `query_metrics.query_ids`.
    """

    encoder: str
    fingerprint: str
    library: str
    gallery: int
    gallery_fingerprint: str
    depth: int
    texts: dict[str, str]
    qrels: Qrels
    run: Run
    query_metrics: QueryMetrics
    metrics: dict[str, float]
    ci95: dict[str, tuple[float, float]]
    omissions: tuple[Omission, ...]
    embeddings: NDArray[np.float32]
    where: Filter = ()

    @property
    def query_count(self) -> int:
        """Number of queries that were measured."""
        return len(self.qrels)

    @property
    def images_asked_for(self) -> int:
        """Number of different images that the queries ask for: the intervals resample these."""
        return len(set(self.query_metrics.groups))

    @property
    def left_out(self) -> int:
        """Number of queries that could not be measured."""
        return len({omission.query_id for omission in self.omissions if omission.left_out})

    def rows(self) -> list[tuple[str, str, str]]:
        """Rows of a table: metric, value and 95 % interval."""
        return metric_rows(self.metrics, self.ci95, self.depth)

    @cached_property
    def slices(self) -> list[Slice]:
        """Metrics of queries that have something in common, see `scenesearch.evaluation.slices`."""
        return slices(self.query_metrics, self.texts)

    def to_json(self) -> dict[str, Any]:
        """The documented JSON shape of `scenesearch evaluate --json`; an infinite rank is null."""
        return {
            "encoder": self.encoder,
            "gallery": self.gallery,
            "queries": self.query_count,
            **metrics_json(self.metrics, self.ci95),
            "fingerprint": self.fingerprint,
            "library": self.library,
            "gallery_fingerprint": self.gallery_fingerprint,
            "depth": self.depth,
            "images_asked_for": self.images_asked_for,
            "left_out": self.left_out,
            "slices": {part.name: part.to_json() for part in self.slices},
            "omissions": [
                {
                    "query_id": omission.query_id,
                    "reason": omission.reason,
                    "images": list(omission.image_ids),
                    "left_out": omission.left_out,
                    "line": omission.line,
                }
                for omission in self.omissions
            ],
        }
