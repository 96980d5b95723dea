"""Sets of features [N, D] as measures take them: finite rows in float64 on the CPU, of unit length where asked."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize

CHUNK = 1024  # rows compared at once, so that memory is CHUNK x N and not N x N


def feature_rows(name: str, features: Tensor) -> Tensor:
    """Return features [N, D] as float64 on the CPU; `name` is how a message calls them.

    Raises ValueError for other shapes, no rows, NaN and infinity.
    """
    if features.ndim != 2 or features.numel() == 0:
        raise ValueError(f"{name} have the shape {list(features.shape)}: give [N, D] with one row for each picture")
    if not torch.isfinite(features).all():
        raise ValueError(f"{name} hold NaN or infinite values: check the extractor and its precision")
    return features.detach().to("cpu", torch.float64)


def unit_rows(name: str, features: Tensor) -> Tensor:
    """Return features [N, D] with rows of length 1, float64 on the CPU. ValueError also for rows of zeros."""
    rows = feature_rows(name, features)
    zero = (rows.square().sum(1) == 0).nonzero().flatten().tolist()
    if zero:
        raise ValueError(f"{name} are zero in {len(zero)} rows (first: {zero[0]}), which have no direction: drop them")
    return normalize(rows, dim=1, eps=0.0)


def check_widths(**sets: Tensor) -> None:
    """Raise ValueError unless all sets of features have one number of dimensions."""
    widths = {name: rows.shape[1] for name, rows in sets.items()}
    if len(set(widths.values())) > 1:
        told = ", ".join(f"{name}: {width}" for name, width in widths.items())
        raise ValueError(f"features differ in their dimensions ({told}): take all with one extractor")


def check_pairs(**sets: Tensor) -> None:
    """Raise ValueError unless all sets have one shape, so that row i of each belongs together."""
    shapes = {name: list(rows.shape) for name, rows in sets.items()}
    if len({tuple(shape) for shape in shapes.values()}) > 1:
        told = ", ".join(f"{name}: {shape}" for name, shape in shapes.items())
        raise ValueError(f"features differ in their shapes ({told}): row i of each must belong to one picture")


def squared_distances(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield squared Euclidean distances of `CHUNK` rows of `a` [N, D] to all of `b` [M, D], with the rows' slice."""
    lengths = b.square().sum(1)
    for start in range(0, len(a), CHUNK):
        part = slice(start, min(start + CHUNK, len(a)))
        rows = a[part]
        products = rows @ b.T
        yield part, (rows.square().sum(1, keepdim=True) + lengths - 2 * products).clamp_min_(0)
