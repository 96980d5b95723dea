"""Figures of curation's report as PNG, for where no page is opened: the funnel, and the signals with their
thresholds.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

KEPT, DROPPED, FAILED, BOUND = "#2f7d4f", "#b8620b", "#b3261e", "#1f5fbf"
COLUMNS = 3


@dataclass(frozen=True)
class Histogram:
    """The values of a signal in kept rows and in others, the edges of the bars, and its thresholds."""

    name: str
    kept: np.ndarray
    lost: np.ndarray
    edges: Sequence[float]
    is_log: bool
    limits: Sequence[float]


def funnel_png(came_in: int, steps: Sequence[tuple[str, bool, int, int]], unit: str) -> bytes:
    """One bar for what came in, and one for what each step (name, whether it failed, lost, left) left and took."""
    figure = _figure(9, 1.2 + 0.32 * (1 + len(steps)), "constrained")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    rows = [("came in", False, 0, came_in), *steps]
    places = range(len(rows))
    axes.barh(places, [left for *_, left in rows], color=KEPT)
    axes.barh(
        places,
        [lost for *_, lost, _ in rows],
        left=[left for *_, left in rows],
        color=[FAILED if failed else DROPPED for _, failed, *_ in rows],
    )
    for place, (_, _, lost, left) in enumerate(rows):
        axes.text(left + lost, place, f"  {left:,}" + (f"  (−{lost:,})" if lost else ""), va="center", fontsize=8)
    axes.set_yticks(list(places), [name.replace("_", " ") for name, *_ in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, max(1, came_in) * 1.15)
    axes.set_xlabel(f"{unit} left", fontsize=8)
    return _png(figure)


def signals_png(signals: Sequence[Histogram]) -> bytes:
    """A histogram of every signal: kept rows below, others on them, thresholds as lines."""
    rows = max(1, -(-len(signals) // COLUMNS))
    figure = _figure(11, 2.1 * rows, None)  # an engine of layout takes longer than all the rest
    figure.subplots_adjust(left=0.05, right=0.98, top=1 - 0.25 / rows, bottom=0.2 / rows, hspace=0.5)
    for number, signal in enumerate(signals, start=1):
        axes = figure.add_subplot(rows, COLUMNS, number)
        parts = [np.clip(part, signal.edges[0], signal.edges[-1]) for part in (signal.kept, signal.lost)]
        axes.hist(parts, bins=list(signal.edges), stacked=True, color=[KEPT, DROPPED])
        for limit in signal.limits:
            axes.axvline(limit, color=BOUND, linestyle="--")
        if signal.is_log:
            axes.set_xscale("log")
        axes.set_title(signal.name.replace("_", " "), fontsize=9)
        axes.tick_params(labelsize=7)
    return _png(figure)


def _figure(width: float, height: float, layout: Literal["constrained"] | None) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
