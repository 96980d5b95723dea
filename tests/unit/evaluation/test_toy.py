"""The off-manifold experiment: its data, its metric, and the identity that says what more dimensions ask of a
network.
"""

import pytest
import torch

from components.evaluation.toy import letter_points, nearest_distances, orthonormal, toy_figure, worst_distance
from components.generator.flow import at_time, velocity_of

pytestmark = pytest.mark.unit


def exact_velocity(noisy, data, time):
    """Velocity `[B, D]` that flow matching has on a discrete data set `[M, D]`: that of the posterior mean of the clean
    point.
    """
    squares = (noisy[:, None] - (1 - time) * data[None]).square().sum(2)
    clean = torch.softmax(-squares / (2 * time**2), 1) @ data
    times = torch.full((len(noisy),), time, dtype=noisy.dtype)
    return velocity_of(clean[:, :, None, None], noisy[:, :, None, None], times)[:, :, 0, 0]


@pytest.mark.parametrize("time", [0.1, 0.35, 0.6, 0.95])
def test_the_velocity_in_more_dimensions_is_the_planes_turned_plus_all_that_lies_off_it(time):
    generator = torch.Generator().manual_seed(3)
    q = orthonormal(8, 2, generator).double()
    plane = letter_points(40, generator).double()
    data = plane @ q.T
    chosen = data[:16, :, None, None]
    noise = torch.randn(16, 8, 1, 1, dtype=torch.float64, generator=generator)
    noisy = at_time(chosen, noise, torch.full((16,), time, dtype=torch.float64))[:, :, 0, 0]
    in_plane = exact_velocity(noisy @ q, plane, time)
    off_plane = noisy - noisy @ q @ q.T
    assert torch.allclose(exact_velocity(noisy, data, time), in_plane @ q.T + off_plane / time, atol=1e-5)
    assert float(off_plane.norm(dim=1).mean()) > 0.1  # the second term is not nothing


def test_the_letters_are_centred_in_unit_spread_and_their_turning_keeps_distances():
    generator = torch.Generator().manual_seed(0)
    points = letter_points(20_000, generator)
    assert points.mean(0).tolist() == pytest.approx([0, 0], abs=0.05)
    assert float(points.square().mean()) == pytest.approx(1, abs=0.05)
    q = orthonormal(8, 2, generator)
    assert torch.allclose(q.T @ q, torch.eye(2), atol=1e-6)
    some, others = points[:50], points[50:150]
    assert torch.allclose(nearest_distances(some @ q.T, others @ q.T), nearest_distances(some, others), atol=1e-4)


def test_the_worst_share_is_the_mean_of_the_furthest_alone():
    data = torch.zeros(1, 2)
    samples = torch.stack([torch.arange(100.0), torch.zeros(100)], 1)
    assert worst_distance(samples, data) == pytest.approx((95 + 96 + 97 + 98 + 99) / 5)
    assert worst_distance(samples, data, share=0.01) == 99


def test_the_figure_is_drawn(tmp_path):
    from PIL import Image

    points = letter_points(300, torch.Generator().manual_seed(0))
    distances = points.norm(dim=1)
    toy_figure([("2-D", points, distances)], {"2-D": ([1, 2], [[0.2, 0.1], [0.3, 0.1]])}, 0.05, tmp_path / "toy.png")
    assert Image.open(tmp_path / "toy.png").width > 800
