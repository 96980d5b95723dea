"""What a generator is built and trained with. Standard library only, for the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BACKBONES = {"qwen2": False, "qwen3": True}  # by transformers' name: whether queries and keys are normed


@dataclass(frozen=True)
class SmallBackboneOptions:
    """A small Qwen3 decoder with random weights and a word tokenizer of the captions, where no pretrained one is
    named.
    """

    width: int = 192
    depth: int = 6  # transformer layers
    heads: int = 4
    kv_heads: int = 4
    hidden: int = 512  # of the feed-forward layers
    activation: str = "silu"  # of the feed-forward layers, by transformers' name

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.heads, self.kv_heads, self.hidden) < 1:
            raise ValueError("width, depth, heads, kv_heads and hidden start at 1")
        if self.width % self.heads or self.heads % self.kv_heads or self.width % 4 or (self.width // self.heads) % 2:
            raise ValueError(
                f"width is {self.width}, heads {self.heads}, kv_heads {self.kv_heads}: width must be a multiple "
                "of 4 and of heads, into heads of even width, and heads a multiple of kv_heads"
            )


@dataclass(frozen=True)
class HeadOptions:
    """The wide DDT head (RAE): it sees the noisy latent afresh, conditioned per token on the backbone's output."""

    depth: int = 2  # transformer layers; 0: no head, a linear layer in its place
    width: int = 2048
    heads: int = 16

    def __post_init__(self) -> None:
        if self.depth < 0 or min(self.width, self.heads) < 1:
            raise ValueError("depth of the head starts at 0, its width and heads at 1")
        if self.depth and (self.width % self.heads or self.width % 4 or (self.width // self.heads) % 2):
            raise ValueError(
                f"width of the head is {self.width}; it must be a multiple of 4 and of heads ({self.heads}), into "
                "heads of even width"
            )


@dataclass(frozen=True)
class FusionOptions:
    """How text and latents meet in one transformer (paper section 3)."""

    patch: int = 1  # latent cells per token and side: 1 for stride 16, 2 for stride 8
    time: Literal["token", "adaln"] = "token"  # added to the noisy tokens (BAGEL), or modulating their layers
    source: Literal["sequence", "added"] = "sequence"  # of an edit: tokens of its own, or added to the noisy ones
    prediction: Literal["velocity", "x"] = "velocity"
    image_weights: Literal["shared", "separate"] = "shared"  # separate: a mixture of transformers
    head: HeadOptions = HeadOptions()

    def __post_init__(self) -> None:
        if self.patch < 1:
            raise ValueError("patch starts at 1")


@dataclass(frozen=True)
class FlowOptions:
    """Flow matching: when and with how much of its condition the model is asked."""

    time_mean: float = 0.0  # of the logit-normal times, before the shift; above 0: noisier
    time_deviation: float = 1.0
    shift: float | None = None  # of the times in training; null: the dimension-aware sqrt(C P^2 / 16)
    drop_text: float = 0.1  # share of samples whose text is left out, for guidance
    drop_source: float = 0.1  # share of edits whose source is left out

    def __post_init__(self) -> None:
        if self.time_deviation <= 0 or (self.shift is not None and self.shift <= 0):
            raise ValueError("time_deviation and shift are above 0")
        if not (0 <= self.drop_text < 1 and 0 <= self.drop_source < 1):
            raise ValueError("drop_text and drop_source are shares, 0 to below 1")
