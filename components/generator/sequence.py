"""The one sequence: where source, text and noisy tokens stand, their rotary indices, and which token sees which.

Order: [start, source latents, end] [text] [start, noisy latents]. Text, starts and ends are causal; the latents of one
image see each other and share one rotary index. A noisy image needs no end token: nothing comes after it that could see
one. Everything before the noisy latents depends neither on them nor on the time, so its keys and values hold for all
steps of a sampler.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """The sequence of a batch: for each token whether it is there, its rotary index, and its image (0: none)."""

    present: Tensor  # bool [B, T]
    position: Tensor  # int64 [B, T]
    image: Tensor  # int64 [T]
    text: slice  # text tokens and the noisy image's start
    noisy: int  # tokens of the noisy image, at the end

    @property
    def prefix(self) -> int:
        """Tokens before the noisy image."""
        return self.present.shape[1] - self.noisy


def lay_out(text: Tensor, source: Tensor | None, tokens: int) -> Layout:
    """Lay out text `[B, L]` (true where there is a word), a source image where `source` `[B]` is true (None: no slots
    for one), and a noisy image of `tokens` tokens.
    """
    batch, device = text.shape[0], text.device
    always = torch.ones(batch, 1, dtype=torch.bool, device=device)
    before = [] if source is None else [source[:, None].expand(batch, tokens + 2)]
    there = torch.cat([*before, text, always, always.expand(batch, tokens)], 1)
    begin, first = (0 if source is None else tokens + 2), there.shape[1] - tokens
    # Filled on the device: lists from the host would be copied, and the copy would wait for the step before.
    image, step = (
        torch.zeros(there.shape[1], dtype=torch.int64, device=device),
        torch.ones_like(there[0], dtype=torch.int64),
    )
    image[first:].fill_(2)
    step[first + 1 :].zero_()
    if source is not None:
        image[1 : tokens + 1].fill_(1)
        step[2 : tokens + 1].zero_()
    position = ((step[None] * there).cumsum(1) - 1).clamp_min(0)
    return Layout(there, position, image, slice(begin, first), tokens)


def attention_mask(layout: Layout) -> Tensor:
    """Return `[B, 1, T, T]`, true where the row's token sees the column's. Absent tokens see themselves alone, and
    nobody sees them.
    """
    count = layout.present.shape[1]
    order = torch.arange(count, device=layout.present.device)
    together = (layout.image[:, None] == layout.image[None]) & (layout.image[:, None] > 0)
    allowed = (order[:, None] >= order[None]) | together
    mask = allowed[None] & layout.present[:, None, :]
    return (mask | torch.eye(count, dtype=torch.bool, device=mask.device)[None])[:, None]
