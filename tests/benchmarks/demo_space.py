"""A preset's PS-VAE with random weights, for benchmarks of what surrounds it."""

from __future__ import annotations

import dataclasses

import torch

from components.tokenizer.encoders import VisionEncoder
from components.tokenizer.image_text import small_encoder
from components.tokenizer.vae import PixelSemanticVAE
from pipelines.config.schema import Config


def demo_space(config: Config) -> tuple[VisionEncoder, PixelSemanticVAE]:
    """Return an encoder and a PS-VAE of the configuration's shapes."""
    torch.manual_seed(0)
    encoder = small_encoder(config.encoder.small, config.image_size)
    settings = config.tokenizer
    model = PixelSemanticVAE(
        encoder.spec, config.image_size, settings.model.channels, dataclasses.asdict(settings.pixel_decoder),
        settings.model.semantic_depth, linear_path=True,
    )  # fmt: skip
    return encoder, model
