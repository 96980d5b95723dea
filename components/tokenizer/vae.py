"""The pixel-semantic VAE, and with it S-VAE, P-VAE, RAE and RAE-HD, which differ in bottleneck and training alone.

    pictures [B, 3, S, S] -> encoder -> features [B, N, D] -> E_s -> raw latent [B, C, h, w]
    raw latent -> D_s -> features [B, N, D]
    raw latent -> D_p -> pictures [B, 3, S, S]
    encode: pictures -> posterior over z = (raw - mean) / std
    decode: z -> raw = z * std + mean -> D_p -> pictures

N = h * w tokens. RAE and RAE-HD have no E_s and D_s: their raw latent is the features. The statistics (`scaling`) are
in the config.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from components.tokenizer.blocks import Block, Mlp, patchify, positions, to_map, to_tokens
from components.tokenizer.encoders import VisionEncoder
from components.tokenizer.latent_space import LatentSpace, Parts
from components.tokenizer.options import PixelDecoderOptions
from components.tokenizer.pixel_decoders import build_pixel_decoder
from components.tokenizer.spaces import find_space
from components.tokenizer.standardised import Scaling, StandardisedLatents

EXACT = -30.0  # log-variance of a posterior that is a point
# at which a posterior starts where few steps are to come: noise of deviation 1 would hide a fresh latent from its
# decoder
SHARP = -6.0


class SemanticEncoder(nn.Module):
    """E_s: features `[B, N, D]` to mean and log-variance `[B, N, 2 C]` (paper section 2)."""

    positions: Tensor
    project: Any

    def __init__(self, width: int, heads: int, grid: int, channels: int, depth: int, kind: str) -> None:
        super().__init__()
        transformer = kind == "transformer"
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(depth if transformer else 0)])
        self.project = nn.Linear(width, 2 * channels) if transformer else Mlp(width, 2 * channels)
        self.register_buffer("positions", positions(grid, width), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return the posterior's parameters."""
        hidden = features + self.positions.to(features.dtype) if len(self.blocks) else features
        for block in self.blocks:
            hidden = block(hidden)
        return self.project(hidden)


class SemanticDecoder(nn.Module):
    """D_s: latent tokens `[B, N, C]` back to the encoder's features `[B, N, D]`."""

    positions: Tensor
    project: Any

    def __init__(self, width: int, heads: int, grid: int, channels: int, depth: int, kind: str) -> None:
        super().__init__()
        transformer = kind == "transformer"
        self.project = nn.Linear(channels, width) if transformer else Mlp(channels, width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(depth if transformer else 0)])
        self.register_buffer("positions", positions(grid, width), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return features."""
        hidden = self.project(tokens)
        if len(self.blocks):
            hidden = hidden + self.positions.to(hidden.dtype)
        for block in self.blocks:
            hidden = block(hidden)
        return hidden


class PixelSemanticVAE(StandardisedLatents, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """An encoder, a bottleneck `channels` wide (None: the features themselves), and a decoder for each of both worlds.

    `scaling` is {mean, std}, one number per latent channel; None until the latents have been measured. Pictures are
    `[B, 3, image_size, image_size]` in -1..1, latents `[B, C, grid, grid]`.
    """

    has_features = True
    encoder: VisionEncoder
    semantic_encoder: SemanticEncoder
    semantic_decoder: SemanticDecoder
    patch_skip: nn.Linear | None
    pixel_decoder: Any

    @register_to_config
    def __init__(
        self,
        encoder_spec: dict[str, Any],
        image_size: int,
        channels: int | None,
        pixel_options: dict[str, Any],
        semantic_depth: int = 3,
        semantic_kind: str = "transformer",
        pixel_source: str = "latent",
        linear_path: bool = False,
        space: str = "ps_vae",
        scaling: Scaling | None = None,
    ) -> None:
        super().__init__()
        self.encoder = VisionEncoder.from_spec(encoder_spec)
        self.grid, width = self.encoder.grid, self.encoder.width
        self.channels = channels or width
        self.bottleneck, self.reads = channels is not None, pixel_source
        self.semantic_kind = semantic_kind
        if channels:
            shape = (width, self.encoder.heads, self.grid, channels, semantic_depth, semantic_kind)
            self.semantic_encoder = SemanticEncoder(*shape)
            self.semantic_decoder = SemanticDecoder(*shape)
        self.patch_skip = nn.Linear(3 * (image_size // self.grid) ** 2, channels) if linear_path and channels else None
        read = width if pixel_source == "features" else self.channels
        options = PixelDecoderOptions(**{**pixel_options, "multiples": tuple(pixel_options["multiples"])})
        self.pixel_decoder = build_pixel_decoder(read, self.grid, image_size, options)
        self.register_statistics(self.channels, scaling)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of a latent."""
        return self.channels, self.grid, self.grid

    def set_scaling(self, mean: Tensor, std: Tensor) -> None:
        """Standardise latents by these statistics of the raw latent, `[C]` each, from now on and in the saved
        config.
        """
        self.register_to_config(scaling=self.keep_statistics(mean, std))

    def encode(self, x: Tensor, return_dict: bool = True) -> AutoencoderKLOutput | tuple[DiagonalGaussianDistribution]:
        """Return the posterior over the standardised latent of pictures."""
        mean, log_variance = self.moments(x, self.encoder(x))
        posterior = self.standardised(mean, log_variance)
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    def decode(self, z: Tensor, return_dict: bool = True) -> DecoderOutput | tuple[Tensor]:
        """Return pictures of standardised latents."""
        sample = self.pixels_of(self.raw(z))
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    def features(self, x: Tensor) -> Tensor:
        """Return the encoder's features `[B, N, D]` of pictures."""
        return self.encoder(x)

    def decode_features(self, z: Tensor) -> Tensor:
        """Return the features `[B, N, D]` that standardised latents hold."""
        return self.features_of(self.raw(z))

    def forward(self, x: Tensor) -> DecoderOutput | tuple[Tensor]:
        """Reconstruct pictures from the mean of their latents."""
        encoded: Any = self.encode(x)
        return self.decode(encoded.latent_dist.mode())

    # Raw latents: for training the tokenizer itself.

    def moments(self, images: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the raw posterior's mean and log-variance, each `[B, C, grid, grid]`, of pictures and their
        features.
        """
        assert features is not None
        if not self.bottleneck:
            mean = to_map(features, self.grid)
            return mean, torch.full_like(mean, EXACT)
        mean, log_variance = self.semantic_encoder(features).chunk(2, dim=-1)
        if self.patch_skip is not None:
            mean = mean + self.patch_skip(patchify(images, images.shape[-1] // self.grid))
        return to_map(mean, self.grid), to_map(log_variance.clamp(-30.0, 20.0), self.grid)

    def features_of(self, raw: Tensor) -> Tensor:
        """Return the features `[B, N, D]` that a raw latent holds."""
        return self.semantic_decoder(to_tokens(raw)) if self.bottleneck else to_tokens(raw)

    def pixels_of(self, raw: Tensor) -> Tensor:
        """Return the picture of a raw latent."""
        if self.reads == "features":
            raw = to_map(self.features_of(raw), self.grid)
        return self.pixel_decoder(raw)


def build(parts: Parts) -> LatentSpace:
    """Return a new model around an encoder, with a copy of the encoder's weights in it."""
    entry, options = find_space(parts.space), parts.options
    model = PixelSemanticVAE(
        encoder_spec=parts.encoder.spec,
        image_size=parts.image_size,
        channels=options.channels if entry.bottleneck else None,
        pixel_options=dataclasses.asdict(parts.pixel_decoder),
        semantic_depth=options.semantic_depth,
        semantic_kind=options.semantic_kind,
        pixel_source=options.pixel_source if entry.bottleneck else "latent",
        linear_path=entry.patch_pca and bool(options.pixel_channels),
        space=parts.space,
    )
    model.encoder.load_state_dict(copy.deepcopy(parts.encoder.state_dict()))
    return model
