"""A tiny text-to-image pipeline of diffusers with random weights, saved as its makers save it: by save_pretrained."""

from __future__ import annotations

from pathlib import Path

from tests.unit.editors.tiny_editors import autoencoder, text_encoder, tokenizer


def stable_diffusion(folder: Path, seed: int = 0) -> Path:
    """Save a Stable Diffusion that makes pictures of 16 pixels."""
    import torch
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, in_channels=4, out_channels=4, norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16, attention_head_dim=8,
    )  # fmt: skip
    pipeline = StableDiffusionPipeline(
        vae=autoencoder(4), text_encoder=text_encoder(), tokenizer=tokenizer(folder), unet=unet,
        scheduler=DDIMScheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    return folder
