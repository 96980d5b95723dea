from __future__ import annotations

import math

import pytest
import torch

from components.evaluation.reconstruction import PSNR_CAP
from components.evaluation.robustness import noise_psnr

pytestmark = pytest.mark.unit


def pictures(count: int = 8, side: int = 48) -> torch.Tensor:
    """Channels of different spread, far enough from 0 and 1 that small noise is not clamped."""
    values = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0)) - 0.5
    return values * torch.tensor([0.1, 0.3, 0.5]).view(1, 3, 1, 1) + 0.5


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_an_identity_decoder_scores_the_closed_form() -> None:
    originals = pictures()
    curve = noise_psnr(lambda x: x, originals, originals, [0.0, 0.05, 0.2], seeded())
    variance = float(originals.var((0, 2, 3)).mean())
    assert list(curve) == [0.0, 0.05, 0.2]
    assert curve[0.0] == PSNR_CAP
    for sigma in (0.05, 0.2):
        assert curve[sigma] == pytest.approx(-10 * math.log10(sigma**2 * variance), abs=0.1)


def test_noise_is_relative_to_each_channel_so_rescaled_latents_score_the_same() -> None:
    originals = pictures()
    scale = torch.tensor([0.01, 1.0, 100.0]).view(1, 3, 1, 1)
    plain = noise_psnr(lambda x: x, originals, originals, [0.1], seeded())
    scaled = noise_psnr(lambda x: x / scale, originals * scale, originals, [0.1], seeded())
    assert scaled == pytest.approx(plain, abs=1e-3)


def test_all_sigmas_share_one_draw_that_the_generator_decides() -> None:
    originals = pictures(2, 12)
    both = noise_psnr(lambda x: x, originals, originals, [0.2, 0.1], seeded())
    assert both[0.1] - both[0.2] == pytest.approx(20 * math.log10(2), abs=1e-3)
    assert noise_psnr(lambda x: x, originals, originals, [0.1], seeded())[0.1] == both[0.1]
    assert noise_psnr(lambda x: x, originals, originals, [0.1], seeded(1))[0.1] != both[0.1]


def test_the_batch_size_does_not_matter() -> None:
    originals = pictures(5, 12)
    whole = noise_psnr(lambda x: x, originals, originals, [0.3], seeded(), batch_size=5)
    assert noise_psnr(lambda x: x, originals, originals, [0.3], seeded(), batch_size=2) == pytest.approx(whole)


def test_what_a_decoder_overshoots_is_clamped_as_on_a_screen() -> None:
    originals = torch.zeros(2, 3, 12, 12)
    latents = torch.randn(2, 4, 3, 3, generator=seeded())
    assert noise_psnr(lambda x: torch.full((len(x), 3, 12, 12), -7.0), latents, originals, [0.5], seeded()) == {
        0.5: PSNR_CAP
    }


@pytest.mark.parametrize("sigmas", [[], [-0.1], [0.1, 0.1], [math.nan]])
def test_sigmas_that_make_no_curve_are_refused(sigmas: list[float]) -> None:
    with pytest.raises(ValueError, match="different values, each 0 or above"):
        noise_psnr(lambda x: x, pictures(), pictures(), sigmas, seeded())


def test_latents_and_decoders_that_do_not_fit_are_refused() -> None:
    originals = pictures(3, 12)
    with pytest.raises(ValueError, match="one each"):
        noise_psnr(lambda x: x, originals[:2], originals, [0.1], seeded())
    with pytest.raises(ValueError, match="check the encoder"):
        noise_psnr(lambda x: x, originals / 0, originals, [0.1], seeded())
    with pytest.raises(ValueError, match=r"at sigma 0\.1"):
        noise_psnr(lambda x: x / 0, originals, originals, [0.1], seeded())
    with pytest.raises(ValueError, match="resize or crop"):
        noise_psnr(lambda x: x[:, :, ::2, ::2], originals, originals, [0.1], seeded())
