"""`report.html`: the evaluation for people to read, print and keep, in one self-contained file."""

import base64
import importlib.resources
import io
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from PIL import ImageOps

from scenesearch.evaluation import plots
from scenesearch.evaluation.agreement import Agreement
from scenesearch.evaluation.bootstrap import curve_band
from scenesearch.evaluation.diagnostics import Diagnostics
from scenesearch.evaluation.formatting import format_metric, metric_rows
from scenesearch.evaluation.metrics import place
from scenesearch.evaluation.result import Evaluation
from scenesearch.evaluation.slices import Slice
from scenesearch.home.allowed_originals import AllowedOriginals
from scenesearch.pictures.opening import ImageError, open_image
from scenesearch.pictures.originals import OriginalError

CURVE = 100  # cutoffs of the recall curve
MOST_NOTES = 50
_RESAMPLES = 200
_SIDE = 200  # pixels of a picture in the report
_SLICE_METRIC = "recall@10"

AGREEMENT_LABELS = {
    "expert_tau_c": "Expert tau-c",
    "crowd_tau_b": "Crowd tau-b",
    "expert_ndcg@10": "Expert nDCG@10, judged pictures only",
    "mae": "MAE of relevance and crowd's share",
    "rmse": "RMSE of relevance and crowd's share",
    "auroc": "AUROC, cross-fitted",
    "auroc_crowd": "AUROC of the crowd's half, cross-fitted",
    "ece": "ECE, cross-fitted",
    "brier": "Brier score, cross-fitted",
    "shipped_auroc": "AUROC, as the encoder declares it",
    "shipped_auroc_crowd": "AUROC of the crowd's half, as declared",
    "shipped_ece": "ECE, as declared",
    "shipped_brier": "Brier score, as declared",
}


def render_report(
    *,
    title: str,
    evaluation: Evaluation | None,
    diagnostics: Diagnostics | None,
    agreement: Agreement | None,
    notes: Sequence[str],
    originals: AllowedOriginals | None,
) -> str:
    """The page, with the pictures that `originals` may open.

    `notes` are sentences about what was left out. The template escapes all text from files.
    """
    import jinja2

    source = importlib.resources.files("scenesearch.evaluation").joinpath("report.html")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(source.read_text(encoding="utf-8"))
    values: dict[str, Any] = {
        "title": title,
        "evaluation": evaluation,
        "details": diagnostics,
        "agreement": agreement,
        "notes": notes[:MOST_NOTES],
        "more_notes": max(0, len(notes) - MOST_NOTES),
        "slice_metric": _SLICE_METRIC,
        "format_metric": format_metric,
        "percent": lambda value: f"{100 * value:.1f} %",
    }
    if evaluation is not None:
        values |= _curves(evaluation)
        values["slice_plot"] = _slice_plot(evaluation, evaluation.slices)
    if evaluation is not None and diagnostics is not None:
        reverse = diagnostics.image_to_text
        values["back_rows"] = metric_rows(reverse.metrics, reverse.ci95, evaluation.query_count)
        values["field_plot"] = _slice_plot(evaluation, diagnostics.field_slices)
        values["latency_plot"] = plots.latency_plot(diagnostics.latency)
        values["thumbnail"] = _thumbnails(originals or AllowedOriginals(()))
    if agreement is not None:
        values["agreement_rows"] = agreement_rows(agreement)
        values["reliability_plot"] = plots.reliability_diagram(
            agreement.reliability, agreement.shipped_reliability
        )
    return template.render(values)


def agreement_rows(agreement: Agreement) -> list[tuple[str, str, str, str]]:
    """Rows of a table: label, value, interval, and what was counted."""
    rows = []
    for name, label in AGREEMENT_LABELS.items():
        if name not in agreement.figures:
            continue
        scale = 100 if "tau" in name else 1
        digits = 1 if "tau" in name else 3
        value = f"{scale * agreement.figures[name]:.{digits}f}"
        low, high = (f"{scale * end:.{digits}f}" for end in agreement.ci95[name])
        rows.append((label, value, f"{low} – {high}", _counted(name, agreement)))
    return rows


def _counted(name: str, agreement: Agreement) -> str:
    if name == "expert_tau_c":
        return f"{agreement.expert_pairs:,} pairs, each grade a point"
    if name == "expert_ndcg@10":
        return f"{agreement.ndcg_queries:,} queries"
    if name in ("crowd_tau_b", "mae", "rmse") or name.endswith("crowd"):
        return f"{agreement.crowd_pairs:,} pairs"
    return f"{agreement.votes:,} votes"


def _curves(evaluation: Evaluation) -> dict[str, str]:
    cutoffs = min(CURVE, evaluation.depth)
    recall = np.zeros((len(evaluation.qrels), cutoffs))  # (queries, cutoffs)
    for row, (query_id, grades) in enumerate(evaluation.qrels.items()):
        placement = place(grades, evaluation.run.get(query_id, {}))
        for rank in placement.ranks:
            recall[row, rank - 1 :] += 1 / len(placement.ideal)
    low, high = curve_band(recall, evaluation.query_metrics.groups, resamples=_RESAMPLES)
    return {
        "recall_plot": plots.recall_curve(recall.mean(axis=0), low, high),
        "rank_plot": plots.rank_histogram(evaluation.query_metrics.first_rank, evaluation.depth),
    }


def _slice_plot(evaluation: Evaluation, parts: Sequence[Slice]) -> str:
    if not parts:
        return ""
    return plots.interval_plot(parts, _SLICE_METRIC, evaluation.metrics[_SLICE_METRIC])


def _thumbnails(originals: AllowedOriginals) -> Callable[[str, str], str]:
    """Gives a picture as a data URI, by path and content; empty if it cannot be opened."""

    @cache
    def thumbnail(path: str, sha256: str) -> str:
        try:
            picture = open_image(originals.at(path, sha256), reduce_to=2 * _SIDE).image
        except (ImageError, OriginalError):
            return ""
        small = ImageOps.contain(picture.convert("RGB"), (_SIDE, _SIDE))
        file = io.BytesIO()
        small.save(file, "JPEG", quality=72)
        return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"

    return thumbnail
