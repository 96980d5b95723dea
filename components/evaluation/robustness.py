"""Decoding of noisy latents: noise stands for the errors of a generator."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from components.evaluation.reconstruction import check_pictures, picture_psnr


@torch.no_grad()
def noise_psnr(
    decode: Callable[[Tensor], Tensor],
    latents: Tensor,
    originals: Tensor,
    sigmas: Sequence[float],
    generator: torch.Generator,
    batch_size: int = 32,
) -> dict[float, float]:
    """Return, for each sigma, the mean per-picture PSNR (dB) of decoded noisy latents against the originals.

    `latents` [N, C, h, w] get Gaussian noise of sigma times their channel's standard deviation over all of `latents`,
    so sigmas compare across tokenizers; sigma 0 is the plain reconstruction. One draw of noise from `generator` serves
    every sigma: the curve shows the decoder, not the draw. `decode` takes [B, C, h, w] and returns float32
    [B, 3, H, W]; what it returns is clamped to [0, 1], as a viewer would. `originals` are float32 [N, 3, H, W] in
    [0, 1]. Raises ValueError for shapes that do not fit, for NaN and for sigmas that are negative, repeated or missing.
    """
    check_pictures("originals", originals)
    if latents.ndim != 4 or len(latents) != len(originals):
        raise ValueError(
            f"latents have the shape {list(latents.shape)} for {len(originals)} originals: give [N, C, h, w], one each"
        )
    if not torch.isfinite(latents).all():
        raise ValueError("latents hold NaN or infinite values: check the encoder and its precision")
    if not sigmas or len(set(sigmas)) != len(sigmas) or not all(math.isfinite(s) and s >= 0 for s in sigmas):
        raise ValueError(
            f"sigmas are {list(sigmas)}: give one or more different values, each 0 or above, e.g. 0, 0.1, 0.4"
        )
    if latents.numel() // latents.shape[1] < 2:
        raise ValueError("one element a channel has no standard deviation: give more latents")
    # Drawn where the generator lives, so that one seed gives one noise on every device the decoder may run on.
    noise = torch.randn(latents.shape, generator=generator, device=generator.device).to(latents.device, latents.dtype)
    noise *= latents.float().std((0, 2, 3), keepdim=True).to(latents.dtype)
    curve = {}
    for sigma in sigmas:
        total = 0.0
        for start in range(0, len(latents), batch_size):
            part = slice(start, start + batch_size)
            decoded = decode(latents[part] + sigma * noise[part])
            if not torch.isfinite(decoded).all():
                raise ValueError(
                    f"decode returned NaN or infinite values at sigma {sigma}: lower sigma or check decode"
                )
            total += float(picture_psnr(originals[part], decoded.clamp(0, 1)).sum())
        curve[float(sigma)] = total / len(latents)
    return curve
