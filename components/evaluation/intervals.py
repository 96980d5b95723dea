"""How sure a figure is: bootstrap intervals of means, of means over groups, and of statistics of whole sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Interval = tuple[float, float]
AT_ONCE = 2_000_000  # values drawn at once, 16 MB


def mean_interval(
    values: Sequence[float], groups: Sequence[str] | None = None, seed: int = 0, level: float = 0.95, draws: int = 1000
) -> Interval:
    """Return the bootstrap's percentile interval (low, high) of the mean of `values`.

    With `groups`, one name for each value, it is the interval of the mean over groups' means (GenEval's overall), each
    group drawn again from its own values. Values that are all equal give an interval of no width, and so does one
    value: few values know little of their spread. The same seed gives the same interval. Raises ValueError for no
    values, NaN, groups of another length, and a level outside 0 to 1.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not len(numbers):
        raise ValueError("there are no values to take a mean of: give one or more numbers")
    if not np.isfinite(numbers).all():
        raise ValueError("values hold NaN or infinity: leave out what could not be computed")
    if groups is not None and len(groups) != len(numbers):
        raise ValueError(f"{len(groups)} groups stand for {len(numbers)} values: give one name for each value")
    _check(level, draws)
    generator = np.random.default_rng(seed)
    names = np.asarray(["" for _ in numbers] if groups is None else list(groups))
    means = np.zeros(draws)
    for name in (every := sorted(set(names.tolist()))):
        own = numbers[names == name]
        step = max(1, AT_ONCE // len(own))
        for first in range(0, draws, step):
            chosen = generator.integers(len(own), size=(min(step, draws - first), len(own)))
            means[first : first + step] += own[chosen].mean(1) / len(every)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def statistic_intervals(
    statistic: Callable[..., Mapping[str, float]],
    arrays: Sequence[Any],
    seed: int = 0,
    level: float = 0.95,
    draws: int = 100,
    paired: bool = False,
) -> dict[str, Interval]:
    """Return {name: (low, high)} of what `statistic(*arrays)` says of whole sets, e.g. distances of features.

    Each draw takes half of every array's rows without replacement; `paired` takes the same rows of all. Rows drawn
    twice, as a bootstrap draws them, would be neighbours at distance 0 and change what distances and coverages mean.
    Over halves a mean spreads exactly as much as over new sets of the full size. A half's bias is larger, so the
    interval is the full value and the halves' deviations from their own mean. It says how far chance moves the figure,
    and nothing of its bias.
    `arrays` are tensors or numpy arrays, indexed by int64 rows. Raises ValueError for fewer than 4 rows and as
    `statistic` does.
    """
    _check(level, draws)
    counts = [len(array) for array in arrays]
    if not counts or min(counts) < 4:
        raise ValueError(f"sets of {counts} rows have no halves to compare: give 4 rows or more in each")
    if paired and len(set(counts)) > 1:
        raise ValueError(f"paired sets have {counts} rows: give as many of each")
    whole = dict(statistic(*arrays))
    generator = np.random.default_rng(seed)
    found: dict[str, list[float]] = {name: [] for name in whole}
    for _ in range(draws):
        chosen = [np.sort(generator.permutation(n)[: n // 2]) for n in (counts[:1] if paired else counts)]
        rows = chosen * len(arrays) if paired else chosen
        drawn = statistic(*(array[own] for array, own in zip(arrays, rows, strict=True)))
        for name, values in found.items():
            values.append(float(drawn[name]))
    result = {}
    for name, values in found.items():
        low, high = np.quantile(np.asarray(values) - np.mean(values), [(1 - level) / 2, (1 + level) / 2])
        result[name] = (float(whole[name] + low), float(whole[name] + high))
    return result


def statistic_interval(statistic: Callable[..., float], arrays: Sequence[Any], **options: Any) -> Interval:
    """Return (low, high) of a statistic that is one number; options and errors are those of `statistic_intervals`."""
    return statistic_intervals(lambda *drawn: {"value": statistic(*drawn)}, arrays, **options)["value"]


def _check(level: float, draws: int) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: give a share between 0 and 1, e.g. 0.95")
    if draws < 1:
        raise ValueError(f"draws is {draws}: give how often to draw, e.g. 1000")
