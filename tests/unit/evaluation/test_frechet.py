from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from components.evaluation.frechet import FeatureMoments, frechet_distance, frechet_name

pytestmark = pytest.mark.unit


def features(count: int, width: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator, dtype=torch.float64)
    return torch.randn(count, width, generator=generator, dtype=torch.float64) @ mix * scale + shift


def moments(values: torch.Tensor) -> FeatureMoments:
    result = FeatureMoments()
    result.update(values)
    return result


def known(mean: list[float], variance: list[float]) -> FeatureMoments:
    """Samples whose mean and unbiased covariance are exactly these: +-a along each axis."""
    width, count = len(mean), 2 * len(mean)
    axes = torch.diag((torch.tensor(variance, dtype=torch.float64) * (count - 1) / 2).sqrt())
    assert len(axes) == width
    return moments(torch.cat([axes, -axes]) + torch.tensor(mean, dtype=torch.float64))


def test_gaussians_with_known_moments_have_the_closed_form_distance() -> None:
    a, b = known([0.0, 1.0, -2.0], [1.0, 4.0, 9.0]), known([3.0, 1.0, 2.0], [4.0, 4.0, 0.25])
    expected = (9 + 0 + 16) + (1 - 2) ** 2 + 0 + (3 - 0.5) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)


def test_correlated_features_agree_with_scipys_matrix_root() -> None:
    x, y = features(400, 12, 1), features(300, 12, 2, scale=0.7, shift=0.5)
    mean = (x.mean(0) - y.mean(0)).numpy()
    first, second = np.cov(x.numpy(), rowvar=False), np.cov(y.numpy(), rowvar=False)
    root = scipy.linalg.sqrtm(first @ second)
    expected = mean @ mean + np.trace(first) + np.trace(second) - 2 * np.trace(root).real
    assert frechet_distance(moments(x), moments(y)) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("count", [10, 500])
def test_a_set_is_at_zero_from_itself_even_when_its_covariance_is_singular(count: int) -> None:
    x = moments(features(count, 40, 3, scale=10))
    distance = frechet_distance(x, x)
    assert 0 <= distance < 1e-10 * float(x.covariance.trace())


def test_the_distance_is_symmetric_and_grows_with_the_shift() -> None:
    base = features(200, 8, 4)
    near, far = moments(base + 0.1), moments(base + 1)
    assert frechet_distance(moments(base), far) == pytest.approx(8.0, rel=1e-8)
    assert frechet_distance(moments(base), far) == pytest.approx(frechet_distance(far, moments(base)), rel=1e-8)
    assert frechet_distance(moments(base), near) < frechet_distance(moments(base), far)


def test_streaming_and_merging_give_the_moments_of_the_whole_set() -> None:
    # A mean far above the spread, where sums of squares would cancel.
    x = features(101, 6, 5, shift=1e6)
    pieces, other = FeatureMoments(), FeatureMoments()
    for part in (x[:1], x[1:1], x[1:8], x[8:50]):
        pieces.update(part)
    other.update(x[50:])
    pieces.merge(other)
    pieces.merge(FeatureMoments())
    assert pieces.count == 101
    torch.testing.assert_close(pieces.mean, x.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(pieces.covariance, torch.cov(x.T), rtol=1e-7, atol=1e-7)
    assert other.count == 51


def test_merging_into_an_empty_set_leaves_the_other_alone() -> None:
    first, other = FeatureMoments(), moments(features(5, 3, 6))
    before = other.mean.clone()
    first.merge(other)
    first.update(features(5, 3, 7, shift=4))
    assert other.count == 5 and torch.equal(other.mean, before)


def test_small_samples_of_one_distribution_are_biased_upwards() -> None:
    def halves(count: int) -> float:
        x = torch.randn(2 * count, 8, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
        return frechet_distance(moments(x[:count]), moments(x[count:]))

    assert halves(20) > 5 * halves(1000) > 0


def test_only_inception_features_are_called_rfid() -> None:
    assert frechet_name("inception") == frechet_name("Inception-V3") == "rfid"
    assert frechet_name("inception_resnet_v2") == "frechet_inception_resnet_v2"
    assert frechet_name("facebook/dinov2-small") == "frechet_facebook_dinov2_small"
    with pytest.raises(ValueError, match="extractor's name"):
        frechet_name(" - ")


def test_sets_without_a_covariance_and_of_different_features_are_refused() -> None:
    full, single = moments(features(9, 4, 11)), moments(features(1, 4, 12))
    with pytest.raises(ValueError, match=r"second set has 1 samples.*add features"):
        frechet_distance(full, single)
    with pytest.raises(ValueError, match="first set has 0 samples"):
        frechet_distance(FeatureMoments(), full)
    with pytest.raises(ValueError, match="one extractor"):
        frechet_distance(full, moments(features(9, 5, 13)))
    with pytest.raises(ValueError, match="one extractor"):
        full.update(features(9, 5, 14))


@pytest.mark.parametrize(
    ("bad", "message"),
    [(torch.zeros(2, 3, 4), "pooled over tokens"), (torch.tensor([[1.0, float("nan")]]), "NaN or infinite")],
)
def test_features_of_a_wrong_kind_are_refused(bad: torch.Tensor, message: str) -> None:
    moments_before = FeatureMoments()
    with pytest.raises(ValueError, match=message):
        moments_before.update(bad)
    assert moments_before.count == 0
