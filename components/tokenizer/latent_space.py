"""The interface of every latent space, and what a new one is built of."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from components.tokenizer.encoders import VisionEncoder
from components.tokenizer.options import PixelDecoderOptions, TokenizerOptions
from components.tokenizer.spaces import Space


@runtime_checkable
class LatentSpace(Protocol):
    """Pictures `[B, 3, S, S]` in -1..1 to latents `[B, C, h, w]` and back.

    Latents that leave it by `encode` are standardized, and `decode` takes such. "Raw" latents are the model's own, for
    its training. A space without an encoder has no features: where features are asked for it gives None.
    """

    has_features: bool
    bottleneck: bool  # whether features and latent differ
    reads: str  # what the pixel decoder reads: "latent" or "features"
    latent_mean: Tensor  # `[1, C, 1, 1]` of the raw latent
    latent_std: Tensor

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a latent."""

    def encode(self, x: Tensor) -> Any:
        """Return `.latent_dist`, the posterior over the standardized latent."""

    def decode(self, z: Tensor) -> Any:
        """Return `.sample`, the pictures of standardized latents."""

    def features(self, x: Tensor) -> Tensor | None:
        """Return the encoder's features `[B, N, D]` of pictures."""

    def decode_features(self, z: Tensor) -> Tensor | None:
        """Return the features that standardized latents hold."""

    def moments(self, images: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the raw posterior's mean and log-variance, `[B, C, h, w]` each; `features` are those of the
        pictures.
        """

    def pixels_of(self, raw: Tensor) -> Tensor:
        """Return the pictures of raw latents."""

    def features_of(self, raw: Tensor) -> Tensor | None:
        """Return the features that raw latents hold."""

    def set_scaling(self, mean: Tensor, std: Tensor) -> None:
        """Standardize by these statistics of the raw latent, `[C]` each, from now on and in the saved config."""


def decode_pictures(space: Any, latent: Tensor) -> Tensor:
    """Return pictures `[B, 3, S, S]` of standardized latents `[B, C, h, w]`, float32, clamped to -1..1."""
    return space.decode(latent).sample.float().clamp(-1, 1)


@dataclass(frozen=True)
class Parts:
    """What a new latent space is built of. `load` False: shapes alone, no weights are read."""

    space: str
    options: TokenizerOptions
    pixel_decoder: PixelDecoderOptions
    image_size: int
    encoder: VisionEncoder
    load: bool = True


def build_space(entry: Space, parts: Parts) -> Any:
    """Return a new model of a space (a module that is a `LatentSpace`); its random weights come from torch's global
    generator.
    """
    module, _, name = entry.build.partition(":")
    return getattr(importlib.import_module(module), name)(parts)
