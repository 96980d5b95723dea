"""The wide DDT head (RAE): transformer layers of its own read out, in the place of one linear layer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from components.generator.layers import HeadLayer, grid_positions, modulate, zero
from components.generator.options import HeadOptions


class DdtHead(nn.Module):
    """The wide head: a fresh embedding of the noisy latent, conditioned per token on the backbone's output and the time
    (RAE).
    """

    positions: Tensor

    def __init__(self, options: HeadOptions, channels: int, outputs: int, width: int, grid: int) -> None:
        super().__init__()
        self.embed = nn.Linear(channels, options.width)
        self.condition = nn.Linear(width, options.width)
        self.layers = nn.ModuleList([HeadLayer(options.width, options.heads) for _ in range(options.depth)])
        self.norm = nn.RMSNorm(options.width, eps=1e-6)
        self.modulation = zero(nn.Linear(options.width, 2 * options.width))
        self.out = zero(nn.Linear(options.width, outputs))
        self.register_buffer("positions", grid_positions(grid, options.width), persistent=False)

    def outer_layers(self) -> list[nn.Linear]:
        """The layers that Muon leaves to AdamW."""
        return [self.modulation, self.out, self.embed]

    def forward(self, noisy: Tensor, seen: Tensor, time: Tensor) -> Tensor:
        """Noisy tokens `[B, N, C]`, what the backbone made of them and the time's embedding `[B, width]` to `[B, N,
        outputs]`.
        """
        condition = self.condition(F.silu(seen + time[:, None]))
        hidden = self.embed(noisy) + self.positions.to(noisy.dtype)
        for layer in self.layers:
            hidden = layer(hidden, condition)
        shift, scale = self.modulation(F.silu(condition)).chunk(2, dim=-1)
        return self.out(modulate(self.norm(hidden), shift, scale))
