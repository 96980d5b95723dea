"""The building blocks of the small transformers here: pre-norm blocks, 2-D positions, patches."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def norm_groups(width: int) -> int:
    """Groups of a group norm in a convolutional autoencoder whose finest level is so wide: at most 32, of four channels
    or more.

    Latent diffusion's 128 channels have 32. A group of one channel would be an instance norm, which takes each
    channel's mean out of every picture, and colours are learnt late.
    """
    return math.gcd(32, max(1, width // 4), width)


class Block(nn.Module):
    """A pre-norm transformer block with full attention over tokens `[B, N, width]`."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"a width of {width} cannot be split into {heads} heads.")
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, int(width * mlp_ratio))
        self.down = nn.Linear(int(width * mlp_ratio), width)
        nn.init.zeros_(self.out.weight)  # a fresh block is the identity
        nn.init.zeros_(self.out.bias)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return tokens of the same shape. `mask` `[B, N]` is true where a token may be looked at."""
        batch, count, width = tokens.shape
        qkv = self.qkv(self.norm1(tokens)).view(batch, count, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=None if mask is None else mask[:, None, None, :]
        )
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(batch, count, width))
        return tokens + self.down(F.gelu(self.up(self.norm2(tokens))))


class Mlp(nn.Module):
    """Two layers per token: the paper's weaker projection, for comparison (section 2)."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, 2 * max(width, out))
        self.down = nn.Linear(2 * max(width, out), out)

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, N, width]` to `[B, N, out]`."""
        return self.down(F.gelu(self.up(tokens)))


def positions(grid: int, width: int) -> Tensor:
    """Frozen 2-D sine-cosine positions `[1, grid * grid, width]`; the first half of the channels is the row's."""
    if width % 4:
        raise ValueError(f"2-D positions need a width that 4 divides, not {width}.")
    quarter = width // 4
    rates = 1.0 / 10_000 ** (torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = torch.arange(grid, dtype=torch.float64)[:, None] * rates[None]
    line = torch.cat([angles.sin(), angles.cos()], 1)
    rows = line[:, None].expand(grid, grid, -1)
    columns = line[None].expand(grid, grid, -1)
    return torch.cat([rows, columns], 2).reshape(1, grid * grid, width).float()


def patchify(images: Tensor, patch: int) -> Tensor:
    """`[B, 3, H, W]` to `[B, H / patch * W / patch, 3 * patch * patch]`."""
    return F.unfold(images, patch, stride=patch).transpose(1, 2)


def unpatchify(patches: Tensor, patch: int, grid: int) -> Tensor:
    """The inverse of `patchify` for a square grid."""
    batch = patches.shape[0]
    return (
        patches.view(batch, grid, grid, 3, patch, patch)
        .permute(0, 3, 1, 4, 2, 5)
        .reshape(batch, 3, grid * patch, grid * patch)
    )


def to_map(tokens: Tensor, grid: int) -> Tensor:
    """`[B, N, C]` to `[B, C, grid, grid]`."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], -1, grid, grid)


def to_tokens(latent: Tensor) -> Tensor:
    """`[B, C, grid, grid]` to `[B, N, C]`."""
    return latent.flatten(2).transpose(1, 2)
