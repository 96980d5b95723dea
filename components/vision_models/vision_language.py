"""Vision-language models of transformers (image-text-to-text) that answer a prompt about one or more pictures."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from components.vision_models.loading import Place, load_model, load_processor

MAX_CHARACTERS = 4_000  # of an answer


def clean_answer(text: str) -> str:
    """Return an answer on one line, no longer than an answer may be."""
    return " ".join(text.split())[:MAX_CHARACTERS]


def answering_types() -> Collection[str]:
    """Return the types of models, as config.json names them, that transformers loads for image-text-to-text."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    return MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.keys()


class Prompts:
    """The processor of a vision-language model, by hub id or folder: pictures and prompts as its inputs."""

    def __init__(self, path: str, revision: str | None, **options: Any) -> None:
        from transformers import AutoProcessor

        self._path = path
        self.processor = load_processor(AutoProcessor, path, revision, backend="pil", **options)
        if not hasattr(self.processor, "tokenizer") or not hasattr(self.processor, "image_processor"):
            raise ValueError(f"the model {path!r} takes no pictures with a text. Name one for image-text-to-text.")
        if self.processor.chat_template is None and not getattr(self.processor, "image_token", None):
            raise ValueError(
                f"the model {path!r} has no chat template, and no place for pictures in its text: it continues "
                "captions and answers no prompts. Name a model that does."
            )
        tokenizer = self.processor.tokenizer
        tokenizer.padding_side = "left"  # answers start at the end of the prompt
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token

    def inputs(self, pictures: Sequence[Sequence[np.ndarray]], prompts: Sequence[str]) -> Any:
        """Return the model's inputs of each prompt with its pictures, uint8 [H, W, 3]. ValueError where the processor
        leaves the pictures out.
        """
        from PIL import Image

        texts = [self._prompt(prompt, len(shown)) for prompt, shown in zip(prompts, pictures, strict=True)]
        images = [[Image.fromarray(rgb) for rgb in shown] for shown in pictures]
        inputs = self.processor(images=images, text=texts, padding=True, return_tensors="pt")
        if not any(name.startswith(("pixel_values", "image", "flattened_patches")) for name in inputs):
            raise ValueError(f"the model {self._path!r}: its processor left the pictures out, so it would answer blind")
        return inputs

    def _prompt(self, prompt: str, pictures: int) -> str:
        """Return a prompt with its pictures' places, as the model's own template says."""
        if self.processor.chat_template is None:
            return f"{self.processor.image_token * pictures}\n{prompt}"
        content = [*({"type": "image"} for _ in range(pictures)), {"type": "text", "text": prompt}]
        return self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)


class VisionLanguage:
    """One model, by hub id or folder."""

    def __init__(self, path: str, revision: str | None, place: Place) -> None:
        from transformers import AutoModelForImageTextToText

        self._place = place
        self._prompts = Prompts(path, revision)
        model = load_model(AutoModelForImageTextToText, path, revision)
        if model.generation_config.pad_token_id is None:
            model.generation_config.pad_token_id = self._prompts.processor.tokenizer.pad_token_id
        self._model = (model.bfloat16() if place.bf16 else model).to(place.device)

    def answer(
        self,
        pictures: Sequence[Sequence[np.ndarray]],
        prompts: Sequence[str],
        tokens: int,
        answers: int = 1,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        """Return `answers` texts for each prompt about its pictures, uint8 [H, W, 3], of `tokens` at most.

        At temperature 0 the most likely text; above, drawn from `seed`, the same for the same batch. An answer may be
        empty. ValueError where the model's processor leaves the pictures out.
        """
        import torch

        inputs = self._prompts.inputs(pictures, prompts).to(self._place.device)
        if self._place.bf16:
            inputs = inputs.to(torch.bfloat16)  # of what is no integer
        drawn = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 0.95}
        how = drawn if temperature else {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
        if answers > 1 and not temperature:
            raise ValueError("several answers to one prompt need a temperature above 0: else they are all the same")
        with torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(seed % 2**63)
            made = self._model.generate(**inputs, max_new_tokens=tokens, num_return_sequences=answers, **how)
        asked = inputs["input_ids"]
        length = asked.shape[1]
        # Most models give their prompt back before the answer; encoder-decoders do not.
        echoed = made.shape[1] >= length and bool((made[:: max(1, answers), :length] == asked).all())
        found = self._prompts.processor.batch_decode(made[:, length if echoed else 0 :], skip_special_tokens=True)
        said = [clean_answer(text) for text in found]
        return [said[n * answers : (n + 1) * answers] for n in range(len(prompts))]
