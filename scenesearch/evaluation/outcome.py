"""What an evaluation found: figures with intervals, what was left out, and the files it leaves."""

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from scenesearch.evaluation.metrics import Qrels, Run, Scores, ranking
from scenesearch.evaluation.runs import write_qrels, write_run
from scenesearch.evaluation.slices import Slice, slices

Reason = Literal[
    "empty text",
    "names no image",
    "not in the library",
    "in the library under several folders",
    "excluded by the filter",
]


@dataclass(frozen=True)
class Omission:
    """Relevant images (`image_ids`) that a query was not judged by, and why.

    With `left_out` none remained, or there was no text, and the query is not in the figures.
    """

    query_id: str
    reason: Reason
    image_ids: tuple[str, ...]
    left_out: bool

    def sentence(self) -> str:
        """The case in words, for a log."""
        images = f": {', '.join(self.image_ids)}" if self.image_ids else ""
        fate = "left out" if self.left_out else "judged without"
        return f"query {self.query_id} {fate} ({self.reason}{images})"


@dataclass(frozen=True)
class Timing:
    """Milliseconds: encoding per query in batches, and one search of `depth` hits each."""

    encode_ms: float
    search_p50_ms: float
    search_p95_ms: float


@dataclass(frozen=True)
class Evaluation:
    """A run, the qrels it was judged by, and the figures; `run` and `qrels` are worth keeping.

    `gallery` counts the images searched among (with a filter: those that fit it). `ci95` has the
    keys of `metrics`. `median_rank` is infinite when it lies beyond `depth`.
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
    timing: Timing

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
        return [
            (
                _LABELS[name],
                _format(name, value, self.depth),
                " – ".join(_format(name, end, self.depth) for end in self.ci95[name]),
            )
            for name, value in self.metrics.items()
        ]

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
            "metrics": {name: _json_number(value) for name, value in self.metrics.items()},
            "ci95": {
                name: [_json_number(end) for end in interval]
                for name, interval in self.ci95.items()
            },
            "fingerprint": self.fingerprint,
            "library": self.library,
            "gallery_fingerprint": self.gallery_fingerprint,
            "depth": self.depth,
            "images_asked_for": self.images_asked_for,
            "left_out": self.left_out,
            "slices": {
                part.name: {
                    "queries": part.queries,
                    "images_asked_for": part.images,
                    "metrics": {k: _json_number(value) for k, value in part.metrics.items()},
                    "ci95": {
                        k: [_json_number(end) for end in ends] for k, ends in part.ci95.items()
                    },
                }
                for part in self.slices
            },
            "omissions": [
                {
                    "query_id": omission.query_id,
                    "reason": omission.reason,
                    "images": list(omission.image_ids),
                    "left_out": omission.left_out,
                }
                for omission in self.omissions
            ],
            "timing_ms": {
                "encode": self.timing.encode_ms,
                "search_p50": self.timing.search_p50_ms,
                "search_p95": self.timing.search_p95_ms,
            },
        }

    def save(self, folder: Path) -> list[Path]:
        """Write `run.trec`, `qrels.trec`, `per_query.parquet` and `summary.json`; the paths.

        The folder is made when missing; files of an earlier evaluation are replaced. The summary
        comes last: where it stands, the others are complete.
        """
        folder.mkdir(parents=True, exist_ok=True)
        run, qrels, table, summary = (
            folder / name
            for name in ("run.trec", "qrels.trec", "per_query.parquet", "summary.json")
        )
        summary.unlink(missing_ok=True)
        write_run(run, self.run, tag=self.encoder)
        write_qrels(qrels, self.qrels)
        self._write_per_query(table)
        document = json.dumps(self.to_json(), ensure_ascii=False, indent=2, allow_nan=False)
        summary.write_text(document + "\n", encoding="utf-8")
        return [run, qrels, table, summary]

    def _write_per_query(self, path: Path) -> None:
        import pandas  # takes longer to import than many an evaluation takes to run

        query_ids = self.scores.query_ids
        firsts = [next(iter(ranking(self.run[query_id])), None) for query_id in query_ids]
        ranks = [int(rank) if math.isfinite(rank) else None for rank in self.scores.first_rank]
        table = pandas.DataFrame(
            {
                "query_id": query_ids,
                "text": [self.texts[query_id] for query_id in query_ids],
                "relevant": [list(self.qrels[query_id]) for query_id in query_ids],
                "group": self.scores.groups,
                "first_image": firsts,
                "first_rank": pandas.array(ranks, dtype="Int64"),
                **self.scores.per_query,
            }
        )
        table.to_parquet(path, index=False)


_LABELS = {
    **{f"recall@{k}": f"Recall@{k}" for k in (1, 5, 10)},
    **{f"success@{k}": f"Success@{k}" for k in (1, 5, 10)},
    "mrr": "MRR",
    "ndcg@10": "nDCG@10",
    "map": "mAP",
    "median_rank": "Median rank",
}


def _format(name: str, value: float, depth: int) -> str:
    if name == "median_rank":
        return f"{value:g}" if math.isfinite(value) else f"> {depth}"
    if name.startswith(("recall", "success")):
        return f"{100 * value:.1f} %"
    return f"{value:.3f}"


def _json_number(value: float) -> float | None:
    return value if math.isfinite(value) else None
