"""The model card of an encoder: what it was made of, how it was measured, what it cannot do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scenesearch.search.contrast import METHOD as CONTRAST

METRICS = {"recall@1": "Recall@1", "recall@5": "Recall@5", "recall@10": "Recall@10", "mrr": "MRR"}


def write_card(folder: Path, run: Mapping[str, Any] | None = None) -> None:
    """Writes README.md from the folder's encoder.json and, where it was trained, its `run`.

    `run` holds what summary.json of a training run holds, and `sources`, the names of its data.
    """
    encoder = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    sections = [
        _head(encoder),
        _parents(encoder.get("parent", {})),
        *([_training(run), _scores(run)] if run else [_unmeasured(encoder)]),
        _relevance(encoder.get("calibration", {})),
        _graphs(encoder),
        _limits(encoder, run),
    ]
    card = "\n\n".join(sections) + "\n"
    partial = folder / "README.md.partial"
    partial.write_text(card, encoding="utf-8")
    partial.replace(folder / "README.md")


def rewrite_relevance(folder: Path) -> None:
    """Brings the card's section on relevance up to date after a calibration."""
    path = folder / "README.md"
    if not path.is_file():
        write_card(folder)
        return
    encoder = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    section = _relevance(encoder.get("calibration", {}))
    card = path.read_text(encoding="utf-8")
    changed, count = re.subn(r"(?ms)^## Relevance$.*?(?=^## |\Z)", lambda _: section + "\n\n", card)
    path.write_text(changed if count else f"{card.rstrip()}\n\n{section}\n", encoding="utf-8")


def _head(encoder: Mapping[str, Any]) -> str:
    height, width = encoder["image"]["size"]
    return (
        f"# {encoder['name']}\n\n"
        f"Texts and pictures in one space of {encoder['dimension']} dimensions, for finding the "
        f"photographs that show a described scene. Pictures are seen at {width} × {height} pixels, "
        f"texts up to {encoder['text']['context_length']} tokens. It is served by scenesearch "
        "without torch:\n\n"
        "    scenesearch ingest PHOTOS --library NAME --encoder THIS_FOLDER\n"
        '    scenesearch search "a boat on a lake at dusk" --library NAME --encoder THIS_FOLDER'
    )


def _parents(parent: Mapping[str, Any]) -> str:
    lines = [f"- base: {parent.get('base', 'unknown')}"]
    names = {
        "revision": "revision",
        "fingerprint": "fingerprint",
        "text_base": "text base",
        "model_type": "kind",
    }
    lines += [f"- {name}: {parent[key]}" for key, name in names.items() if parent.get(key)]
    stated = parent.get("license")
    lines.append(
        f"- licence of the base: {stated}"
        if stated
        else "- licence of the base: not stated in its folder; find out before passing this on"
    )
    return "\n".join(["## Made from", "", *lines])


def _training(run: Mapping[str, Any]) -> str:
    pictures = run["pictures"]
    lines = [
        f"- data: {', '.join(run['sources'])} (fingerprint {run['data_fingerprint']})",
        f"- {pictures['train']} pictures to train on, {pictures['validation']} to select by, "
        f"{run['judged_pairs']} judged pairs; split by picture",
        f"- recipe {run['recipe']}, seed {run['seed']}, {run['steps']} steps, the weights of step "
        f"{run['best_step']} kept; WiSE-FT weight {run['wise_ft']:g} (0 is the base)",
        f"- {run['device']}, {run['duration_s']:.0f} s, commit {run['git_commit']}",
    ]
    return "\n".join(["## Training", "", *lines])


def _scores(run: Mapping[str, Any]) -> str:
    evaluation = run["evaluation"]
    if not evaluation:
        best = max(run["validation"]["wise_ft"], key=lambda row: row["selection"])
        found = ", ".join(f"{key} {best[key]:.1f}" for key in ("R@1", "R@5", "R@10"))
        return (
            "## Scores\n\n"
            "No evaluation set was given. On the validation pictures, which also chose the "
            f"weights and so flatter them: {found} (gallery of {run['pictures']['validation']}). "
            "Measure it on pictures of its own:\n\n"
            "    scenesearch evaluate --queries QUERIES.csv --images FOLDER --encoder THIS_FOLDER"
        )
    parts = [
        "## Scores\n\nText to image, percent, with 95 % bootstrap intervals over pictures. Nothing "
        "of these sets was trained on: pictures were compared by name and content, captions by "
        "their words."
    ]
    for place, found in evaluation.items():
        rows = [
            f"| {title} | {_interval(found['before'][metric])} | "
            f"{_interval(found['after'][metric])} | {_interval(found['gain'][metric], sign=True)} |"
            for metric, title in METRICS.items()
        ]
        table = "\n".join(
            [
                f"{Path(place).name}: {found['queries']} queries, gallery of {found['gallery']}",
                "",
                "| | base | this encoder | gain |",
                "|---|---|---|---|",
                *rows,
            ]
        )
        parts.append(table)
    return "\n\n".join(parts)


def _interval(values: Sequence[float], *, sign: bool = False) -> str:
    spec = "+.1f" if sign else ".1f"
    mean, low, high = (format(value, spec) for value in values)
    return f"{mean} ({low} to {high})"


def _unmeasured(encoder: Mapping[str, Any]) -> str:
    if encoder.get("scores"):
        figures = json.dumps(encoder["scores"], indent=1, ensure_ascii=False)
        return f"## Scores\n\nAs its encoder.json states them:\n\n```json\n{figures}\n```"
    return (
        "## Scores\n\nNot measured here. On pictures and queries of your own:\n\n"
        "    scenesearch evaluate --queries QUERIES.csv --images FOLDER --encoder THIS_FOLDER"
    )


def _relevance(calibration: Mapping[str, Any]) -> str:
    if not calibration:
        return (
            "## Relevance\n\nNot calibrated: a search measures relevance against few descriptions, "
            "until `scenesearch models calibrate THIS_FOLDER` measures it once."
        )
    if calibration.get("method") == CONTRAST:
        return (
            f"## Relevance\n\nMeasured against {calibration['fitted_on']}: no probability until "
            "`scenesearch models calibrate THIS_FOLDER --data FOLDER` has seen judgments."
        )
    figures = {"auroc": "AUROC", "auroc_crowd": "of the crowd's", "ece": "ECE", "brier": "Brier"}
    found = ", ".join(
        f"{title} {calibration[key]:.3f}" for key, title in figures.items() if key in calibration
    )
    return (
        f"## Relevance\n\nFitted on {calibration.get('fitted_on', 'judgments')}, "
        f"cross-fitted by picture and query: {found}."
    )


def _graphs(encoder: Mapping[str, Any]) -> str:
    size = sum(part["bytes"] for part in encoder["files"].values()) / 1e6
    text = f"## Graphs\n\nWeights stored as {encoder.get('precision', 'fp32')}, {size:.1f} MB."
    if parity := encoder.get("parity"):
        text += " Least cosine to torch on probes: " + ", ".join(
            f"{side} {value}" for side, value in parity.items()
        )
        text += "."
    if verified := encoder.get("verified"):
        text += " Taken as the hub has them. Least cosine of an embedding alone and in a batch: "
        text += ", ".join(f"{side} {value}" for side, value in verified.items()) + "."
    if accepted := encoder.get("int8_accepted_by"):
        text += (
            f" Recall@10 on {accepted['pictures']} validation pictures: "
            f"{accepted['recall@10 of fp32']:.1f} in fp32, {accepted['recall@10']:.1f} as stored."
        )
    return text


def _limits(encoder: Mapping[str, Any], run: Mapping[str, Any] | None) -> str:
    lines = [
        "- It knows scenes like those of its data, in the language of its captions; on others the "
        "figures above say nothing.",
        "- Counting, left and right, who does what to whom, and words inside pictures are where "
        "encoders of this kind fail first.",
        "- What a base learned from the web or from one country's photographs about people, it "
        "still believes. Do not use it to decide anything about a person.",
    ]
    if run and run["pictures"]["validation"] < 500:
        lines.append(
            f"- {run['pictures']['validation']} validation pictures chose its weights: differences "
            "of a point or two between recipes are luck."
        )
    return "\n".join(["## Limits", "", *lines])
