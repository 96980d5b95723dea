from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cosine_similarity

from components.evaluation.editing import direction, feature_similarity, nearer_to_target

pytestmark = pytest.mark.unit


def rows(count: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def at(*degrees: float) -> torch.Tensor:
    """Points on the unit circle."""
    angles = torch.tensor(degrees) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], 1)


def test_similarity_is_torchs_cosine_whatever_the_lengths() -> None:
    a, b = rows(20, 9, 0), rows(20, 9, 1)
    assert feature_similarity(a * 7, b) == pytest.approx(cosine_similarity(a, b).tolist(), abs=1e-6)


def test_a_result_is_nearer_to_the_target_past_the_middle_of_the_way() -> None:
    source, target = at(0, 0, 0, 0), at(60, 60, 60, 60)
    assert nearer_to_target(source, at(60, 31, 29, 0), target) == [True, True, False, False]


def test_a_copy_of_the_source_is_never_nearer_and_goes_nowhere() -> None:
    source, target = rows(50, 8, 2), rows(50, 8, 3)
    assert nearer_to_target(source, source * 3, target) == [False] * 50
    assert direction(source, source * 3, target) == [0.0] * 50


def test_the_target_itself_is_the_wanted_change_and_unrelated_pictures_are_neither() -> None:
    source, target = rows(400, 32, 4), rows(400, 32, 5)
    assert nearer_to_target(source, target, target) == [True] * 400
    assert direction(source, target, target) == pytest.approx([1.0] * 400)
    other = rows(400, 32, 6)
    near = nearer_to_target(source, other, target)
    assert sum(map(bool, near)) / 400 == pytest.approx(0.5, abs=0.1)
    # Three independent points: the two changes share the source, and meet at 60 degrees.
    assert sum(x for x in direction(source, other, target) if x is not None) / 400 == pytest.approx(0.5, abs=0.05)


def test_direction_is_the_cosine_of_both_changes() -> None:
    # From 0 degrees to 90 is the change (-1, 1); to -90 it is (-1, -1): at a right angle.
    assert direction(at(0, 0), at(-90, 90), at(90, 90)) == pytest.approx([0.0, 1.0], abs=1e-6)
    assert direction(at(0), at(180), at(90)) == pytest.approx([math.cos(math.pi / 4)], abs=1e-6)


def test_pairs_that_the_features_cannot_tell_apart_say_nothing() -> None:
    source = rows(3, 6, 7)
    assert direction(source, rows(3, 6, 8), source) == [None] * 3
    assert nearer_to_target(source, rows(3, 6, 8), source * 2) == [None] * 3


def test_features_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="row i of each"):
        direction(torch.ones(2, 3), torch.ones(2, 3), torch.ones(3, 3))
    with pytest.raises(ValueError, match="no direction"):
        nearer_to_target(torch.ones(2, 3), torch.zeros(2, 3), torch.ones(2, 3))
