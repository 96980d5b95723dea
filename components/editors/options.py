"""Which published editor makes edit pairs, and what it is told. Standard library only, for the configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

EDITOR_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
CAPTION = "{caption}"  # the slot of a template


@dataclass(frozen=True)
class Template:
    """One instruction; `{caption}` in it stands for the picture's caption, without which it is not used."""

    instruction: str
    inverse: str = ""  # what undoes it, for inverse pairs; empty: nothing does

    def __post_init__(self) -> None:
        for text in (self.instruction, self.inverse):
            if "{" in text.replace(CAPTION, "") or "}" in text.replace(CAPTION, ""):
                raise ValueError(f"the template {text!r} has a slot that is not {CAPTION}")
        if not self.instruction.strip():
            raise ValueError("a template's instruction is empty")


@dataclass(frozen=True)
class InstructionWriter:
    """A text model that writes instructions from captions."""

    path: str  # hub id or folder of a causal language model of transformers
    revision: str | None = None  # of a hub id
    prompt: str = "A photo shows: {caption}\nWrite one short instruction to edit this photo.\nInstruction:"
    tokens: int = 32  # of an instruction, at most
    temperature: float = 0.8  # 0: the most likely text

    def __post_init__(self) -> None:
        if CAPTION not in self.prompt:
            raise ValueError(f"the writer's prompt must hold {CAPTION}")
        if self.tokens < 1 or self.temperature < 0:
            raise ValueError("tokens start at 1, temperature at 0")


@dataclass(frozen=True)
class EditorModel:
    """One diffusers pipeline that takes (image, prompt): InstructPix2Pix, FLUX Kontext, Qwen-Image-Edit, ..."""

    path: str  # hub id or folder
    revision: str | None = None  # of a hub id
    templates: tuple[Template, ...] = ()  # instructions, one drawn for each pair
    writer: InstructionWriter | None = None  # writes instructions instead
    tries: int = 1  # results for one instruction, each from a seed of its own; curate_pairs tells good from bad
    multiple: int = 16  # both sides of a picture are cut to multiples of this many pixels
    arguments: dict[str, float | int | bool | str] = field(default_factory=dict)  # of the pipeline's call
    precision: Literal["fp32", "bf16"] = "fp32"  # of weights and products; bf16 for GPUs
    offload: bool = False  # keep only the part that works on the GPU

    def __post_init__(self) -> None:
        if bool(self.templates) == (self.writer is not None):
            raise ValueError("an editor needs templates, or a writer, and not both: they say what it is told")
        if self.tries < 1 or self.multiple < 1:
            raise ValueError("tries and multiple start at 1")


def check_editor_name(name: str) -> str:
    """Return the name, or raise ValueError: it becomes a kind of edit in counts and reports."""
    if not EDITOR_NAME.fullmatch(name):
        raise ValueError(f"the editor's name {name!r} must be of lower-case letters, digits and _, from a letter on")
    return name
