"""The standard errors of a run's shares, from how many pictures it judged."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping

from pipelines.stages.generator.judged_world import HELD_OUT

GROUPS = {HELD_OUT: ("text_to_image", "overall"), "edits": ("editing", "success")}  # split -> figures, and their mean
SNAPSHOT = "checkpoint at "  # what the splits of snapshots begin with


def judged_counts(lines: Iterable[str]) -> Counter[tuple[str, str]]:
    """Count the pictures judged by (split, category), from the lines of `judgements.jsonl`."""
    rows = (json.loads(line) for line in lines)
    return Counter((row["split"], row["category"]) for row in rows if row["right"] is not None)


def standard_errors(metrics: Mapping[str, float], counts: Mapping[tuple[str, str], int]) -> dict[str, float]:
    """Return the standard errors of the shares that come of counting judged pictures, by figure.

    The curve's mean is over the same few prompts at every snapshot: no more independent than one of them.
    """
    found: dict[str, float] = {}
    for split, (group, whole) in GROUPS.items():
        errors = {
            f"{group}.{category}": _binomial(metrics[f"{group}.{category}"], count)
            for (name, category), count in counts.items()
            if name == split and f"{group}.{category}" in metrics
        }
        if errors:
            found |= errors | {f"{group}.{whole}": math.sqrt(sum(e**2 for e in errors.values())) / len(errors)}
    if metrics.get("tokenizer.retrieval_pool") and "tokenizer.retrieval" in metrics:
        pool = int(metrics["tokenizer.retrieval_pool"])
        found["tokenizer.retrieval"] = _binomial(metrics["tokenizer.retrieval"], pool)
    snapshots: Counter[str] = Counter()
    for (split, _), count in counts.items():
        if split.startswith(SNAPSHOT):
            snapshots[split] += count
    if snapshots and "convergence.mean" in metrics:
        found["convergence.mean"] = _binomial(metrics["convergence.mean"], max(snapshots.values()))
    return found


def _binomial(share: float, count: int) -> float:
    """The standard error of a share of `count`; one of none or all still says no more than its count can (Laplace's
    rule).
    """
    smoothed = (share * count + 1) / (count + 2)
    return math.sqrt(smoothed * (1 - smoothed) / count)
