"""What evaluations of several rooms share: an even choice of a set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def spread(values: Sequence[T], count: int) -> list[T]:
    """Return at most `count` of the values, evenly spread, the first among them."""
    chosen = min(len(values), count)
    return [values[i * len(values) // chosen] for i in range(chosen)]
