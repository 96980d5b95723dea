"""Fidelity and variety of a set of made pictures, apart: precision, recall, density and coverage of features."""

from __future__ import annotations

import torch
from torch import Tensor

from components.evaluation.features import check_widths, feature_rows, squared_distances


@torch.no_grad()
def precision_recall(real: Tensor, made: Tensor, k: int = 3) -> dict[str, float]:
    """Return `precision`, `recall`, `density` and `coverage` of features [N, D] of real and [M, D] of made pictures.

    A set's manifold is the balls about its rows that reach to their `k`-th nearest neighbour. `precision` is the share
    of made rows inside the real manifold, `recall` the share of real rows inside the made one (Kynkaanniemi et al.
    2019; k = 3). `density` counts the real balls that hold a made row, over k, and may exceed 1. `coverage` is the
    share of real balls that hold a made row (Naeem et al. 2020; k = 5). A few real outliers with large balls raise
    `precision`, and hardly the latter two.
    Raises ValueError for wrong shapes, another D, NaN, and sets of `k` rows or fewer.
    """
    if k < 1:
        raise ValueError(f"k is {k}: give how many neighbours make a ball, 1 or more, e.g. 3")
    rows = {"real": feature_rows("real features", real), "made": feature_rows("made features", made)}
    check_widths(**rows)
    for name, values in rows.items():
        if len(values) <= k:
            raise ValueError(f"{len(values)} {name} pictures have no {k} neighbours each: give more than {k}")
    # About their mean, distances keep the digits that a large mean would take. Both sets move alike.
    centre = rows["real"].mean(0)
    real, made = rows["real"] - centre, rows["made"] - centre
    of_real, of_made = _radii(real, k), _radii(made, k)
    in_real = torch.zeros(len(made), dtype=torch.float64)  # how many real balls hold each made row
    in_made = torch.zeros(len(real), dtype=torch.bool)
    covered = torch.zeros(len(real), dtype=torch.bool)
    for part, distances in squared_distances(made, real):
        inside = distances <= of_real
        in_real[part] = inside.sum(1).double()
        covered |= inside.any(0)
        in_made |= (distances <= of_made[part].unsqueeze(1)).any(0)
    return {
        "precision": float((in_real > 0).double().mean()),
        "recall": float(in_made.double().mean()),
        "density": float(in_real.mean()) / k,
        "coverage": float(covered.double().mean()),
    }


def _radii(rows: Tensor, k: int) -> Tensor:
    """Return the squared distance of each row to its `k`-th nearest other row, [N]."""
    radii = torch.empty(len(rows), dtype=torch.float64)
    for part, distances in squared_distances(rows, rows):
        own = torch.arange(part.start, part.stop)
        distances[torch.arange(len(own)), own] = torch.inf  # a row is not its own neighbour
        radii[part] = distances.kthvalue(k, dim=1).values
    return radii
