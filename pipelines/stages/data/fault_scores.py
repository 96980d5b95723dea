"""How planted faults were caught, among a stage's metrics."""

from __future__ import annotations

from typing import Any

from pipelines.stage import StageContext


def keep_scores(context: StageContext, group: str, scored: dict[str, dict[str, Any]]) -> None:
    """Put precision and recall of each planted fault into `metrics.<group>`; what cannot be computed goes to
    `metrics.absent` with its reason.
    """
    for fault, figures in scored.items():
        absent = figures.pop("absent", None)
        context.metrics[group][fault] = figures
        if absent:
            context.metrics.setdefault("absent", {})[f"{group}.{fault}"] = absent
