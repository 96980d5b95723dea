"""What an editor is told: a template filled in, or what a text model writes from the picture's caption."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.editors.options import CAPTION, InstructionWriter, Template

MAX_CHARACTERS = 300  # of an instruction
MAX_CAPTION = 1_000  # characters of a caption that a writer is shown


@dataclass(frozen=True)
class Instruction:
    """What an editor is told, and what undoes it; empty where nothing does."""

    text: str
    inverse: str = ""


def from_template(templates: tuple[Template, ...], caption: str | None, rng: np.random.Generator) -> Instruction | None:
    """Return one template's instruction; None where all of them need a caption and there is none."""
    usable = [template for template in templates if caption or CAPTION not in template.instruction + template.inverse]
    if not usable:
        return None
    drawn = usable[int(rng.integers(len(usable)))]
    said = (text.replace(CAPTION, caption or "") for text in (drawn.instruction, drawn.inverse))
    return Instruction(*said)


def writing_types() -> Collection[str]:
    """Return the types of models, as config.json names them, that transformers loads as causal language models."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.keys()


class Writer:
    """A causal language model that writes instructions."""

    def __init__(self, options: InstructionWriter, device: Any) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        path, revision = options.path, options.revision
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
            model = AutoModelForCausalLM.from_pretrained(
                path, revision=revision, trust_remote_code=False, use_safetensors=True, dtype="auto"
            )
        except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
            said = " ".join(str(error).split())[:300] or type(error).__name__
            raise ValueError(f"the writer {options.path!r} cannot be loaded: {said}") from error
        self._options, self._device, self._model = options, device, model.eval().to(device)

    def write(self, caption: str | None, seed: int) -> Instruction | None:
        """Return the first line that the model writes; None without a caption, or where it writes nothing."""
        import torch

        if not caption:
            return None
        options = self._options
        prompt = options.prompt.replace(CAPTION, " ".join(caption.split())[:MAX_CAPTION])
        if self._tokenizer.chat_template is not None:
            turn = [{"role": "user", "content": prompt}]
            prompt = str(self._tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
        inputs = self._tokenizer(prompt, return_tensors="pt", return_token_type_ids=False).to(self._device)
        drawn = {"do_sample": True, "temperature": options.temperature, "top_k": 0, "top_p": 0.95}
        how = drawn if options.temperature else {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
        padding = self._tokenizer.pad_token_id
        with torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(seed % 2**63)
            made = self._model.generate(
                **inputs, max_new_tokens=options.tokens, **how,
                pad_token_id=self._tokenizer.eos_token_id if padding is None else padding,
            )  # fmt: skip
        said = str(self._tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
        lines = [line.strip().strip('"') for line in said.splitlines() if line.strip()]
        return Instruction(lines[0][:MAX_CHARACTERS]) if lines else None
