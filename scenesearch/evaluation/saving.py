"""What an evaluation leaves in its folder, and the one document that `--json` prints."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scenesearch.evaluation.agreement import Agreement
from scenesearch.evaluation.details import Details
from scenesearch.evaluation.outcome import Evaluation
from scenesearch.evaluation.report import render_report, write_report
from scenesearch.home.allowed_originals import AllowedOriginals

SUMMARY, REPORT = "summary.json", "report.html"


def document_of(
    evaluation: Evaluation | None, details: Details | None, agreement: Agreement | None
) -> dict[str, Any]:
    """The documented JSON shape of `scenesearch evaluate --json`; an infinite rank is null."""
    document: dict[str, Any] = {}
    if evaluation is not None:
        document |= evaluation.to_json()
    if details is not None:
        document |= details.to_json()
    if agreement is not None:
        document["agreement"] = agreement.to_json()
    return document


def save(
    folder: Path,
    document: Mapping[str, Any],
    *,
    title: str,
    evaluation: Evaluation | None,
    details: Details | None,
    agreement: Agreement | None,
    notes: Sequence[str] = (),
    originals: AllowedOriginals | None = None,
) -> None:
    """Write run, qrels and per-query table (of queries), `report.html` and `summary.json`.

    The report shows the pictures that `originals` holds. The folder is made when missing; files of
    an earlier evaluation are replaced. The summary comes last: where it stands, the others are
    complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SUMMARY).unlink(missing_ok=True)
    if evaluation is not None:
        evaluation.save(folder)
    page = render_report(
        title=title,
        evaluation=evaluation,
        details=details,
        agreement=agreement,
        notes=notes,
        originals=originals,
    )
    write_report(folder / REPORT, page)
    text = json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False)
    (folder / SUMMARY).write_text(text + "\n", encoding="utf-8", errors="replace")
