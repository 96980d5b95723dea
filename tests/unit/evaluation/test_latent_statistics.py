from __future__ import annotations

import json

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from components.evaluation.latent_stats import LatentStatistics, normal_kl

pytestmark = pytest.mark.unit


def latents(count: int = 12, channels: int = 5, seed: int = 0) -> torch.Tensor:
    values = torch.randn(count, channels, 4, 6, generator=torch.Generator().manual_seed(seed))
    return values * torch.linspace(0.5, 3, channels).view(1, -1, 1, 1) + torch.arange(channels).view(1, -1, 1, 1)


def test_mean_and_std_equal_torch_by_channel() -> None:
    values = latents()
    statistics = LatentStatistics()
    statistics.update(values)
    result = statistics.compute()
    std = values.double().std((0, 2, 3))
    assert result["std"] == pytest.approx(std.tolist(), rel=1e-10)
    assert result["mean"] == pytest.approx(values.double().mean((0, 2, 3)).tolist(), rel=1e-10)
    assert result["std_min"] == pytest.approx(float(std.min())) and result["std_max"] == pytest.approx(float(std.max()))
    assert result["std_mean"] == pytest.approx(float(std.mean()))
    assert result["samples"] == 12 and result["dead_channels"] == 0


def test_uneven_pieces_and_merged_workers_give_what_the_whole_gives() -> None:
    values = latents(20) + 1e4
    posterior = latents(20, seed=1), latents(20, seed=2) / 4
    whole, first, second = LatentStatistics(), LatentStatistics(), LatentStatistics()
    whole.update(values, posterior)
    for target, part in ((first, slice(0, 1)), (first, slice(1, 9)), (second, slice(9, 20))):
        target.update(values[part], (posterior[0][part], posterior[1][part]))
    before = second.compute()
    first.merge(LatentStatistics())
    first.merge(second)
    result, expected = first.compute(), whole.compute()
    assert set(result) == set(expected)
    for name in expected:
        assert result[name] == pytest.approx(expected[name], rel=1e-9), name
    assert second.compute() == before


def test_channels_far_below_the_median_are_dead_and_only_these() -> None:
    values = torch.randn(64, 7, 4, 6, generator=torch.Generator().manual_seed(0)) + 3
    values[:, 1] = 0.1
    values[:, 4] *= 0.009
    values[:, 5] *= 0.012
    statistics = LatentStatistics(dead_share=0.01)
    statistics.update(values[:40])
    statistics.update(values[40:])
    result = statistics.compute()
    assert result["dead"] == [1, 4] and result["dead_channels"] == 2


def test_a_wholly_collapsed_latent_is_dead_in_every_channel() -> None:
    statistics = LatentStatistics()
    # Constants up to the last bits, as a decoder in float32 leaves them; their median is as small as they are.
    rounding = 1e-8 * torch.randn(9, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    statistics.update(0.1 + rounding)
    assert statistics.compute()["std_min"] > 0
    assert statistics.compute()["dead_channels"] == 4


def test_kl_is_the_closed_form_of_gaussians() -> None:
    mean, logvar = latents(seed=3), latents(seed=4) / 3
    expected = kl_divergence(Normal(mean.double(), (logvar.double() / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(normal_kl(mean.double(), logvar.double()), expected)
    assert float(normal_kl(torch.zeros(1), torch.zeros(1))) == 0.0
    assert float(normal_kl(torch.tensor(2.0), torch.tensor(0.0))) == 2.0


def test_kl_of_a_nearly_standard_posterior_does_not_round_away_or_below_zero() -> None:
    logvar = torch.full((1,), 1e-4)
    assert float(normal_kl(torch.zeros(1), logvar)) == pytest.approx(1e-8 / 4, rel=0.2)


def test_kl_is_reported_by_channel_where_posteriors_are_given() -> None:
    values, mean, logvar = latents(), latents(seed=3), latents(seed=4) / 3
    statistics = LatentStatistics()
    statistics.update(values)
    assert "kl" not in statistics.compute()
    statistics = LatentStatistics()
    statistics.update(values, (mean, logvar))
    result = statistics.compute()
    expected = normal_kl(mean.double(), logvar.double())
    assert result["kl"] == pytest.approx(expected.mean((0, 2, 3)).tolist())
    assert result["kl_mean"] == pytest.approx(float(expected.mean()))


def test_the_result_is_plain_json() -> None:
    statistics = LatentStatistics()
    statistics.update(latents().bfloat16(), (latents(), latents()))
    result = statistics.compute()
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_batches_that_do_not_fit_are_refused_and_not_counted() -> None:
    statistics = LatentStatistics()
    with pytest.raises(ValueError, match=r"update\(latents\)"):
        statistics.compute()
    statistics.update(latents())
    with pytest.raises(ValueError, match="one tokenizer"):
        statistics.update(latents(channels=4))
    with pytest.raises(ValueError, match="with every batch or with none"):
        statistics.update(latents(), (latents(), latents()))
    with pytest.raises(ValueError, match="without patching"):
        statistics.update(latents(), (latents(3), latents(3)))
    with pytest.raises(ValueError, match=r"give \[B, C, H, W\]"):
        statistics.update(latents()[0])
    with pytest.raises(ValueError, match="NaN or infinite"):
        statistics.update(latents() / 0)
    assert statistics.compute()["samples"] == 12
    with pytest.raises(ValueError, match="share of the median"):
        LatentStatistics(dead_share=1.0)
