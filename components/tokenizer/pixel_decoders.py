"""Pixel decoders: from a latent map `[B, C, grid, grid]` to a picture `[B, 3, H, W]` in -1..1.

`conv` is latent diffusion's f16 decoder (the paper's); `patch` is a small transformer with a linear path from each
latent token to its patch, which a few minutes on a CPU can train.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from components.tokenizer.blocks import Block, norm_groups, positions, to_tokens, unpatchify
from components.tokenizer.options import PixelDecoderOptions


class Refinement(nn.Module):
    """A few convolutions on a whole picture, added to it: what one patch decides, its neighbours can mend. It starts at
    nothing.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, channels, 3, padding=1)
        self.middle = nn.Conv2d(channels, channels, 3, padding=1)
        self.leave = nn.Conv2d(channels, 3, 3, padding=1)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)

    def forward(self, picture: Tensor) -> Tensor:
        """Return the picture `[B, 3, H, W]` refined."""
        hidden = functional.relu(self.enter(picture))
        return picture + self.leave(functional.relu(self.middle(hidden)))


class PatchPixelDecoder(nn.Module):
    """Tokens through transformer blocks to patches, beside a linear path that starts from linear patch PCA."""

    positions: Tensor

    def __init__(self, channels: int, grid: int, patch: int, options: PixelDecoderOptions) -> None:
        super().__init__()
        self.grid, self.patch = grid, patch
        self.linear = nn.Linear(channels, 3 * patch * patch)
        self.enter = nn.Linear(channels, options.width)
        self.blocks = nn.ModuleList([Block(options.width, options.heads) for _ in range(options.depth)])
        self.norm = nn.LayerNorm(options.width)
        self.leave = nn.Linear(options.width, 3 * patch * patch)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)
        self.refine: nn.Module | None = Refinement(options.refine) if options.refine else None
        self.register_buffer("positions", positions(grid, options.width), persistent=False)

    @property
    def last_layer(self) -> Tensor:
        """The weight at which the GAN's gradient is measured."""
        return self.leave.weight

    def forward(self, latent: Tensor) -> Tensor:
        """Decode a latent map."""
        tokens = to_tokens(latent)
        hidden = self.enter(tokens) + self.positions.to(tokens.dtype)
        for block in self.blocks:
            hidden = block(hidden)
        picture = unpatchify(self.linear(tokens) + self.leave(self.norm(hidden)), self.patch, self.grid)
        return picture if self.refine is None else self.refine(picture)


class ConvPixelDecoder(nn.Module):
    """The decoder of latent diffusion: residual blocks, attention in the middle, nearest upsampling by 2 per level."""

    def __init__(self, channels: int, grid: int, patch: int, options: PixelDecoderOptions) -> None:
        super().__init__()
        from diffusers.models.autoencoders.vae import Decoder

        levels = int(math.log2(patch)) + 1
        if 2 ** (levels - 1) != patch:
            raise ValueError(f"a conv pixel decoder upsamples by powers of two; image over grid is {patch}.")
        multiples = (list(options.multiples) + [options.multiples[-1]] * levels)[:levels]
        self.decoder = Decoder(
            in_channels=channels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=tuple(options.width * multiple for multiple in multiples),
            layers_per_block=options.depth,
            norm_num_groups=norm_groups(options.width),
        )

    @property
    def last_layer(self) -> Tensor:
        """The weight at which the GAN's gradient is measured."""
        return self.decoder.conv_out.weight

    def forward(self, latent: Tensor) -> Tensor:
        """Decode a latent map."""
        return self.decoder(latent)


def build_pixel_decoder(channels: int, grid: int, image_size: int, options: PixelDecoderOptions) -> nn.Module:
    """Return the decoder that the options name. ValueError where the sizes do not fit."""
    if image_size % grid:
        raise ValueError(f"a picture of {image_size} pixels does not divide into a grid of {grid}.")
    kind = PatchPixelDecoder if options.kind == "patch" else ConvPixelDecoder
    return kind(channels, grid, image_size // grid, options)
