"""How close reconstructions are to their originals: PSNR and SSIM through torchmetrics, LPIPS where one is given.

No models and no resizing here; pictures are compared as they come.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

PSNR_CAP = 100.0  # dB; what identical pictures count as, so that a mean exists
SSIM_WINDOW = 11  # pixels; torchmetrics' Gaussian window at its default sigma of 1.5


def check_pictures(name: str, pictures: Tensor) -> None:
    """Raise ValueError unless `pictures` is float32 [B, 3, H, W], finite, in [0, 1]; `name` is how the message calls
    it.
    """
    if pictures.ndim != 4 or pictures.shape[1] != 3 or pictures.numel() == 0:
        raise ValueError(
            f"{name} have the shape {list(pictures.shape)}: give a batch [B, 3, H, W] with at least one picture"
        )
    if pictures.dtype != torch.float32:
        raise ValueError(f"{name} are {pictures.dtype}: give float32 in [0, 1], e.g. through .float()")
    if not torch.isfinite(pictures).all():
        raise ValueError(f"{name} hold NaN or infinite values: look for what produced them, no score is taken of these")
    low, high = float(pictures.min()), float(pictures.max())
    if low < 0 or high > 1:
        raise ValueError(
            f"{name} lie in [{low:.4g}, {high:.4g}], not in [0, 1]: bring [-1, 1] there by (x + 1) / 2, then "
            ".clamp(0, 1)"
        )


def check_pairs(originals: Tensor, reconstructions: Tensor) -> None:
    """Raise ValueError unless both are pictures as `check_pictures` wants them, of one shape and on one device."""
    check_pictures("originals", originals)
    check_pictures("reconstructions", reconstructions)
    if originals.shape != reconstructions.shape:
        raise ValueError(
            f"originals {list(originals.shape)} and reconstructions {list(reconstructions.shape)} differ in shape: "
            "resize or crop before, so that each reconstruction lies on its original"
        )
    if originals.device != reconstructions.device:
        raise ValueError(
            f"originals are on {originals.device}, reconstructions on {reconstructions.device}: move one of them"
        )


def picture_psnr(originals: Tensor, reconstructions: Tensor) -> Tensor:
    """Return the PSNR of each picture, dB, float64 [B], at most `PSNR_CAP`. Takes float32 [B, 3, H, W] in [0, 1].

    Raises ValueError for other shapes, types and ranges.
    """
    check_pairs(originals, reconstructions)
    decibels = peak_signal_noise_ratio(
        reconstructions.double(), originals.double(), data_range=1.0, dim=(1, 2, 3), reduction="none"
    )
    return decibels.clamp(max=PSNR_CAP)


def picture_ssim(originals: Tensor, reconstructions: Tensor) -> Tensor:
    """Return the SSIM of each picture, float64 [B], at most 1. Takes float32 [B, 3, H, W] in [0, 1], sides of 11 or
    more.

    Wang et al. 2004, Gaussian window of 11 pixels. Raises ValueError for other shapes, types and ranges.
    """
    check_pairs(originals, reconstructions)
    height, width = originals.shape[-2:]
    if min(height, width) < SSIM_WINDOW:
        raise ValueError(
            f"pictures of {height} x {width} are smaller than SSIM's window: give at least {SSIM_WINDOW} pixels a side"
        )
    # In float64, because CUDA may run float32 convolutions in TF32, which SSIM's small variances do not survive.
    ssim = structural_similarity_index_measure(
        reconstructions.double(), originals.double(), data_range=1.0, reduction="none"
    )
    assert isinstance(ssim, Tensor)
    return ssim


class ReconstructionMeter:
    """Mean PSNR, SSIM and LPIPS over all pictures of all batches; the batch size does not matter.

    `psnr` is the mean of per-picture decibels, each capped at `PSNR_CAP`, which identical pictures get; it is not the
    PSNR of the mean squared error over all pictures, which is lower. `lpips` takes (originals, reconstructions), both
    float32 [B, 3, H, W] in [0, 1], and returns one distance per picture; scaling to what its network wants is its own.
    """

    def __init__(self, lpips: Callable[[Tensor, Tensor], Tensor] | None = None) -> None:
        self.count = 0
        self._lpips = lpips
        self._sums: dict[str, float] = {"psnr": 0.0, "ssim": 0.0}
        if lpips is not None:
            self._sums["lpips"] = 0.0

    @torch.no_grad()
    def update(self, originals: Tensor, reconstructions: Tensor) -> None:
        """Add a batch, both float32 [B, 3, H, W] in [0, 1]. Raises ValueError, and then the batch is not counted."""
        scores = {
            "psnr": picture_psnr(originals, reconstructions),
            "ssim": picture_ssim(originals, reconstructions),
        }
        if self._lpips is not None:
            distances = self._lpips(originals, reconstructions)
            if distances.numel() != len(originals):
                raise ValueError(
                    f"lpips returned {distances.numel()} distances for {len(originals)} pictures: give a callable "
                    "that returns one per picture, without a mean over the batch"
                )
            if not torch.isfinite(distances).all():
                raise ValueError("lpips returned NaN or infinite distances: check its weights and its precision")
            scores["lpips"] = distances
        for name, values in scores.items():
            self._sums[name] += float(values.double().sum())
        self.count += len(originals)

    def compute(self) -> dict[str, float]:
        """Return `psnr` (dB), `ssim` and, where given, `lpips`. Raises ValueError before the first picture."""
        if self.count == 0:
            raise ValueError("no pictures were added: call update(originals, reconstructions) before compute()")
        return {name: total / self.count for name, total in self._sums.items()}
