"""What an evaluation found: figures with intervals, what was left out, and the files it leaves."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scenesearch.evaluation.figures import figure_rows, figures_json
from scenesearch.evaluation.metrics import Qrels, Run, Scores, ranking
from scenesearch.evaluation.runs import write_qrels, write_run
from scenesearch.evaluation.slices import Slice, slices
from scenesearch.store.filters import Filter

PER_QUERY = "per_query.parquet"

Reason = Literal[
    "empty text",
    "names no image",
    "not in the library",
    "in the library under several folders",
    "excluded by the filter",
    "no picture judged relevant",
]


@dataclass(frozen=True)
class Omission:
    """Relevant images (`image_ids`) that a query was not judged by, and why.

    With `left_out` none remained, or there was no text, and the query is not in the figures.
    `line` is the query's in its file, 0 where there is none.
    """

    query_id: str
    reason: Reason
    image_ids: tuple[str, ...]
    left_out: bool
    line: int = 0

    def sentence(self) -> str:
        """The case in words, for a log."""
        images = f": {', '.join(self.image_ids)}" if self.image_ids else ""
        fate = "left out" if self.left_out else "judged without"
        return f"query {self.query_id} {fate} ({self.reason}{images})"


@dataclass(frozen=True)
class Evaluation:
    """A run, the qrels it was judged by, and the figures; `run` and `qrels` are worth keeping.

    `gallery` counts the images searched among (with a filter: those that fit it). `ci95` has the
    keys of `metrics`. `median_rank` is infinite when it lies beyond `depth`, `mean_rank` when any
    query's first relevant image does. `embeddings` `(queries, dim)` are the texts', in the order of
    `scores.query_ids`.
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
    scores: Scores
    metrics: dict[str, float]
    ci95: dict[str, tuple[float, float]]
    omissions: tuple[Omission, ...]
    embeddings: NDArray[np.float32]
    where: Filter = ()

    @property
    def query_count(self) -> int:
        """Number of queries in the figures."""
        return len(self.qrels)

    @property
    def images_asked_for(self) -> int:
        """Number of different images the queries are about: what the intervals resample."""
        return len(set(self.scores.groups))

    @property
    def left_out(self) -> int:
        """Number of queries that could not be measured."""
        return len({omission.query_id for omission in self.omissions if omission.left_out})

    def rows(self) -> list[tuple[str, str, str]]:
        """Metric, value and 95 % interval as words for a table."""
        return figure_rows(self.metrics, self.ci95, self.depth)

    @cached_property
    def slices(self) -> list[Slice]:
        """Figures of queries that share a trait, see `scenesearch.evaluation.slices`."""
        return slices(self.scores, self.texts)

    def to_json(self) -> dict[str, Any]:
        """The documented JSON shape of `scenesearch evaluate --json`; an infinite rank is null."""
        return {
            "encoder": self.encoder,
            "gallery": self.gallery,
            "queries": self.query_count,
            **figures_json(self.metrics, self.ci95),
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

    def save(self, folder: Path) -> None:
        """Write `run.trec`, `qrels.trec` and `per_query.parquet` into the folder."""
        write_run(folder / "run.trec", self.run, tag=self.encoder)
        write_qrels(folder / "qrels.trec", self.qrels)
        self._write_per_query(folder / PER_QUERY)

    def _write_per_query(self, path: Path) -> None:
        import pandas  # takes longer to import than many an evaluation takes to run

        query_ids = self.scores.query_ids
        firsts = [next(iter(ranking(self.run[query_id])), None) for query_id in query_ids]
        ranks = [int(rank) if math.isfinite(rank) else None for rank in self.scores.first_rank]
        table = pandas.DataFrame(
            {
                "query_id": query_ids,
                "encoder": self.encoder,
                "text": [self.texts[query_id] for query_id in query_ids],
                "relevant": [list(self.qrels[query_id]) for query_id in query_ids],
                "group": self.scores.groups,
                "first_image": firsts,
                "first_rank": pandas.array(ranks, dtype="Int64"),
                **self.scores.per_query,
            }
        )
        table.to_parquet(path, index=False)
