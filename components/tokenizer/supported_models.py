"""Which models of transformers and diffusers are supported, and how each is read. Standard library only, for checks
before a run.

A new encoder of transformers is an entry in `FAMILIES`; a new autoencoder of diffusers one in `AUTOENCODERS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True)
class Family:
    """How one architecture of `transformers` is read: its classes, its last norm, its tokens that are no patches."""

    model: str  # class names of `transformers`
    config: str
    layers: str  # the attribute path of its transformer layers
    norm: str | None  # the attribute of the last LayerNorm of the patches; None: there is none
    class_token: bool
    statistics: tuple[tuple[float, ...], tuple[float, ...]]  # mean and std of its pictures, where its folder says none
    patch: int  # pixels of a patch, where its configuration does not say
    interpolate: bool = False  # whether its forward needs `interpolate_pos_encoding` at other sizes


FAMILIES = {
    "dinov2": Family("Dinov2Model", "Dinov2Config", "encoder.layer", "layernorm", True, IMAGENET, 14),
    "dinov2_with_registers": Family(
        "Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", "encoder.layer", "layernorm", True, IMAGENET, 16
    ),
    "dinov3_vit": Family("DINOv3ViTModel", "DINOv3ViTConfig", "model.layer", "norm", True, IMAGENET, 16),
    "siglip_vision_model": Family(
        "SiglipVisionModel", "SiglipVisionConfig", "encoder.layers", "post_layernorm", False, HALF, 16, True
    ),
    "clip_vision_model": Family("CLIPVisionModel", "CLIPVisionConfig", "encoder.layers", None, True, CLIP, 32, True),
}
PICTURE_SIDE = 224  # of an encoder whose configuration says no `image_size`

POSTERIOR = "latent_dist"
# Class of diffusers (or ours) -> the field of what its `encode` returns.
AUTOENCODERS = {
    "AutoencoderKL": POSTERIOR,
    "AutoencoderKLFlux2": POSTERIOR,
    "AutoencoderTiny": "latents",
    "AutoencoderTaesd": "latents",
    "AutoencoderDC": "latent",
    "AutoencoderRAE": "latent",
}
UNIT_RANGE = ("AutoencoderRAE",)  # these take and give pictures in 0..1, not -1..1

# LPIPS: names of the file of torchvision's VGG16 and of the linear heads in a folder; the first found is taken.
LPIPS_NETWORK = ("vgg16-*.pth", "vgg16.pth", "vgg16.safetensors")
LPIPS_HEADS = ("vgg.pth", "lpips_vgg.pth", "lpips_vgg.safetensors")


def lpips_files(folder: str | Path) -> tuple[Path | None, Path | None]:
    """Return LPIPS' files in a folder, VGG16's and the linear heads'; None for what it does not hold."""
    network, heads = (
        next((path for pattern in patterns for path in sorted(Path(folder).glob(pattern)) if path.is_file()), None)
        for patterns in (LPIPS_NETWORK, LPIPS_HEADS)
    )
    return network, heads
