"""Standardised latents: what leaves a space has mean 0, and deviation 1 per channel or over all of them; what enters is
taken as such.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor

Scaling = dict[str, list[float]]  # mean and std of the raw latent, one number per channel


class StandardisedLatents:
    """The statistics of a module's raw latent, and the way from raw to standardised and back."""

    latent_mean: Tensor
    latent_std: Tensor

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load a folder, as any model of diffusers; always into whole memory, as some buffers are made and not
        loaded.
        """
        kwargs |= {"low_cpu_mem_usage": False}
        kwargs.pop("use_safetensors", None)  # never anything else
        return super().from_pretrained(*args, use_safetensors=True, **kwargs)  # type: ignore[misc]

    def register_statistics(self, channels: int, scaling: Scaling | None) -> None:
        """Make the buffers, from `scaling` or as no change at all; they are saved in the model's configuration."""
        for name, fallback in (("mean", 0.0), ("std", 1.0)):
            values = torch.tensor(scaling[name] if scaling else [fallback] * channels)
            self.register_buffer(f"latent_{name}", values.view(1, -1, 1, 1), persistent=False)  # type: ignore[attr-defined]

    def keep_statistics(self, mean: Tensor, std: Tensor) -> Scaling:
        """Take on statistics `[C]` each, and return them for the configuration. ValueError for a channel without
        spread.
        """
        if not bool((std > 0).all()):
            raise ValueError("a latent channel has no spread, so it cannot be standardised: a dead channel.")
        self.latent_mean.copy_(mean.view(1, -1, 1, 1))
        self.latent_std.copy_(std.view(1, -1, 1, 1))
        return {"mean": mean.double().tolist(), "std": std.double().tolist()}

    def standardised(self, mean: Tensor, log_variance: Tensor) -> DiagonalGaussianDistribution:
        """The posterior over the standardised latent, of the raw one's parameters `[B, C, H, W]` each."""
        parameters = [(mean - self.latent_mean) / self.latent_std, log_variance - 2 * self.latent_std.log()]
        return DiagonalGaussianDistribution(torch.cat(parameters, dim=1))

    def raw(self, latent: Tensor) -> Tensor:
        """The raw latent of a standardised one."""
        return latent * self.latent_std + self.latent_mean
