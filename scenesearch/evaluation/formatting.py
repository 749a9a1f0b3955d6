"""Metrics and their intervals, formatted for people and for JSON."""

import math
from collections.abc import Mapping
from typing import Any

Interval = tuple[float, float]

LABELS = {
    **{f"recall@{k}": f"Recall@{k}" for k in (1, 5, 10)},
    **{f"success@{k}": f"Success@{k}" for k in (1, 5, 10)},
    "mrr": "MRR",
    "ndcg@10": "nDCG@10",
    "map": "mAP",
    "median_rank": "Median rank",
    "mean_rank": "Mean rank",
}


def metric_rows(
    metrics: Mapping[str, float], ci95: Mapping[str, Interval], depth: int
) -> list[tuple[str, str, str]]:
    """Rows of a table: metric, value and 95 % interval; ranks are known down to `depth`."""
    return [
        (
            LABELS[name],
            format_metric(name, value, depth),
            " – ".join(format_metric(name, end, depth) for end in ci95[name]),
        )
        for name, value in metrics.items()
    ]


def format_metric(name: str, value: float, depth: int) -> str:
    """A metric's value for people: shares in per cent, a rank beyond the depth as `> depth`."""
    if name in ("median_rank", "mean_rank"):
        if not math.isfinite(value):
            # One picture beyond the depth is enough to leave the mean unknown.
            return f"> {depth}" if name == "median_rank" else "unknown"
        return f"{value:g}" if name == "median_rank" else f"{value:.1f}"
    if name.startswith(("recall", "success")):
        return f"{100 * value:.1f} %"
    return f"{value:.3f}"


def metrics_json(metrics: Mapping[str, float], ci95: Mapping[str, Interval]) -> dict[str, Any]:
    """`metrics` and `ci95` in the documented JSON shape; an infinite rank is null."""
    return {
        "metrics": {name: _number(value) for name, value in metrics.items()},
        "ci95": {name: [_number(end) for end in ends] for name, ends in ci95.items()},
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
