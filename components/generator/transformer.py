"""The deep-fusion transformer: text and image latents in one sequence through a Qwen decoder (paper section 3).

    [source latents] [text] [noisy latents] -> concatenate -> decoder layers -> noisy tokens -> read out -> velocity

A diffusers model. Source and text see nothing of the noisy latents, so the sequence is cut there: `read` makes keys and
values of what is before, and `denoise` the velocity of noisy latents that see those. A sampler reads once; `forward` is
both.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from components.generator.head import DdtHead
from components.generator.layers import (
    FusionLayer,
    KeyValue,
    TimeEmbedding,
    grid_positions,
    modulate,
    rms_norm,
    rotary_of,
    zero,
)
from components.generator.options import BACKBONES, FusionOptions, HeadOptions, SmallBackboneOptions
from components.generator.readout import READOUTS
from components.generator.sequence import Layout, attention_mask, lay_out


@dataclass
class Condition:
    """A batch's text and source as the noisy image will see them: keys and values per layer, and what of them is
    there.
    """

    cache: list[KeyValue]
    layout: Layout
    source: Tensor | None  # [B, C, H, W], zero where there is none
    has_source: Tensor | None  # bool [B]


class DeepFusionTransformer(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Predicts the velocity of noisy latents `[B, C, H, W]` from times, text and, for an edit, the source's latents.

    Raises ValueError for a backbone other than Qwen2 or Qwen3.
    """

    _supports_gradient_checkpointing = False

    @register_to_config
    def __init__(self, backbone: dict[str, Any], channels: int, grid: int, options: dict[str, Any]) -> None:
        super().__init__()
        self.options = fusion_options(options)
        model = AutoModel.from_config(backbone_config(backbone))
        width = model.config.hidden_size
        self.channels, self.grid = channels, grid
        patch = self.options.patch
        if grid % patch:
            raise ValueError(f"generator.model.patch is {patch}: it must divide the latent's grid of {grid}")
        self.side = grid // patch
        cells = channels * patch**2
        adaln = self.options.time == "adaln"
        self.embed_tokens, self.norm, self.rotary = model.embed_tokens, model.norm, model.rotary_emb
        separate = self.options.image_weights == "separate"
        normed = BACKBONES[model.config.model_type]
        self.layers = nn.ModuleList([FusionLayer(layer, separate, width, adaln, normed) for layer in model.layers])
        self.start, self.end = (nn.Parameter(torch.randn(width) * 0.02) for _ in range(2))
        self.embed_latent = nn.Linear(cells, width)
        self.embed_source = nn.Linear(cells, width) if self.options.source == "added" else None
        self.embed_time = TimeEmbedding(width)
        self.register_buffer("positions", grid_positions(self.side, width), persistent=False)
        self.readout = READOUTS[self.options.prediction]
        outputs = cells * self.readout.maps
        self.head = DdtHead(self.options.head, cells, outputs, width, self.side) if self.options.head.depth else None
        plain = self.head is None  # then a linear layer reads out
        self.out = zero(nn.Linear(width, outputs)) if plain else None
        self.out_modulation = zero(nn.Linear(width, 2 * width)) if adaln and plain else None

    def outer_layers(self) -> list[nn.Linear]:
        """The layers that Muon leaves to AdamW."""
        found = (self.embed_latent, self.embed_source, self.out, self.out_modulation)
        return [layer for layer in found if layer is not None]

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load a folder, as any model of diffusers; always into whole memory, as some buffers are made and not
        loaded.
        """
        kwargs |= {"low_cpu_mem_usage": False}
        kwargs.pop("use_safetensors", None)  # never anything else
        return super().from_pretrained(*args, use_safetensors=True, **kwargs)

    @classmethod
    def from_backbone(
        cls, path: str, revision: str | None, channels: int, grid: int, options: FusionOptions
    ) -> DeepFusionTransformer:
        """Return a new model around a pretrained decoder, a hub id or a folder of safetensors. ValueError where there
        is none.
        """
        try:
            loaded = AutoModel.from_pretrained(path, revision=revision, use_safetensors=True, dtype=torch.float32)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"no decoder can be loaded from {path!r}: {str(error).splitlines()[0]}") from error
        model = cls(loaded.config.to_dict(), channels, grid, asdict(options))
        model.embed_tokens.load_state_dict(loaded.embed_tokens.state_dict())
        model.norm.load_state_dict(loaded.norm.state_dict())
        for mine, theirs in zip(model.layers, loaded.layers, strict=True):
            mine.shared.load_state_dict(theirs.state_dict())
            if mine.image is not None:
                mine.image.load_state_dict(theirs.state_dict())
        return model

    @classmethod
    def fresh(
        cls, small: SmallBackboneOptions, words: int, channels: int, grid: int, options: FusionOptions
    ) -> DeepFusionTransformer:
        """Return a new small model, random from torch's global generator, each layer the identity at first."""
        backbone = {
            "model_type": "qwen3",
            "vocab_size": words,
            "hidden_size": small.width,
            "num_hidden_layers": small.depth,
            "num_attention_heads": small.heads,
            "num_key_value_heads": small.kv_heads,
            "head_dim": small.width // small.heads,
            "intermediate_size": small.hidden,
            "hidden_act": small.activation,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": False,
            "initializer_range": small.width**-0.5,
        }
        model = cls(backbone, channels, grid, asdict(options))
        for layer in model.layers:
            for part in (layer.shared, layer.image):
                if part is not None:
                    nn.init.zeros_(part.self_attn.o_proj.weight)
                    nn.init.zeros_(part.mlp.down_proj.weight)
        return model

    def forward(
        self,
        noisy: Tensor,
        times: Tensor,
        ids: Tensor,
        text: Tensor,
        source: Tensor | None = None,
        has_source: Tensor | None = None,
    ) -> Tensor:
        """Return the velocity `[B, C, H, W]` at times `[B]` in 0..1. `ids` `[B, L]` are words, there where `text` is
        true; `source` `[B, C, H, W]` counts where `has_source` `[B]` is true.
        """
        return self.denoise(noisy, times, self.read(ids, text, source, has_source))

    def read(
        self, ids: Tensor, text: Tensor, source: Tensor | None = None, has_source: Tensor | None = None
    ) -> Condition:
        """Read source and text, for `denoise` at every step. Arguments as of `forward`."""
        in_sequence = source is not None and self.options.source == "sequence"
        layout = lay_out(text, has_source if in_sequence else None, self.side**2)
        before = slice(0, layout.prefix)
        tokens = working(self.embed_prefix(ids, source if in_sequence else None))
        mask = attention_mask(layout)[:, :, before, before]
        rotary = self._rotary(layout.position[:, before], tokens)
        cache = []
        layers: list[Any] = list(self.layers)
        last = layers.pop()
        for layer in layers:
            tokens, keys_and_values = layer(tokens, rotary, mask, layout.text)
            cache.append(keys_and_values)
        cache.append(last.keys(tokens, rotary, layout.text))
        return Condition(cache, layout, source, has_source)

    def denoise(self, noisy: Tensor, times: Tensor, condition: Condition) -> Tensor:
        """Return what `forward` returns, given what `read` made of the rest."""
        layout, source = condition.layout, condition.source
        time = self.embed_time(times)
        tokens = working(self.embed_noisy(noisy, time, source, condition.has_source))
        mask = attention_mask(layout)[:, :, layout.prefix :]
        rotary = self._rotary(layout.position[:, layout.prefix :], tokens)
        for layer, cached in zip(self.layers, condition.cache, strict=True):
            tokens, _ = layer(tokens, rotary, mask, slice(0, 0), time[:, None], cached)
        if source is not None and condition.has_source is not None:
            source = source * condition.has_source[:, None, None, None]
        return self.read_out(tokens, noisy, times, time, source)

    def embed_prefix(self, ids: Tensor, source: Tensor | None) -> Tensor:
        """Return the tokens before the noisy latents: [start, source, end] where there is one, text, start."""
        words = self.embed_tokens(ids)
        start, end = (token.to(words.dtype).expand(ids.shape[0], 1, -1) for token in (self.start, self.end))
        if source is None:
            return torch.cat([words, start], 1)
        seen = self.embed_latent(self._tokens(source)) + self.positions.to(words.dtype)
        return torch.cat([start, seen.to(words.dtype), end, words, start], 1)

    def embed_noisy(self, noisy: Tensor, time: Tensor, source: Tensor | None, has_source: Tensor | None) -> Tensor:
        """Return the tokens of the noisy latents `[B, N, width]`, with the time and the source where these are added to
        them.
        """
        tokens = self.embed_latent(self._tokens(noisy)) + self.positions.to(noisy.dtype)
        if self.options.time == "token":
            tokens = tokens + time[:, None]
        if self.embed_source is not None and source is not None:
            assert has_source is not None
            tokens = tokens + self.embed_source(self._tokens(source)) * has_source[:, None, None]
        return tokens

    def read_out(self, tokens: Tensor, noisy: Tensor, times: Tensor, time: Tensor, source: Tensor | None) -> Tensor:
        """Return the velocity from the noisy tokens after the last layer."""
        tokens = rms_norm(tokens, self.norm)
        if self.head is not None:
            out = self.head(self._tokens(noisy), tokens, time)
        else:
            assert self.out is not None
            if self.out_modulation is not None:
                shift, scale = self.out_modulation(nn.functional.silu(time))[:, None].chunk(2, dim=-1)
                tokens = modulate(tokens, shift, scale)
            out = self.out(tokens)
        maps = [self._latent(part) for part in out.float().chunk(self.readout.maps, dim=-1)]
        return self.readout(maps, noisy, times, source)

    def _tokens(self, latent: Tensor) -> Tensor:
        """`[B, C, H, W]` to `[B, N, C P^2]`. Not by torch's unfold, which on a GPU starts a kernel for every sample."""
        patch = self.options.patch
        cells = latent.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))  # [B, C, h, P, w, P]
        return cells.permute(0, 1, 3, 5, 2, 4).flatten(1, 3).flatten(2).transpose(1, 2)

    def _latent(self, tokens: Tensor) -> Tensor:
        """The inverse of `_tokens`."""
        patch = self.options.patch
        cells = tokens.transpose(1, 2).unflatten(2, (self.side, self.side)).unflatten(1, (-1, patch, patch))
        return cells.permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3).contiguous()

    def _rotary(self, position: Tensor, like: Tensor) -> KeyValue:
        return rotary_of(*self.rotary(like, position))


def working(tokens: Tensor) -> Tensor:
    """Return tokens in the precision that products are computed in: under autocast the stream between layers is in it,
    too.
    """
    kind = tokens.device.type
    return tokens.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else tokens


def fusion_options(values: dict[str, Any]) -> FusionOptions:
    """Return the options that a model's configuration holds."""
    return FusionOptions(**{**values, "head": HeadOptions(**values["head"])})


def backbone_config(values: dict[str, Any]) -> Any:
    """Return transformers' configuration of a decoder. ValueError for one that is not Qwen2 or Qwen3, or slides its
    window.
    """
    kind = values.get("model_type")
    if kind not in BACKBONES:
        raise ValueError(f"the backbone is a {kind or 'model of unknown kind'}. Supported: {', '.join(BACKBONES)}.")
    rest = {name: value for name, value in values.items() if name not in ("model_type", "transformers_version")}
    config = AutoConfig.for_model(kind, **rest)
    if "sliding_attention" in (config.layer_types or ()):
        raise ValueError("the backbone attends in sliding windows, and an image must see its whole text")
    return config
