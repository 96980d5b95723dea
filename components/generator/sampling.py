"""Sampling: guidance by text and by source image, Euler steps, and what of the sequence is read once for all of
them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.generator.transformer import DeepFusionTransformer


@dataclass(frozen=True)
class Request:
    """What a batch of pictures is to show."""

    ids: Tensor  # [B, L]
    text: Tensor  # bool [B, L]: where there are words
    source: Tensor | None = None  # standardised latents [B, C, H, W] of the pictures to edit


@dataclass(frozen=True)
class Guidance:
    """How far to go beyond the conditional model; 1 and 1 is the conditional model itself."""

    text: float = 1.0
    image: float = 1.0
    above: float = 0.0  # time (1 is noise) at and below which there is none (a limited interval, arXiv 2404.07724)


def branches(guidance: Guidance, edits: bool) -> list[tuple[float, bool, bool]]:
    """Return (weight, sees the text, sees the source) of each prediction that guidance adds up; weights sum to 1.

    `v = v(0) + image (v(source) - v(0)) + text (v(source, text) - v(source))`, without the terms that are 0.
    Where guidance ends at a time above 0, the first is the conditional model, whatever its weight.
    """
    text, image = guidance.text, guidance.image if edits else 1.0
    found = [(text, True, True), (image - text, False, True), (1 - image, False, False)]
    return [branch for number, branch in enumerate(found) if branch[0] != 0 or (number == 0 and guidance.above > 0)]


@torch.no_grad()
def sample(
    model: DeepFusionTransformer,
    scheduler: Any,
    noise: Tensor,
    request: Request,
    guidance: Guidance,
    steps: int,
    cached: bool = True,
    after: Callable[[int, Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Return standardised latents `[B, C, H, W]` from noise of that shape, by `scheduler` (flow matching, 1 is noise).

    All branches of the guidance are one batch. `cached` reads text and source once and not at every step; the latents
    are the same. `after(step, timestep, latents)` may change the latents after each step.
    """
    parts = branches(guidance, request.source is not None)
    count, device = len(noise), noise.device
    ids = request.ids.repeat(len(parts), 1)
    text = torch.cat([request.text & seen for _, seen, _ in parts])
    source = has_source = None
    if request.source is not None:
        has_source = torch.cat([torch.full((count,), seen, device=device) for _, _, seen in parts])
        source = request.source.repeat(len(parts), 1, 1, 1) * has_source[:, None, None, None]
        source = source.to(model.dtype)
    condition = model.read(ids, text, source, has_source) if cached else None
    weights = torch.tensor([weight for weight, _, _ in parts], dtype=torch.float32, device=device)
    plain = torch.tensor([float(number == 0) for number in range(len(parts))], device=device)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1.0 / steps, steps), device=device)
    latents = noise.float()
    for number, timestep in enumerate(scheduler.timesteps):
        noisy = latents.to(model.dtype).repeat(len(parts), 1, 1, 1)
        times = (timestep / scheduler.config.num_train_timesteps).expand(len(noisy)).float()
        if condition is not None:
            made = model.denoise(noisy, times, condition)
        else:
            made = model(noisy, times, ids, text, source, has_source)
        now = weights if float(times[0]) > guidance.above else plain
        velocity = torch.einsum("p,pbchw->bchw", now, made.float().unflatten(0, (len(parts), count)))
        latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
        if after is not None:
            latents = after(number, timestep, latents)
    return latents
