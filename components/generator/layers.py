"""Layers of the deep-fusion transformer: a decoder layer of Qwen2 or Qwen3 over text and image tokens, and the wide
head's.

A decoder layer is transformers' own, so its weights load as they are; its forward is here, because attention is causal
on text and full inside images, keys and values of a prefix are kept over all sampling steps, and image tokens may have
weights and modulations of their own.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KeyValue = tuple[Tensor, Tensor]  # each [B, heads, T, head width]
Part = Callable[[Any, Tensor], Tensor]  # of a decoder layer, applied to tokens


def rms_norm(hidden: Tensor, norm: nn.Module) -> Tensor:
    """Apply a transformers RMSNorm by torch's fused kernel."""
    weight: Any = norm.weight
    return F.rms_norm(hidden, weight.shape, weight.to(hidden.dtype), norm.variance_epsilon)  # type: ignore[arg-type]


def rotate(hidden: Tensor, rotary: KeyValue) -> Tensor:
    """Turn queries or keys `[B, heads, T, D]` by their positions' cosines and sines `[B, 1, T, D]`, the first half of
    the sines with its sign turned (`rotary_of`): turned once there, not in every layer.
    """
    first, second = hidden.chunk(2, dim=-1)
    cos, sin = rotary
    return hidden * cos + torch.cat((second, first), dim=-1) * sin


def rotary_of(cos: Tensor, sin: Tensor) -> KeyValue:
    """Return what `rotate` takes, of transformers' cosines and sines `[B, T, D]`."""
    first, second = sin.chunk(2, dim=-1)
    return cos[:, None], torch.cat((-first, second), dim=-1)[:, None]


def time_features(times: Tensor, width: int) -> Tensor:
    """Return sines and cosines `[B, width]` of times in 0..1."""
    half = width // 2
    rates = torch.exp(-math.log(10_000.0) * torch.arange(half, device=times.device) / half)
    angles = times.float()[:, None] * 1000.0 * rates[None]
    return torch.cat([angles.cos(), angles.sin()], 1)


def grid_positions(grid: int, width: int) -> Tensor:
    """Frozen 2-D sine-cosine positions `[1, grid * grid, width]`: rows in the first half of the channels, columns in
    the second.
    """
    quarter = width // 4
    rates = 1.0 / 10_000 ** (torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = torch.arange(grid, dtype=torch.float64)[:, None] * rates[None]
    line = torch.cat([angles.sin(), angles.cos()], 1)
    both = [line[:, None].expand(grid, grid, -1), line[None].expand(grid, grid, -1)]
    return torch.cat(both, 2).reshape(1, grid * grid, width).float()


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


class Modulation(NamedTuple):
    """What a time does to one half of a layer (adaLN): `[B, 1, width]` each, or None where the time does nothing to
    it.
    """

    shift: Tensor | None = None
    scale: Tensor | None = None
    gate: Tensor | None = None


def zero(layer: nn.Linear) -> nn.Linear:
    """Set a linear layer to zero, and return it."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class FusionLayer(nn.Module):
    """A decoder layer over `[B, T, width]`. `normed` says whether queries and keys are normed (Qwen3)."""

    def __init__(self, layer: nn.Module, separate: bool, width: int, adaln: bool, normed: bool) -> None:
        super().__init__()
        self.shared: Any = layer
        self.image: Any = copy.deepcopy(layer) if separate else None
        self.modulation = zero(nn.Linear(width, 6 * width)) if adaln else None
        self.normed = normed

    def outer_layers(self) -> list[nn.Linear]:
        """The layers that Muon leaves to AdamW."""
        return [self.modulation] if self.modulation is not None else []

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

        `mask` `[B, 1, T, K]` is true where a token sees a key, keys of `cache` first. `text` are the tokens that are
        not of images, where these have weights of their own. Tokens are modulated by `time` `[B, 1, width]` (`[B, T,
        width]`: each by its own) where the model is built so.
        """
        before, after = self._modulations(time)
        normed = modulate(self._each(_input_norm, hidden, text), before.shift, before.scale)
        query = rotate(self._each(self._queries, normed, text).transpose(1, 2), rotary)
        own = key, value = self._keys_and_values(normed, rotary, text)
        if cache is not None:
            key, value = torch.cat([cache[0], key], 2), torch.cat([cache[1], value], 2)
        groups = query.shape[1] // key.shape[1]
        if groups > 1:  # spelt out: torch's own way (enable_gqa) knows no fused kernel with a mask
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=self.shared.self_attn.scaling)
        hidden = hidden + gated(self._each(_attention_out, mixed.transpose(1, 2).flatten(2), text), before.gate)
        normed = modulate(self._each(_middle_norm, hidden, text), after.shift, after.scale)
        return hidden + gated(self._each(_mlp, normed, text), after.gate), own

    def keys(self, hidden: Tensor, rotary: KeyValue, text: slice) -> KeyValue:
        """Return the keys and values of tokens without a time: all that anyone asks of a prefix in the last layer."""
        return self._keys_and_values(self._each(_input_norm, hidden, text), rotary, text)

    def _modulations(self, time: Tensor | None) -> tuple[Modulation, Modulation]:
        """Of the attention and of the feed-forward half."""
        if self.modulation is None or time is None:
            return Modulation(), Modulation()
        parts = self.modulation(F.silu(time)).chunk(6, dim=-1)
        return Modulation(*parts[:3]), Modulation(*parts[3:])

    def _each(self, part: Part, hidden: Tensor, text: slice) -> Tensor:
        """Apply a part of the decoder layer to tokens: to those of images by their own weights, where they have
        some.
        """
        if self.image is None:
            return part(self.shared, hidden)
        first, last = hidden[:, : text.start], hidden[:, text.stop :]
        return torch.cat([part(self.image, first), part(self.shared, hidden[:, text]), part(self.image, last)], 1)

    def _keys_and_values(self, normed: Tensor, rotary: KeyValue, text: slice) -> KeyValue:
        key, value = self._each(self._keys, normed, text), self._each(_values, normed, text)
        return rotate(key.transpose(1, 2), rotary), value.transpose(1, 2)

    def _queries(self, layer: Any, normed: Tensor) -> Tensor:
        attention = layer.self_attn
        made = _heads(attention.q_proj(normed), attention)
        return rms_norm(made, attention.q_norm) if self.normed else made

    def _keys(self, layer: Any, normed: Tensor) -> Tensor:
        attention = layer.self_attn
        made = _heads(attention.k_proj(normed), attention)
        return rms_norm(made, attention.k_norm) if self.normed else made


# Parts of a decoder layer of transformers, each on tokens `[B, T, width]`; heads are `[B, T, heads, D]`.


def _input_norm(layer: Any, hidden: Tensor) -> Tensor:
    return rms_norm(hidden, layer.input_layernorm)


def _middle_norm(layer: Any, hidden: Tensor) -> Tensor:
    return rms_norm(hidden, layer.post_attention_layernorm)


def _values(layer: Any, normed: Tensor) -> Tensor:
    return _heads(layer.self_attn.v_proj(normed), layer.self_attn)


def _attention_out(layer: Any, mixed: Tensor) -> Tensor:
    return layer.self_attn.o_proj(mixed)


def _mlp(layer: Any, normed: Tensor) -> Tensor:
    return layer.mlp(normed)


def _heads(made: Tensor, attention: Any) -> Tensor:
    return made.unflatten(-1, (made.shape[-1] // attention.head_dim, attention.head_dim))


class HeadLayer(nn.Module):
    """A layer of the DDT head over `[B, N, width]`: full attention, SwiGLU, adaLN by a condition per token;
    zero-initialised (RAE).
    """

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
        self.modulation = zero(nn.Linear(width, 6 * width))

    def outer_layers(self) -> list[nn.Linear]:
        """The layers that Muon leaves to AdamW."""
        return [self.modulation]

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
