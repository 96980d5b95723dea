"""The training objective: flow matching with dropped text and sources; and the validation loss at fixed times with
fixed noise.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from components.generator.flow import at_time, dimension_shift, fixed_times, sample_times, velocity_of
from components.generator.options import FlowOptions
from components.generator.transformer import DeepFusionTransformer

Batch = dict[str, Tensor]
VALIDATION_TIMES = 8


class FlowObjective(nn.Module):
    """Mean squared error of the velocity over a batch `{"latents", "ids", "text"}`, and `{"sources", "has_source"}`
    where there are edits.

    Randomness comes from torch's global generator, which the training loop seeds at every step.
    """

    def __init__(self, model: DeepFusionTransformer, options: FlowOptions) -> None:
        super().__init__()
        self.model, self.options = model, options
        self.shift = options.shift or dimension_shift(model.channels, model.options.patch)

    def forward(self, batch: Batch, progress: float, critic: Any) -> tuple[Tensor, dict[str, Tensor], None]:
        """Return the loss, no further figures, and nothing for a critic."""
        latents = batch["latents"].float()
        # Everything is drawn on the latents' device: a copy of draws from the host would wait for the step before.
        noise = torch.randn_like(latents)
        times = sample_times(len(latents), self.options, self.shift, latents.device)
        return self.loss(batch, noise, times, *kept(len(latents), self.options, latents.device)), {}, None

    def loss(self, batch: Batch, noise: Tensor, times: Tensor, keep_text: Tensor, keep_source: Tensor) -> Tensor:
        """Return the loss for given noise, times `[B]` and, bool `[B]`, whose text and source the model sees."""
        latents = batch["latents"].float()
        text = batch["text"] & keep_text[:, None]
        source = has_source = None
        if "sources" in batch:
            has_source = batch["has_source"] & keep_source
            source = batch["sources"].float() * has_source[:, None, None, None]
        noisy = at_time(latents, noise, times)
        velocity = self.model(noisy, times, batch["ids"], text, source, has_source)
        target = velocity_of(latents, noisy, times) if self.model.options.prediction == "x" else noise - latents
        return (velocity.float() - target).square().mean()

    @torch.no_grad()
    def validation_loss(self, batch: Batch) -> float:
        """Return the loss over 8 fixed times with fixed noise, nothing left out: cheap, and the same whenever it is
        asked.
        """
        latents = batch["latents"].float()
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(latents.shape, generator=generator).to(latents.device)
        all_there = torch.ones(len(latents), dtype=torch.bool, device=latents.device)
        losses = [
            float(self.loss(batch, noise, time.expand(len(latents)).to(latents.device), all_there, all_there))
            for time in fixed_times(VALIDATION_TIMES, self.shift)
        ]
        return sum(losses) / len(losses)


def kept(count: int, options: FlowOptions, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Return whose text and whose source is kept, bool `[count]` each, by independent draws."""
    draws = torch.rand(2, count, device=device)
    return draws[0] >= options.drop_text, draws[1] >= options.drop_source
