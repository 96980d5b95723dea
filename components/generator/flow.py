"""Flow matching: the path from data to noise, its times, and the loss (paper section 3). What predicts is the
transformer's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from components.generator.options import FlowOptions

SMALLEST_TIME = 0.05  # below it an x-prediction's velocity is not divided further: the loss would be of noise alone


def dimension_shift(channels: int, patch: int) -> float:
    """Return the dimension-aware shift `sqrt(C P^2 / 16)`: 2.449 for 96 channels, 6.93 for 768."""
    return math.sqrt(channels * patch**2 / 16)


def shift_times(times: Tensor, shift: float) -> Tensor:
    """Return `s t / (1 + (s - 1) t)`: times in 0..1 (1 is noise), moved towards noise by a shift above 1."""
    return shift * times / (1 + (shift - 1) * times)


def sample_times(count: int, options: FlowOptions, shift: float, device: torch.device | None = None) -> Tensor:
    """Return logit-normal times `[count]` in 0..1, shifted, drawn on the device."""
    normal = torch.randn(count, device=device)
    return shift_times(torch.sigmoid(options.time_mean + options.time_deviation * normal), shift)


def fixed_times(count: int, shift: float) -> Tensor:
    """Return `count` times `[count]`, the middles of equal parts of 0..1, shifted: those of the validation loss."""
    return shift_times((torch.arange(count) + 0.5) / count, shift)


def at_time(latent: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """Return `x_t = (1 - t) x_0 + t eps` for latents `[B, C, H, W]` and times `[B]`."""
    t = times.to(latent.dtype).view(-1, 1, 1, 1)
    return (1 - t) * latent + t * noise


def velocity_of(clean: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
    """Return the velocity `(x_t - x_0) / t` that an estimate of the clean latent means; it is `eps - x_0` of the true
    one.
    """
    return (noisy - clean) / times.to(noisy.dtype).view(-1, 1, 1, 1).clamp_min(SMALLEST_TIME)
