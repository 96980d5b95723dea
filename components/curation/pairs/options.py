"""Thresholds for edit pairs, and faults that can be planted in them. Standard library only, for the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal


@dataclass(frozen=True)
class JudgeWeights:
    """What a judge's four scores count; relative weights. The defaults are those that Pico-Banana-400K reports."""

    compliance: float = 0.4  # is the instruction followed
    realism: float = 0.25  # does the result look natural
    preservation: float = 0.2  # is all else as before
    technical: float = 0.15  # sharpness, artefacts, seams

    def __post_init__(self) -> None:
        weights = [getattr(self, f.name) for f in fields(self)]
        if min(weights) < 0 or sum(weights) <= 0:
            raise ValueError("judge_weights: a weight is 0 or more, and one of them is above 0")


@dataclass(frozen=True)
class PairRules:
    """Which edit pairs are kept. Every threshold names a signal of `pairs/pair_signals.py`; null asks for nothing.

    A threshold on the mask asks nothing of a pair without one.
    """

    min_side: int = 32  # shorter side of either picture, pixels
    max_aspect_change: float | None = 1.05  # by which factor the target's aspect may differ from the source's
    min_changed_share: float | None = 0.0005  # of the picture's pixels, visibly changed; below it nothing happened
    max_changed_share: float | None = None
    min_inside_share: float | None = 0.002  # of the mask's pixels, visibly changed
    max_spill_share: float | None = 0.02  # of the pixels outside the mask, visibly changed
    min_structure: float | None = None  # structural similarity of source and target, -1 to 1
    max_structure: float | None = None
    min_words: int = 1  # of the instruction
    max_words: int = 256
    min_direction: float | None = None  # cosine of the pictures' change with that of their captions
    min_instruction_direction: float | None = None  # cosine of the pictures' change with the instruction
    min_judge: float | None = None  # weighted score of the judge, 0-1
    judge_weights: JudgeWeights = field(default_factory=JudgeWeights)
    exact_checks: bool = True  # drop what does not follow from its own description, where a pair of a world has one
    exact_duplicates: bool = True  # of pairs with the same pictures and instruction, drop all but the first
    keep_rejected: bool = False  # write dropped pairs as preference data, preferences/NAME.parquet

    def __post_init__(self) -> None:
        for low, high in (("min_changed_share", "max_changed_share"), ("min_structure", "max_structure"),
                          ("min_words", "max_words")):  # fmt: skip
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise ValueError(f"{low} {least} is above {high} {most}: every pair would be dropped")
        if self.max_aspect_change is not None and self.max_aspect_change < 1:
            raise ValueError(f"max_aspect_change is {self.max_aspect_change}; 1 is no change")


@dataclass(frozen=True)
class PairFaultOptions:
    """Known faults planted in edit pairs, as chances of each pair, so that their curation can be scored."""

    unchanged: float = 0.0  # the target is the source
    wrong_edit: float = 0.0  # the target is the source edited in another way than asked
    wrong_instruction: float = 0.0  # the instruction of another pair
    spilled: float = 0.0  # the target is changed outside the mask, too

    def __post_init__(self) -> None:
        shares = [getattr(self, f.name) for f in fields(self)]
        if min(shares) < 0 or sum(shares) > 0.5:
            raise ValueError("shares of pair faults must not be negative, nor add up to more than 0.5")


@dataclass(frozen=True)
class PairTowers:
    """The image-text model that compares the change of the pictures with that of their texts."""

    path: str | None = None  # hub id or folder of a CLIP or SigLIP, or train_encoder's own `model/`; null: none
    revision: str | None = None  # of a hub id
    batch: int = 32  # pairs that the model takes at once
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16: products in bf16, for GPUs

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}; it starts at 1")


@dataclass(frozen=True)
class PairJudge:
    """The vision-language model that is shown source and target and scores the edit."""

    path: str | None = None  # hub id or folder of an image-text-to-text model of transformers; null: none
    revision: str | None = None  # of a hub id
    batch: int = 4  # pairs that the model takes at once
    tokens: int = 64  # of an answer, at most
    size: int = 512  # pixels of a picture's longer side, at most, as the model is shown it
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16: weights and products in bf16, for GPUs

    def __post_init__(self) -> None:
        if min(self.batch, self.tokens) < 1 or self.size < 32:
            raise ValueError("batch and tokens start at 1, size at 32")
