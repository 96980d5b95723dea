"""The patch discriminator of latent diffusion: three strided convolutions, logits per patch, hinge loss."""

from __future__ import annotations

import math

from torch import Tensor, nn

from components.tokenizer.losses import hinge_discriminator_loss


class PatchCritic(nn.Module):
    """Judges pictures `[B, 3, H, W]` in -1..1; group norm in place of batch norm, so that workers agree."""

    def __init__(self, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        inner = width
        for layer in range(1, layers + 1):
            outer = width * min(2**layer, 8)
            stride = 2 if layer < layers else 1
            parts += [
                nn.Conv2d(inner, outer, 4, stride=stride, padding=1, bias=False),
                nn.GroupNorm(math.gcd(32, outer), outer),
                nn.LeakyReLU(0.2),
            ]
            inner = outer
        parts.append(nn.Conv2d(inner, 1, 4, padding=1))
        self.layers = nn.Sequential(*parts)

    def judge(self, pictures: Tensor) -> Tensor:
        """Return logits per patch: higher is more real."""
        return self.layers(pictures)

    def forward(self, real: Tensor, decoded: Tensor) -> Tensor:
        """Return the critic's own loss on real and decoded pictures."""
        return hinge_discriminator_loss(self.judge(real), self.judge(decoded))
