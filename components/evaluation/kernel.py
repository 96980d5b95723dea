"""Kernel distance of two sets of features: maximum mean discrepancy with a Gaussian kernel (CMMD)."""

from __future__ import annotations

import torch
from torch import Tensor

from components.evaluation.features import check_widths, feature_rows, squared_distances, unit_rows

SCALE = 1000.0  # as published, so that values are about 0.1 to 10


@torch.no_grad()
def kernel_distance(a: Tensor, b: Tensor, bandwidth: float = 10.0, unit: bool = True) -> float:
    """Return 1000 times the squared maximum mean discrepancy of features [N, D] and [M, D], 0 or more.

    Jayasumana et al. 2024 (CMMD), as their code computes it: a Gaussian kernel exp(-d^2 / (2 bandwidth^2)) of CLIP
    embeddings of unit length (`unit`), and means over all pairs, a row with itself too. That is biased upwards by about
    1/N + 1/M of the features' spread: compare values of one N alone. Needs no Gaussian features and far fewer pictures
    than a Frechet distance. Raises ValueError for wrong shapes, another D, NaN and a bandwidth of 0 or less.
    """
    if not bandwidth > 0:
        raise ValueError(f"bandwidth is {bandwidth}: give a length above 0 in the features' own units, e.g. 10")
    rows = unit_rows if unit else feature_rows
    first, second = rows("the first set's features", a), rows("the second set's features", b)
    check_widths(first=first, second=second)
    # exp(x) - 1 in place of exp(x): the ones cancel between the means, and near 1 they would take the digits.
    return max(
        0.0,
        SCALE
        * (_mean(first, first, bandwidth) + _mean(second, second, bandwidth) - 2 * _mean(first, second, bandwidth)),
    )


def _mean(a: Tensor, b: Tensor, bandwidth: float) -> float:
    parts = [torch.expm1(d / (-2 * bandwidth**2)).sum() for _, d in squared_distances(a, b)]
    return float(torch.stack(parts).sum()) / (len(a) * len(b))
