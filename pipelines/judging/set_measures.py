"""Figures of whole sets of pictures, from their features: distances to true pictures, fidelity and variety, and which
true picture each made one is nearest to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

FEWEST = 12  # pictures that a half of a set needs, so that each has its neighbours
NEIGHBOURS = {"precision": 3, "recall": 3, "coverage": 5}  # as their papers take them
WIDEST = 512  # dimensions up to which a Frechet distance has an interval: its roots take their cube
MANY = 1000  # pictures from which on fewer draws are made


def distances(truth: Tensor, made: Tensor) -> dict[str, float]:
    """Return `frechet`, `kernel`, `precision`, `recall` and `coverage` of made features [M, D] to true ones [N, D];
    those that need more pictures are left out. ValueError with fewer than 2.
    """
    from components.evaluation.frechet import FeatureMoments, frechet_distance

    moments = FeatureMoments(), FeatureMoments()
    for each, features in zip(moments, (truth, made), strict=True):
        each.update(features)
    return {"frechet": frechet_distance(*moments), **_other_distances(truth, made)}


def _other_distances(truth: Tensor, made: Tensor) -> dict[str, float]:
    from components.evaluation.coverage import precision_recall
    from components.evaluation.kernel import kernel_distance

    found = {"kernel": kernel_distance(truth, made)}
    for k in sorted(set(NEIGHBOURS.values())):
        if min(len(truth), len(made)) > k:
            values = precision_recall(truth, made, k)
            found |= {name: values[name] for name, wanted in NEIGHBOURS.items() if wanted == k}
    return found


def distance_intervals(truth: Tensor, made: Tensor, seed: int) -> dict[str, list[float]]:
    """Return the 95 % intervals of `distances`, [low, high]; {} for sets too small to be halved.

    Row i of both is of one prompt.
    """
    from components.evaluation.intervals import statistic_intervals

    if len(made) < 2 * FEWEST:
        return {}
    statistic: Callable[..., dict[str, float]] = distances if truth.shape[1] <= WIDEST else _other_distances
    draws = 100 if len(made) <= MANY else 20
    found = statistic_intervals(statistic, [truth, made], seed=seed, draws=draws, paired=True)
    return {name: list(interval) for name, interval in found.items()}


def found_own(made: Tensor, wanted: Tensor, prompts: Sequence[str]) -> list[float]:
    """Return for each made picture 1 where the nearest of `wanted`, by cosine, is of its own prompt, else 0."""
    from components.evaluation.retrieval import instance_retrieval

    return [float(right) for right in instance_retrieval(made, wanted, list(prompts))]
