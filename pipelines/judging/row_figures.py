"""Figures of judges' rows: means over pictures, by category, kind and source, each beside chance and ceiling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_GROUPS = 50  # kinds or sources that have figures of their own: the most frequent ones
DRAWS = 1000  # of a bootstrap


@dataclass(frozen=True)
class Held:
    """The figures of one picture, and what it is grouped by."""

    figures: Mapping[str, float]
    category: str = ""
    source: str = ""


def figures_of(rows: Mapping[str, Mapping[str, Any]], judges: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the figures of one picture from {judge: row}: numbers, and truth values as 0 and 1.

    They are called KEY_JUDGE where the judge's entry in `judges` says `suffixed`, else KEY. Judges without an entry are
    left out.
    """
    found = {}
    for judge, row in rows.items():
        if judge in judges:
            for key, value in row.items():
                if isinstance(value, bool | int | float):
                    found[f"{key}_{judge}" if judges[judge]["suffixed"] else key] = float(value)
    return found


def means(held: Sequence[Held]) -> dict[str, float]:
    """Return the mean of each figure over the pictures that have it."""
    return {name: sum(values) / len(values) for name, values in columns(held).items()}


def columns(held: Sequence[Held]) -> dict[str, list[float]]:
    """Return the values of each figure, of the pictures that have it, in order."""
    found: dict[str, list[float]] = {}
    for each in held:
        for name, value in each.figures.items():
            found.setdefault(name, []).append(value)
    return found


def grouped(held: Sequence[Held], by: str) -> dict[str, dict[str, float]]:
    """Return the means of each group by `category` or `source`; {} where there is one group alone."""
    names = Counter(getattr(each, by) for each in held)
    if len(names) < 2:
        return {}
    chosen = sorted(name for name, _ in names.most_common(MOST_GROUPS) if name)
    return {name: means([each for each in held if getattr(each, by) == name]) for name in chosen}


def intervals(held: Sequence[Held], seed: int) -> dict[str, list[float]]:
    """Return the 95 % bootstrap interval of each figure's mean, [low, high]."""
    from components.evaluation.intervals import mean_interval

    return {name: list(mean_interval(values, seed=seed, draws=DRAWS)) for name, values in columns(held).items()}
