"""The report's plots, as SVG whose colours come from the page: light, dark or print."""

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scenesearch.evaluation.latency import Latency
from scenesearch.evaluation.slices import Slice

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# matplotlib writes colours as numbers; these numbers are then replaced by the page's variables.
_INK, _FAINT, _GRID, _ACCENT, _SECOND = "#010101", "#020202", "#030303", "#040404", "#050505"
_VARIABLES = {
    _INK: "var(--ink)",
    _FAINT: "var(--faint)",
    _GRID: "var(--grid)",
    _ACCENT: "var(--accent)",
    _SECOND: "var(--second)",
}
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _GRID,
    "text.color": _INK,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
}
RANK_BINS = (1, 2, 6, 11, 21, 51, 101, 201, 501)


def recall_curve(
    recall: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> str:
    """Recall@k for k = 1, 2, ... `(cutoffs,)` with its 95 % band."""
    with _axes("Recall at each cutoff, with its 95 % band", (6.4, 3.2)) as (plot, axes):
        cutoffs = np.arange(1, len(recall) + 1)
        axes.fill_between(cutoffs, 100 * low, 100 * high, color=_ACCENT, alpha=0.2, linewidth=0)
        axes.plot(cutoffs, 100 * recall, color=_ACCENT)
        axes.set(xlabel="first k pictures", ylabel="Recall@k, %", ylim=(0, 102))
        if len(recall) > 1:
            axes.set_xscale("log")
            axes.set_xlim(1, len(recall))
            ticks = [k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if k <= len(recall)]
            axes.set_xticks(ticks, [str(k) for k in ticks])
            axes.minorticks_off()
        axes.grid(axis="y")
    return plot.svg


def rank_histogram(first_rank: NDArray[np.float64], depth: int) -> str:
    """How many queries have their first relevant picture in which range of ranks."""
    starts = [start for start in RANK_BINS if start <= depth]
    ends = [*(start - 1 for start in starts[1:]), depth]
    labels = [
        str(start) if start == end else f"{start}–{end}"
        for start, end in zip(starts, ends, strict=True)
    ]
    counts = [
        int(((first_rank >= start) & (first_rank <= end)).sum())
        for start, end in zip(starts, ends, strict=True)
    ]
    missing = int((~np.isfinite(first_rank)).sum())
    if missing:
        labels, counts = [*labels, "not found"], [*counts, missing]
    with _axes("Queries by the rank of their first relevant picture", (6.4, 3.0)) as (plot, axes):
        bars = axes.bar(labels, counts, color=_ACCENT)
        axes.bar_label(bars, padding=2, color=_INK)
        axes.set(xlabel="rank of the first relevant picture", ylabel="queries")
    return plot.svg


def interval_plot(parts: Sequence[Slice], metric: str, overall: float) -> str:
    """A metric of each slice with its interval, one below the other, and the overall value."""
    title = f"{metric} of each slice with its 95 % interval"
    least = max(0, 10 * (int(min(part.ci95[metric][0] for part in parts) * 10)) - 10)
    with _axes(title, (6.4, 0.7 + 0.26 * len(parts))) as (plot, axes):
        for row, part in enumerate(reversed(parts)):
            low, high = (100 * end for end in part.ci95[metric])
            axes.plot([low, high], [row, row], color=_ACCENT, linewidth=2, alpha=0.6)
            axes.plot(100 * part.metrics[metric], row, "o", color=_ACCENT, markersize=5)
        axes.axvline(100 * overall, color=_FAINT, linewidth=1, linestyle="--")
        names = [f"{part.name} ({part.queries})" for part in reversed(parts)]
        # Names may come from anybody: a dollar sign is no mathematics.
        axes.set_yticks(range(len(parts)), names, parse_math=False)
        axes.set(
            xlabel=f"{metric.capitalize()}, %", xlim=(least, 102), ylim=(-0.7, len(parts) - 0.3)
        )
        axes.grid(axis="x")
    return plot.svg


def reliability_diagram(
    fitted: Sequence[Mapping[str, float]], shipped: Sequence[Mapping[str, float]]
) -> str:
    """Relevance against the share of votes that said yes, in bins of equally many votes."""
    with _axes("Relevance against the share of people who said yes", (4.6, 4.2)) as (plot, axes):
        axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, linestyle="--")
        for bins, label, colour, marker in (
            (shipped, "as the encoder declares it", _SECOND, "s"),
            (fitted, "cross-fitted", _ACCENT, "o"),
        ):
            axes.plot(
                [row["relevance"] for row in bins],
                [row["share"] for row in bins],
                marker=marker,
                markersize=4,
                color=colour,
                label=label,
            )
        most = max(max(row["relevance"], row["share"]) for row in [*fitted, *shipped])
        edge = min(1.0, 1.08 * most)
        axes.set(xlabel="relevance", ylabel="share of votes that said yes")
        axes.set(xlim=(0, edge), ylim=(0, edge))
        axes.legend(loc="upper left")
        axes.grid()
    return plot.svg


def latency_plot(latency: Latency) -> str:
    """Percentiles of the parts of a warm request, in milliseconds."""
    percentiles = list(next(iter(latency.warm.values())))
    colours = dict(zip(percentiles, (_ACCENT, _SECOND, _FAINT), strict=True))
    with _axes("Milliseconds of a warm request", (6.4, 2.4)) as (plot, axes):
        parts = list(latency.warm)
        for place, name in enumerate(percentiles):
            rows = np.arange(len(parts))[::-1] + 0.26 * (1 - place)
            values = [latency.warm[part][name] for part in parts]
            bars = axes.barh(rows, values, height=0.24, color=colours[name], label=name)
            axes.bar_label(bars, fmt="%.1f", padding=2, color=_INK, fontsize=8)
        axes.set_yticks(range(len(parts)), parts[::-1])
        axes.set(xlabel="ms")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(percentiles))
    return plot.svg


@dataclass
class _Plot:
    svg: str = ""


@contextmanager
def _axes(title: str, size: tuple[float, float]) -> Iterator[tuple[_Plot, "Axes"]]:
    """An empty plot; after the block `svg` holds it, with the title as its text for screen readers.

    The Figure is made directly: pyplot would choose a display and keep a list of figures.
    """
    import matplotlib
    from matplotlib.figure import Figure

    plot = _Plot()
    # Element ids are hashed with the title: plots of one page must not share any.
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": title}):
        figure: Figure = Figure(figsize=size, layout="constrained")
        yield plot, figure.add_subplot()
        plot.svg = _as_svg(figure, title)


def _as_svg(figure: "Figure", title: str) -> str:
    file = io.StringIO()
    with warnings.catch_warnings(action="ignore"):
        # matplotlib's own font may lack letters that the reader's has.
        figure.savefig(
            file, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = file.getvalue()
    text = re.sub("<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    opening, rest = text.split(">", 1)
    # As wide as the page allows; the view box keeps the shape.
    opening = re.sub(r' (width|height)="[^"]*"', "", opening)
    return f'{opening} role="img" aria-label="{title}">{rest}'
