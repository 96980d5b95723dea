from __future__ import annotations

import math

import pytest
import torch
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from components.evaluation.reconstruction import PSNR_CAP, ReconstructionMeter, picture_psnr, picture_ssim

pytestmark = pytest.mark.unit


def pairs(count: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    originals = torch.rand(count, 3, 24, 20, generator=generator)
    # A different error for every picture, so that means over pictures and over pixels differ.
    strength = torch.linspace(0.02, 0.4, count).view(-1, 1, 1, 1)
    noise = torch.randn(originals.shape, generator=generator)
    return originals, (originals + strength * noise).clamp(0, 1)


def test_psnr_and_ssim_equal_torchmetrics() -> None:
    originals, reconstructions = pairs()
    psnr = PeakSignalNoiseRatio(data_range=1.0, dim=(1, 2, 3), reduction="elementwise_mean")
    ssim = StructuralSimilarityIndexMeasure(data_range=1.0)
    meter = ReconstructionMeter()
    meter.update(originals, reconstructions)
    scores = meter.compute()
    assert set(scores) == {"psnr", "ssim"}
    assert scores["psnr"] == pytest.approx(float(psnr(reconstructions, originals)), abs=1e-4)
    assert scores["ssim"] == pytest.approx(float(ssim(reconstructions, originals)), abs=1e-5)


def test_psnr_of_a_known_error_is_its_closed_form() -> None:
    originals = torch.full((2, 3, 16, 16), 0.5)
    reconstructions = torch.stack([originals[0] + 0.1, originals[1] - 0.25])
    expected = [-20 * math.log10(0.1), -20 * math.log10(0.25)]
    assert picture_psnr(originals, reconstructions).tolist() == pytest.approx(expected, abs=1e-5)


def test_psnr_is_the_mean_of_pictures_and_not_of_pixels() -> None:
    originals, reconstructions = pairs()
    meter = ReconstructionMeter()
    meter.update(originals, reconstructions)
    errors = (originals - reconstructions).double().square().mean((1, 2, 3))
    assert meter.compute()["psnr"] == pytest.approx(float((-10 * errors.log10()).mean()))
    assert meter.compute()["psnr"] > float(-10 * errors.mean().log10()) + 1


def test_identical_pictures_count_as_the_cap() -> None:
    originals, _ = pairs()
    meter = ReconstructionMeter()
    meter.update(originals, originals)
    assert meter.compute() == {"psnr": PSNR_CAP, "ssim": pytest.approx(1.0)}


def test_uneven_batches_give_what_one_batch_gives() -> None:
    originals, reconstructions = pairs(7)
    whole, parts = ReconstructionMeter(), ReconstructionMeter()
    whole.update(originals, reconstructions)
    for part in (slice(0, 1), slice(1, 3), slice(3, 7)):
        parts.update(originals[part], reconstructions[part])
    assert parts.compute() == pytest.approx(whole.compute())
    assert parts.count == whole.count == 7


def test_lpips_is_averaged_over_pictures() -> None:
    originals, reconstructions = pairs(3)
    meter = ReconstructionMeter(lpips=lambda a, b: (a - b).abs().mean((1, 2, 3)).view(-1, 1, 1, 1))
    meter.update(originals[:1], reconstructions[:1])
    meter.update(originals[1:], reconstructions[1:])
    assert meter.compute()["lpips"] == pytest.approx(float((originals - reconstructions).abs().mean()), rel=1e-5)


def test_lpips_that_returns_a_batch_mean_is_refused_and_the_batch_not_counted() -> None:
    meter = ReconstructionMeter(lpips=lambda a, b: (a - b).abs().mean())
    with pytest.raises(ValueError, match="one per picture"):
        meter.update(*pairs(3))
    assert meter.count == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[0], r"give a batch \[B, 3, H, W\]"),
        (lambda x: x[:, :1], r"give a batch \[B, 3, H, W\]"),
        (lambda x: x[:0], "at least one picture"),
        (lambda x: x.double(), "float32"),
        (lambda x: (x * 255).to(torch.uint8), "float32"),
        (lambda x: x * 2 - 1, r"\(x \+ 1\) / 2"),
        (lambda x: x + 0.5, "clamp"),
        (lambda x: x / 0, "NaN or infinite"),
        (lambda x: x[:, :, 1:], "resize or crop"),
    ],
)
def test_what_is_no_picture_is_refused_with_what_to_do(change, message: str) -> None:
    originals, reconstructions = pairs()
    with pytest.raises(ValueError, match=message):
        ReconstructionMeter().update(originals, change(reconstructions))


def test_pictures_below_the_ssim_window_are_refused_and_at_it_scored() -> None:
    with pytest.raises(ValueError, match="at least 11 pixels"):
        picture_ssim(torch.rand(1, 3, 10, 30), torch.rand(1, 3, 10, 30))
    assert torch.isfinite(picture_ssim(torch.rand(1, 3, 11, 11), torch.rand(1, 3, 11, 11))).all()


def test_a_meter_without_pictures_says_so() -> None:
    with pytest.raises(ValueError, match=r"call update\("):
        ReconstructionMeter().compute()
