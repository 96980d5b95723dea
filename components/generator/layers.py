"""Layers of the deep-fusion transformer: a decoder layer of Qwen2 or Qwen3 over text and image tokens, and the DDT head's.

A layer is transformers' own, so its weights load as they are; its forward is here, because attention is causal on text and full inside
images, keys and values of a prefix are kept over all sampling steps, and image tokens may have weights and modulations of their own.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KeyValue = tuple[Tensor, Tensor]  # each [B, heads, T, head width]


def rms_norm(hidden: Tensor, norm: nn.Module) -> Tensor:
    """Apply a transformers RMSNorm by torch's fused kernel."""
    weight: Any = norm.weight
    return F.rms_norm(hidden, weight.shape, weight.to(hidden.dtype), norm.variance_epsilon)  # type: ignore[arg-type]


def rotate(hidden: Tensor, rotary: KeyValue) -> Tensor:
    """Turn queries or keys `[B, heads, T, D]` by their positions' cosines and sines `[B, 1, T, D]`."""
    first, second = hidden.chunk(2, dim=-1)
    cos, sin = rotary
    return hidden * cos + torch.cat((-second, first), dim=-1) * sin


def time_features(times: Tensor, width: int) -> Tensor:
    """Return sines and cosines `[B, width]` of times in 0..1."""
    half = width // 2
    rates = torch.exp(-math.log(10_000.0) * torch.arange(half, device=times.device) / half)
    angles = times.float()[:, None] * 1000.0 * rates[None]
    return torch.cat([angles.cos(), angles.sin()], 1)


class TimeEmbedding(nn.Module):
    """An MLP on a time's sines and cosines: `[B]` to `[B, width]`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(256, width)
        self.second = nn.Linear(width, width)

    def forward(self, times: Tensor) -> Tensor:
        """Embed times in 0..1."""
        return self.second(F.silu(self.first(time_features(times, 256).to(self.first.weight.dtype))))


def modulate(hidden: Tensor, shift: Tensor | None, scale: Tensor | None) -> Tensor:
    """Scale and shift normalised tokens (adaLN); without a scale and a shift they stay as they are."""
    return hidden if scale is None or shift is None else torch.addcmul(shift, hidden, 1 + scale)


def gated(out: Tensor, gate: Tensor | None) -> Tensor:
    """Scale what a block adds to its tokens; a gate of 0 leaves it as it is."""
    return out if gate is None else out * (1 + gate)


class FusionLayer(nn.Module):
    """A decoder layer over `[B, T, width]`."""

    def __init__(self, layer: nn.Module, separate: bool, width: int, adaln: bool) -> None:
        super().__init__()
        self.shared = layer
        self.image = copy.deepcopy(layer) if separate else None
        self.modulation = nn.Linear(width, 6 * width) if adaln else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)
            self.modulation.outer = True  # type: ignore[assignment]

    def forward(
        self,
        hidden: Tensor,
        rotary: KeyValue,
        mask: Tensor,
        text: slice,
        time: Tensor | None = None,
        cache: KeyValue | None = None,
    ) -> tuple[Tensor, KeyValue]:
        """Return the tokens after the layer, and the keys and values of those given.

        `mask` `[B, 1, T, K]` is true where a token sees a key, keys of `cache` first. `text` are the tokens that are not of images, where these
        have weights of their own. Tokens are modulated by `time` `[B, 1, width]` (`[B, T, width]`: each by its own) where the model is built so.
        """
        layer: Any = self.shared
        shift1, scale1, gate1, shift2, scale2, gate2 = (None,) * 6
        if self.modulation is not None and time is not None:
            shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(F.silu(time)).chunk(6, dim=-1)
        split = text if self.image is not None else None
        normed = modulate(self._part("input_layernorm", hidden, split), shift1, scale1)
        query = rotate(self._heads("q", normed, split), rotary)
        own = key, value = self._keys(normed, rotary, split)
        if cache is not None:
            key, value = torch.cat([cache[0], key], 2), torch.cat([cache[1], value], 2)
        groups = query.shape[1] // key.shape[1]
        if groups > 1:  # spelt out: torch's own way (enable_gqa) knows no fused kernel with a mask
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=layer.self_attn.scaling)
        hidden = hidden + gated(self._part("self_attn.o_proj", mixed.transpose(1, 2).flatten(2), split), gate1)
        normed = modulate(self._part("post_attention_layernorm", hidden, split), shift2, scale2)
        return hidden + gated(self._part("mlp", normed, split), gate2), own

    def keys(self, hidden: Tensor, rotary: KeyValue, text: slice) -> KeyValue:
        """Return the keys and values of tokens without a time: all that anyone asks of a prefix in the last layer."""
        split = text if self.image is not None else None
        return self._keys(self._part("input_layernorm", hidden, split), rotary, split)

    def _keys(self, normed: Tensor, rotary: KeyValue, split: slice | None) -> KeyValue:
        return rotate(self._heads("k", normed, split), rotary), self._heads("v", normed, split)

    def _part(self, name: str, hidden: Tensor, text: slice | None) -> Tensor:
        """Apply a module of the layer; to image tokens their own, where they have one."""
        if text is None:
            return _apply(self.shared.get_submodule(name), hidden)
        assert self.image is not None
        return torch.cat(
            [
                _apply(self.image.get_submodule(name), hidden[:, : text.start]),
                _apply(self.shared.get_submodule(name), hidden[:, text]),
                _apply(self.image.get_submodule(name), hidden[:, text.stop :]),
            ],
            1,
        )

    def _heads(self, name: str, normed: Tensor, text: slice | None) -> Tensor:
        """Return queries, keys or values `[B, heads, T, D]`, normed where the model norms them (Qwen3)."""
        attention: Any = self.shared.self_attn
        made = self._part(f"self_attn.{name}_proj", normed, text)
        made = made.view(*made.shape[:2], -1, attention.head_dim)
        if name != "v" and hasattr(attention, f"{name}_norm"):
            made = self._part(f"self_attn.{name}_norm", made, text)
        return made.transpose(1, 2)


def _apply(module: nn.Module, hidden: Tensor) -> Tensor:
    return rms_norm(hidden, module) if hasattr(module, "variance_epsilon") else module(hidden)


class HeadLayer(nn.Module):
    """A layer of the DDT head over `[B, N, width]`: full attention, SwiGLU, adaLN by a condition per token; zero-initialised (RAE)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.RMSNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.RMSNorm(width, eps=1e-6)
        hidden = 8 * width // 3 // 8 * 8
        self.gate_up = nn.Linear(width, 2 * hidden)
        self.down = nn.Linear(hidden, width)
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        self.modulation.outer = True  # type: ignore[assignment]

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        """Return tokens of the same shape; `condition` `[B, N, width]`."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(F.silu(condition)).chunk(6, dim=-1)
        batch, count, width = hidden.shape
        qkv = self.qkv(modulate(self.norm1(hidden), shift1, scale1)).view(batch, count, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, count, width)
        hidden = hidden + gate1 * self.out(mixed)
        gate, up = self.gate_up(modulate(self.norm2(hidden), shift2, scale2)).chunk(2, dim=-1)
        return hidden + gate2 * self.down(F.silu(gate) * up)
