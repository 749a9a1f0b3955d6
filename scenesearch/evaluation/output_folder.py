"""The folder that an evaluation leaves: what is written there, and how it is read back."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scenesearch.errors import SceneSearchError
from scenesearch.evaluation.agreement import Agreement
from scenesearch.evaluation.diagnostics import Diagnostics
from scenesearch.evaluation.metrics import QUERY_METRICS, QueryMetrics, ranking
from scenesearch.evaluation.report import render_report
from scenesearch.evaluation.result import Evaluation
from scenesearch.evaluation.trec import read_qrels, write_qrels, write_run
from scenesearch.home.allowed_originals import AllowedOriginals

if TYPE_CHECKING:
    import pandas

SUMMARY, REPORT, PER_QUERY = "summary.json", "report.html", "per_query.parquet"


class ComparisonError(SceneSearchError):
    """Evaluations cannot be read or compared; the message is one sentence for the user."""


def to_document(
    evaluation: Evaluation | None,
    diagnostics: Diagnostics | None,
    agreement: Agreement | None,
    notes: Sequence[str],
) -> dict[str, Any]:
    """The documented JSON shape of `scenesearch evaluate --json`; an infinite rank is null."""
    document: dict[str, Any] = {}
    if evaluation is not None:
        document |= evaluation.to_json()
    if diagnostics is not None:
        document |= diagnostics.to_json()
    if agreement is not None:
        document["agreement"] = agreement.to_json()
    return document | {"notes": list(notes)}


def save(
    folder: Path,
    *,
    title: str,
    evaluation: Evaluation | None,
    diagnostics: Diagnostics | None = None,
    agreement: Agreement | None = None,
    notes: Sequence[str] = (),
    originals: AllowedOriginals | None = None,
) -> None:
    """Write `run.trec`, `qrels.trec`, `per_query.parquet`, `report.html` and `summary.json`.

    The report shows the pictures that `originals` may open. The folder is created if missing; files
    of an earlier evaluation are replaced. The summary is written last: if it exists, the others are
    complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SUMMARY).unlink(missing_ok=True)
    if evaluation is not None:
        save_run(folder, evaluation)
    page = render_report(
        title=title,
        evaluation=evaluation,
        diagnostics=diagnostics,
        agreement=agreement,
        notes=notes,
        originals=originals,
    )
    document = to_document(evaluation, diagnostics, agreement, notes)
    text = json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False)
    # Names from file systems may hold bytes that are not text; they become question marks.
    (folder / REPORT).write_text(page, encoding="utf-8", errors="replace")
    (folder / SUMMARY).write_text(text + "\n", encoding="utf-8", errors="replace")


def save_run(folder: Path, evaluation: Evaluation) -> None:
    """Write `run.trec`, `qrels.trec` and `per_query.parquet`."""
    import pandas  # its import takes longer than many an evaluation

    write_run(folder / "run.trec", evaluation.run, tag=evaluation.encoder)
    write_qrels(folder / "qrels.trec", evaluation.qrels)
    metrics = evaluation.query_metrics
    query_ids = metrics.query_ids
    firsts = [next(iter(ranking(evaluation.run[query_id])), None) for query_id in query_ids]
    ranks = [int(rank) if math.isfinite(rank) else None for rank in metrics.first_rank]
    table = pandas.DataFrame(
        {
            "query_id": query_ids,
            "encoder": evaluation.encoder,
            "text": [evaluation.texts[query_id] for query_id in query_ids],
            "relevant": [list(evaluation.qrels[query_id]) for query_id in query_ids],
            "group": metrics.groups,
            "first_image": firsts,
            "first_rank": pandas.array(ranks, dtype="Int64"),
            **metrics.per_query,
        }
    )
    table.to_parquet(folder / PER_QUERY, index=False)


@dataclass(frozen=True)
class SavedRun:
    """The part of a saved evaluation that a comparison needs."""

    folder: Path
    encoder: str
    gallery: int
    gallery_fingerprint: str
    query_metrics: QueryMetrics
    qrels: dict[str, dict[str, int]]


def read_saved(folder: Path) -> SavedRun:
    """The evaluation that `save` left in the folder; raises ComparisonError."""
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        encoder, gallery = str(summary["encoder"]), int(summary["gallery"])
        fingerprint = str(summary["gallery_fingerprint"])
    except FileNotFoundError:
        raise ComparisonError(f"{folder} holds no evaluation: it has no summary.json") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ComparisonError(f"{folder / SUMMARY} is no summary: {error}") from None
    qrels = read_qrels(folder / "qrels.trec")
    if not qrels:
        raise ComparisonError(f"{folder / 'qrels.trec'} judges no query")
    table = _read_table(folder / PER_QUERY)
    if set(table["query_id"]) != qrels.keys() or len(table) != len(qrels):
        raise ComparisonError(
            f"{folder / PER_QUERY} and {folder / 'qrels.trec'} are about different queries: "
            "the files are of two evaluations"
        )
    if (made_by := str(table["encoder"].iloc[0])) != encoder:
        raise ComparisonError(
            f"{folder / PER_QUERY} is about encoder {made_by}, {folder / SUMMARY} about "
            f"{encoder}: the files are of two evaluations"
        )
    metrics = QueryMetrics(
        tuple(table["query_id"]),
        tuple(table["group"]),
        {name: table[name].to_numpy(np.float64) for name in QUERY_METRICS},
        np.array(table["first_rank"].astype("Float64").fillna(np.inf), np.float64),
    )
    return SavedRun(folder, encoder, gallery, fingerprint, metrics, qrels)


def _read_table(file: Path) -> "pandas.DataFrame":
    """The metrics of each query: a hundredth of the run's size, and all a comparison needs."""
    import pandas

    columns = ["query_id", "encoder", "group", "first_rank", *QUERY_METRICS]
    try:
        return pandas.read_parquet(file, columns=columns)
    except FileNotFoundError:
        raise ComparisonError(f"{file.parent} holds no evaluation: it has no {file.name}") from None
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise ComparisonError(f"{file} is no table of an evaluation: {reason}") from None
