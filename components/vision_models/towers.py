"""Image-text towers: pictures and texts as unit vectors in one space, whose cosine says how well they fit.

CLIP, SigLIP, SigLIP2 and whatever else of transformers has both towers and a learned scale. The pipeline's own
image-text model satisfies the same `Towers` elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from components.vision_models.loading import (
    Place,
    image_processor,
    inputs_of,
    load_config,
    load_model,
    load_processor,
    stacked,
)

MAX_CHARACTERS = 4_000  # of a text, before its tokenizer cuts it to the model's length


class Towers(Protocol):
    """What an image-text model can do."""

    scale: float  # what cosines are multiplied by, as the model was trained
    bias: float | None  # what is added to them for the odds of a pair alone; None: the model tells texts apart only

    def prepare(self, rgb: np.ndarray) -> Any:
        """Return a picture, uint8 [H, W, 3], as one model input. Needs no device: for threads that decode."""
        ...

    def pictures(self, prepared: Sequence[Any]) -> Any:
        """Return unit vectors `[B, D]` of prepared pictures, on the CPU."""
        ...

    def texts(self, texts: Sequence[str]) -> Any:
        """Return unit vectors `[B, D]` of texts, on the CPU; longer ones are cut to the model's length."""
        ...


class HubTowers:
    """An image-text model of transformers, by hub id or folder."""

    def __init__(self, path: str, revision: str | None, place: Place) -> None:
        from transformers import AutoModel, AutoTokenizer

        self._model = load_model(AutoModel, path, revision)
        lacking = [n for n in ("get_image_features", "get_text_features", "logit_scale") if not hasattr(self._model, n)]
        if lacking:
            raise ValueError(
                f"the model {path!r} is no image-text model: it has no {lacking[0]}. Name a CLIP or SigLIP."
            )
        self._model.to(place.device)
        self._place = place
        self._processor = image_processor(path, revision)
        self._tokenizer = load_processor(AutoTokenizer, path, revision)
        self._length = int(self._model.config.text_config.max_position_embeddings)
        # SigLIP's text tower was trained on texts padded to one length, and pools the last token.
        self._padding = "max_length" if self._model.config.model_type.startswith("siglip") else "longest"
        self.scale = self._model.logit_scale.exp().item()
        self.bias = self._model.logit_bias.item() if hasattr(self._model, "logit_bias") else None

    def prepare(self, rgb: np.ndarray) -> Any:
        """Resize, crop and normalise as the model's folder says."""
        return inputs_of(self._processor, rgb)

    def pictures(self, prepared: Sequence[Any]) -> Any:
        """Return unit vectors of pictures."""
        return self._embed(self._model.get_image_features, stacked(list(prepared), self._place.device))

    def texts(self, texts: Sequence[str]) -> Any:
        """Return unit vectors of texts."""
        found = self._tokenizer(
            [text[:MAX_CHARACTERS] for text in texts],
            padding=self._padding, truncation=True, max_length=self._length, return_tensors="pt",
        )  # fmt: skip
        inputs = {name: found[name].to(self._place.device) for name in self._tokenizer.model_input_names}
        return self._embed(self._model.get_text_features, inputs)

    def _embed(self, function: Any, inputs: dict[str, Any]) -> Any:
        import torch
        import torch.nn.functional as F

        place = self._place
        with torch.inference_mode(), torch.autocast(place.device.type, torch.bfloat16, enabled=place.bf16):
            return F.normalize(function(**inputs).pooler_output.float(), dim=-1).cpu()


def has_both_towers(path: str, revision: str | None = None) -> bool:
    """Return whether a hub id or folder holds an image-text model, by its config. ValueError where there is none."""
    config = load_config(path, revision)
    return hasattr(config, "text_config") and hasattr(config, "vision_config")
