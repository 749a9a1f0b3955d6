"""`report.html`: one file that needs nothing beside it, for people to read, print and keep."""

import base64
import importlib.resources
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps

from scenesearch.evaluation import plots
from scenesearch.evaluation.agreement import Agreement
from scenesearch.evaluation.details import Details
from scenesearch.evaluation.evaluate import Evaluation
from scenesearch.evaluation.figures import figure_rows, shown
from scenesearch.evaluation.metrics import place
from scenesearch.evaluation.slices import Slice
from scenesearch.home.allowed_originals import AllowedOriginals
from scenesearch.pictures.opening import ImageError, open_image
from scenesearch.pictures.originals import OriginalError

CURVE = 100  # cutoffs of the recall curve
MOST_OMISSIONS = 50
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
    details: Details | None,
    agreement: Agreement | None,
    notes: Sequence[str] = (),
    originals: AllowedOriginals | None = None,
) -> str:
    """The page, with the pictures that `originals` holds; where there are none, without.

    `notes` are sentences on what was left out. Words of files are escaped by the template.
    """
    import jinja2

    source = importlib.resources.files("scenesearch.evaluation").joinpath("report.html")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(source.read_text(encoding="utf-8"))
    values: dict[str, Any] = {
        "title": title,
        "evaluation": evaluation,
        "details": details,
        "agreement": agreement,
        "notes": notes[:MOST_OMISSIONS],
        "more_notes": max(0, len(notes) - MOST_OMISSIONS),
        "slice_metric": _SLICE_METRIC,
        "shown": shown,
        "percent": lambda value: f"{100 * value:.1f} %",
    }
    if evaluation is not None:
        values |= _curves(evaluation)
        values["slice_plot"] = _slice_plot(evaluation, evaluation.slices)
    if evaluation is not None and details is not None:
        back = details.image_to_text
        values["back_rows"] = figure_rows(back.metrics, back.ci95, evaluation.query_count)
        values["field_plot"] = _slice_plot(evaluation, details.field_slices)
        values["latency_plot"] = plots.latency_plot(details.latency)
        values["thumbnail"] = _Thumbnails(originals or AllowedOriginals(())).of
    if agreement is not None:
        values["agreement_rows"] = agreement_rows(agreement)
        values["reliability_plot"] = plots.reliability_diagram(
            agreement.reliability, agreement.shipped_reliability
        )
    return template.render(values)


def write_report(path: Path, page: str) -> None:
    """Names from file systems may hold bytes that are no text; they become question marks."""
    path.write_text(page, encoding="utf-8", errors="replace")


def agreement_rows(agreement: Agreement) -> list[tuple[str, str, str, str]]:
    """Label, value, interval and what was counted, in words."""
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
    low, high = _band(recall, evaluation.scores.groups)
    return {
        "recall_plot": plots.recall_curve(recall.mean(axis=0), low, high),
        "rank_plot": plots.rank_histogram(evaluation.scores.first_rank, evaluation.depth),
    }


def _band(
    values: NDArray[np.float64], groups: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % of each column's mean over resampled pictures; `values` is `(queries, columns)`."""
    _, group = np.unique(np.array(groups, dtype=object), return_inverse=True)
    count = int(group.max()) + 1
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, group, values)
    sizes = np.bincount(group, minlength=count)
    generator = np.random.default_rng(0)
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)
    means = (drawn @ sums) / (drawn @ sizes)[:, None]  # (resamples, columns)
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return low, high


def _slice_plot(evaluation: Evaluation, parts: Sequence[Slice]) -> str:
    if not parts:
        return ""
    return plots.interval_plot(parts, _SLICE_METRIC, evaluation.metrics[_SLICE_METRIC])


@dataclass
class _Thumbnails:
    """Pictures as data URIs, each made once; an empty string where there is none to see."""

    originals: AllowedOriginals

    def __post_init__(self) -> None:
        self._made: dict[str, str] = {}

    def of(self, path: str, sha256: str) -> str:
        if path not in self._made:
            try:
                picture = open_image(self.originals.at(path, sha256), reduce_to=2 * _SIDE).image
            except (ImageError, OriginalError):
                self._made[path] = ""
            else:
                small = ImageOps.contain(picture.convert("RGB"), (_SIDE, _SIDE))
                file = io.BytesIO()
                small.save(file, "JPEG", quality=72)
                encoded = base64.b64encode(file.getvalue()).decode("ascii")
                self._made[path] = f"data:image/jpeg;base64,{encoded}"
        return self._made[path]
