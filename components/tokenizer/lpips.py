"""LPIPS with VGG16 (Zhang et al. 2018), from weights the user gives. Without its weights there is no LPIPS here.

The folder holds `vgg16.safetensors` (torchvision's names: `features.0.weight` ...) and `lpips_vgg.safetensors` (the
linear heads: `lin0.model.1.weight` ... `lin4.model.1.weight`).
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

SLICES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class Lpips(nn.Module):
    """Learned distance of pictures `[B, 3, H, W]` in -1..1: the mean over the batch."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.taps: list[int] = []
        inner = 3
        for number, widths in enumerate(SLICES):
            if number:
                layers.append(nn.MaxPool2d(2))
            for width in widths:
                layers += [nn.Conv2d(inner, width, 3, padding=1), nn.ReLU()]
                inner = width
            self.taps.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)
        self.heads = nn.ParameterList([nn.Parameter(torch.zeros(1, widths[-1], 1, 1)) for widths in SLICES])
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def load(cls, folder: str | Path) -> Lpips:
        """Load both weight files; ValueError names what is missing."""
        model = cls()
        try:
            vgg = load_file(Path(folder) / "vgg16.safetensors")
            heads = load_file(Path(folder) / "lpips_vgg.safetensors")
            model.features.load_state_dict({k[9:]: v for k, v in vgg.items() if k.startswith("features.")})
            for number, head in enumerate(model.heads):
                head.data.copy_(heads[f"lin{number}.model.1.weight"])
        except (OSError, KeyError, RuntimeError, SafetensorError) as error:
            raise ValueError(
                f"{folder} holds no LPIPS weights: {error}. Wanted: vgg16.safetensors and lpips_vgg.safetensors."
            ) from error
        return model.requires_grad_(False).eval()

    def _maps(self, pictures: Tensor) -> list[Tensor]:
        hidden = (pictures - self.shift) / self.scale
        maps = []
        for number, layer in enumerate(self.features):
            hidden = layer(hidden)
            if number in self.taps:
                maps.append(hidden / (hidden.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return maps

    def forward(self, pictures: Tensor, target: Tensor) -> Tensor:
        """Return the mean distance."""
        found, wanted = self._maps(pictures.float()), self._maps(target.float())
        parts = [F.conv2d((a - b).square(), h).mean() for a, b, h in zip(found, wanted, self.heads, strict=True)]
        return torch.stack(parts).sum()
