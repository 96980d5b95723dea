"""Which published model gives a signal, and how it is asked. Standard library only, for the configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["image_classification", "image_text", "zero_shot", "nsfw_onnx", "matcher"]
SIGNAL_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
MAX_PROMPTS = 1_000


@dataclass(frozen=True)
class SignalModel:
    """One model of `measure.models`: the signal has the name that it is given there."""

    kind: Kind
    path: str | None = None  # hub id, or a folder; nsfw_onnx and matcher bring their own
    revision: str | None = None  # of a hub id
    label: str | tuple[str, ...] | None = None  # classes, or prompts, whose probability is the signal; the first prompt
    prompts: tuple[str, ...] = ()  # of zero_shot: the words that share the probability among them
    batch: int = 64  # pictures that the model takes at once
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16: products in bf16, for GPUs

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}; it starts at 1")
        if self.kind in ("nsfw_onnx", "matcher") and (self.path or self.revision):
            raise ValueError(f"{self.kind} brings its own model: leave path and revision out")
        if self.kind in ("image_classification", "image_text", "zero_shot") and not self.path:
            raise ValueError(f"{self.kind} needs `path`: a hub id, or a folder with config.json and *.safetensors")
        if self.kind == "zero_shot" and not self.prompts:
            raise ValueError("zero_shot needs `prompts`: the words to tell apart, those that are looked for first")
        if self.kind != "zero_shot" and self.prompts:
            raise ValueError(f"prompts are of zero_shot, not of {self.kind}")
        if self.kind not in ("image_classification", "zero_shot") and self.label:
            raise ValueError(f"label is of image_classification and zero_shot, not of {self.kind}")
        if len(self.prompts) > MAX_PROMPTS or len(set(self.prompts)) != len(self.prompts):
            raise ValueError(f"prompts must differ, and be {MAX_PROMPTS:,} at most")
        unknown = [label for label in self.labels if self.kind == "zero_shot" and label not in self.prompts]
        if unknown:
            raise ValueError(f"label {unknown[0]!r} is none of the prompts")

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, or prompts, that are asked for."""
        if self.label is None:
            return self.prompts[:1]
        return (self.label,) if isinstance(self.label, str) else self.label

    @property
    def reads_captions(self) -> bool:
        """True where the signal is of picture and caption together."""
        return self.kind in ("image_text", "matcher")


def check_signal_name(name: str) -> str:
    """Return the name, or raise ValueError: it becomes a column, a stage's instance and a reason."""
    if not SIGNAL_NAME.fullmatch(name):
        raise ValueError(f"the signal name {name!r} must be of lower-case letters, digits and _, from a letter on")
    return name
