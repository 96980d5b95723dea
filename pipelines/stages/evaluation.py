"""What evaluations of several rooms share: an even choice of a set, and of the parts that it is taken from."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypeVar

FEW_PARTS = 16  # that are read where all of them would have to be fetched
READ_PARTS = 256  # that an evaluation chooses its rows from, or as many as have them
T = TypeVar("T")


def spread_rows(sizes: Sequence[int], count: int, parts: int | None) -> list[int]:
    """Return at most `count` row numbers, evenly spread over at most `parts` parts, themselves evenly spread; `sizes`
    are the rows of each. `parts` None: over all rows.
    """
    ends = list(itertools.accumulate(sizes))
    if parts is None:
        return spread(range(ends[-1] if ends else 0), count)
    chosen = spread([part for part, size in enumerate(sizes) if size], parts)
    return spread([row for part in chosen for row in range(ends[part] - sizes[part], ends[part])], count)


def few_parts(sizes: Sequence[int], kinds: Sequence[str], rows: int) -> set[int]:
    """Return which parts to choose `rows` rows from: evenly spread ones, `READ_PARTS` or as many as have so many rows,
    and beside them `FEW_PARTS` of each kind. `sizes` are the rows of each part, `kinds` say what each is of.
    """
    parts = [part for part, size in enumerate(sizes) if size]
    count = min(READ_PARTS, len(parts))
    while count < len(parts) and sum(sizes[part] for part in spread(parts, count)) < rows:
        count += -(-count // 8)
    chosen = set(spread(parts, count))
    for kind in set(kinds):
        chosen.update(spread([part for part in parts if kinds[part] == kind], FEW_PARTS))
    return chosen


def spread(values: Sequence[T], count: int) -> list[T]:
    """Return at most `count` of the values, evenly spread, the first among them."""
    chosen = min(len(values), count)
    return [values[i * len(values) // chosen] for i in range(chosen)]
