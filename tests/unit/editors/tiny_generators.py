"""A tiny text-to-image pipeline of diffusers with random weights, saved as its makers save it: by save_pretrained."""

from __future__ import annotations

from pathlib import Path

from tests.unit.editors.tiny_editors import autoencoder, small_unet, text_encoder, tokenizer


def stable_diffusion(folder: Path, seed: int = 0) -> Path:
    """Save a Stable Diffusion that makes pictures of 16 pixels."""
    import torch
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    torch.manual_seed(seed)
    unet = small_unet(4, sample_size=8)
    pipeline = StableDiffusionPipeline(
        vae=autoencoder(4), text_encoder=text_encoder(), tokenizer=tokenizer(folder), unet=unet,
        scheduler=DDIMScheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    return folder
