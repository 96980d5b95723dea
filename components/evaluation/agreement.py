"""Whether two measures order the same things alike."""

from __future__ import annotations

import math
from collections.abc import Sequence


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Return Spearman's rank correlation of two measures of the same things, -1 to 1; equal values share their rank.

    Raises ValueError for fewer than 3 things, another length, NaN, and a measure that is the same everywhere, which
    orders nothing.
    """
    from scipy.stats import spearmanr

    if len(a) != len(b):
        raise ValueError(f"{len(a)} values stand against {len(b)}: give both measures of the same things")
    if len(a) < 3:
        raise ValueError(f"{len(a)} things have no order to compare: give 3 or more")
    for name, values in (("first", a), ("second", b)):
        if not all(math.isfinite(value) for value in values):
            raise ValueError(f"the {name} measure holds NaN or infinity: leave out what could not be computed")
        if len(set(values)) == 1:
            raise ValueError(f"the {name} measure is {values[0]:g} everywhere, so it orders nothing")
    return float(spearmanr(a, b).statistic)
