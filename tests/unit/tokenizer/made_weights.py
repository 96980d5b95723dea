"""Weights of the published measures' shapes, made for a test: seeded, and scaled so that features stay near 1."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

VGG16 = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512)
TAPPED = (64, 128, 256, 512, 512)


def vgg_weights(seed: int = 0) -> dict[str, Tensor]:
    """By torchvision's names, and one of the classifier, which LPIPS does without."""
    generator = torch.Generator().manual_seed(seed)
    values: dict[str, Tensor] = {"classifier.0.bias": torch.zeros(3)}
    layer, inner = 0, 3
    for width in VGG16:
        if isinstance(width, str):
            layer += 1
            continue
        scale = (2 / 9 / inner) ** 0.5  # He's
        values[f"features.{layer}.weight"] = scale * torch.randn(width, inner, 3, 3, generator=generator)
        values[f"features.{layer}.bias"] = 0.1 * torch.randn(width, generator=generator)
        layer, inner = layer + 2, width
    return values


def head_weights(seed: int = 1) -> dict[str, Tensor]:
    """By lpips' names."""
    generator = torch.Generator().manual_seed(seed)
    return {
        f"lin{number}.model.1.weight": torch.rand(1, width, 1, 1, generator=generator)
        for number, width in enumerate(TAPPED)
    }


def save_hub_file(values: dict[str, Tensor], folder: Path, stem: str = "vgg16", new: bool = True) -> Path:
    """Save as torch.hub names files: with the first 8 digits of the sha256. Not `new`: as torch wrote before 1.6."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(values, folder / "unnamed", _use_new_zipfile_serialization=new)
    digest = hashlib.sha256((folder / "unnamed").read_bytes()).hexdigest()
    return (folder / "unnamed").rename(folder / f"{stem}-{digest[:8]}.pth")
