"""What evaluations of several rooms share: an even choice of a set, and the name of the encoder in a metric's name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def spread(values: Sequence[T], count: int) -> list[T]:
    """Return at most `count` of the values, evenly spread, the first among them."""
    chosen = min(len(values), count)
    return [values[i * len(values) // chosen] for i in range(chosen)]


def encoder_slug(path: str | None) -> str:
    """Return the encoder's name for metrics such as `frechet_<features>`: the last part of its hub id or folder; None
    is the trained one.
    """
    return re.sub(r"[^a-z0-9]+", "_", (path or "trained encoder").rstrip("/").rsplit("/", 1)[-1].lower()).strip("_")
