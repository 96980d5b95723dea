"""Training curves for a small plot: points that a page can hold, told apart by what they measure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.gallery.material import Material, spread

POINTS = 600  # of one curve on the page
CLOCK = ("step", "time", "seconds_left")
RATES = ("samples_per_second", "flops_utilisation", "data_wait")
TOGETHER = ("loss", "validation_loss")  # the first that is looked at


def curves(material: Material) -> list[dict[str, Any]]:
    """Return for each training its steps and figures as JSON: {stage, axis, steps, figures: {name: values}, plots:
    {title: names}, ends: [(name, first, last)]}. What the run was told as it trained has the rates of this machine; a
    finished stage's artifact has the curve itself.
    """
    found = []
    for name in material.run.stages:
        made = material.artifacts.get(name)
        told = f"{material.run.path}/curves/{name}.jsonl"
        paths = [*([told] if material.store.exists(told) else []), *(made.files("curve.jsonl") if made else [])]
        points: dict[int, dict[str, float]] = {}
        for path in paths:
            for point in _points(material.read(path) or b""):
                points.setdefault(int(point["step"]), {}).update(point)
        if points:
            found.append(_curve(name, [points[step] for step in sorted(points)]))
    return found


def share_curve(shares: Mapping[int, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Return shares by samples seen as a curve of the same form; [] without any."""
    if not shares:
        return []
    steps = sorted(shares)
    names = list(dict.fromkeys(n for each in shares.values() for n in each))
    figures = {name: [_number(shares[step].get(name)) for step in steps] for name in names}
    plots = {"overall": ["overall"], "each category": names[1:]} if len(names) > 2 else {"overall": ["overall"]}
    ends = [(_words(name), values[0], values[-1]) for name in names if (values := _known(figures[name]))]
    return [
        {"stage": "share exactly right", "share": True, "axis": "samples seen", "steps": steps, "figures": figures,
         "plots": plots, "ends": ends, "points": len(steps)}
    ]  # fmt: skip


def _points(data: bytes) -> Iterator[dict[str, float]]:
    for line in data.decode().splitlines():
        try:
            point = json.loads(line)
        except ValueError:
            continue  # the last line of a training that is being written
        if isinstance(point, dict) and isinstance(point.get("step"), int):
            yield point


def _curve(stage: str, points: list[dict[str, float]]) -> dict[str, Any]:
    kept = [points[i] for i in spread(len(points), POINTS)]
    names = sorted({name for point in points for name in point} - set(CLOCK) - {"samples"})
    figures = {name: [_number(point.get(name)) for point in kept] for name in names}
    figures = {name: values for name, values in figures.items() if any(v is not None for v in values)}
    losses = [name for name in TOGETHER if name in figures]
    others = [name for name in figures if name not in losses]
    plots = {_words(" and ".join(losses)): losses} if losses else {}
    plots |= {_words(name): [name] for name in sorted(others, key=lambda name: (name in RATES, name))}
    ends = [(_words(name), values[0], values[-1]) for name in (*losses, *others) if (values := _known(figures[name]))]
    return {
        "stage": stage,
        "axis": "step",
        "steps": [point["step"] for point in kept],
        "figures": figures,
        "plots": plots,
        "ends": ends,
        "points": len(points),
    }


def _known(values: list[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(f"{value:.5g}")


def _words(name: str) -> str:
    return name.replace("_", " ")
