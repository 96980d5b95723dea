"""Published models without their weights, for planning: from their own configuration where it is at hand, else from a
table of hub ids. Nothing is loaded by the table.

Each row is what the named repository's config.json says that differs from its class's defaults in `transformers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.vision_models.loading import image_processor
from components.vision_models.vision_language import Prompts


def _siglip2(patch: int, size: int, **tower: int) -> dict[str, Any]:
    return {
        "model_type": "siglip",
        "text_config": {"vocab_size": 256_000, **tower, **({"projection_size": tower["hidden_size"]} if tower else {})},
        "vision_config": {"patch_size": patch, "image_size": size, **tower},
    }


_SO400M = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
_CLIP_L = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
    "patch_size": 14, "projection_dim": 768,
}  # fmt: skip
_CLIP_L_TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "projection_dim": 768}
_LLAMA_3_8B = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192,
}  # fmt: skip
KNOWN: dict[str, dict[str, Any]] = {
    "Falconsai/nsfw_image_detection": {"model_type": "vit"},
    "Organika/sdxl-detector": {
        "model_type": "swin", "embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32],
    },
    "openai/clip-vit-base-patch32": {"model_type": "clip"},
    "openai/clip-vit-large-patch14": {
        "model_type": "clip", "projection_dim": 768, "text_config": _CLIP_L_TEXT, "vision_config": _CLIP_L,
    },
    **{f"google/siglip2-base-patch16-{size}": _siglip2(16, size) for size in (224, 256, 384, 512)},
    **{
        f"google/siglip2-so400m-patch{patch}-{size}": _siglip2(patch, size, **_SO400M)
        for patch, size in ((14, 224), (14, 384), (16, 256), (16, 384), (16, 512))
    },
    "llava-hf/llama3-llava-next-8b-hf": {
        "model_type": "llava_next",
        "text_config": {**_LLAMA_3_8B, "vocab_size": 128_320},
        "vision_config": {"model_type": "clip_vision_model", "image_size": 336, **_CLIP_L},
        "image_token_index": 128_256,
        "tie_word_embeddings": False,
    },
}  # fmt: skip
# preprocessor_config.json of those that do not just resize a picture to their configuration's `image_size`.
PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "llava-hf/llama3-llava-next-8b-hf": (
        "LlavaNextImageProcessorPil",
        {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}},
    ),
}


@dataclass(frozen=True)
class Published:
    """A model of transformers on torch's meta device."""

    path: str
    revision: str | None
    model: Any
    known: bool  # by the table alone: neither its tokenizer nor its processor is here

    @property
    def where(self) -> str:
        """Where its shapes come from."""
        table = f"the table of known shapes (huggingface.co/{self.path}, config.json)"
        return table if self.known else f"{self.path}'s own config.json"

    def prompted(self, picture: Any, prompt: str, count: int) -> dict[str, Any]:
        """Return the inputs of `count` times a prompt about a picture; without the prompt where the model is known by
        the table alone.
        """
        if self.known:
            return self.inputs([picture] * count)
        return dict(
            Prompts(self.path, self.revision, local_files_only=True).inputs([[picture]] * count, [prompt] * count)
        )

    def inputs(self, pictures: list[Any]) -> dict[str, Any]:
        """Return pictures, uint8 [H, W, 3], as the model's inputs. ValueError where nobody says how they are made."""
        import transformers
        from PIL import Image

        if self.path in PROCESSORS and self.known:
            name, settings = PROCESSORS[self.path]
            processor = getattr(transformers, name)(**settings)
        elif self.known:
            side = getattr(self.model.config, "vision_config", self.model.config).image_size
            processor = transformers.ViTImageProcessorPil(size={"height": side, "width": side})
        else:
            processor = image_processor(self.path, self.revision, local_files_only=True)
        return dict(processor(images=[Image.fromarray(rgb) for rgb in pictures], return_tensors="pt"))


def published(auto: str, path: str, revision: str | None, key: str) -> Published:
    """Return a model of an Auto class of transformers without its weights: of the configuration of a folder or the
    hub's cache, else of the table above. ValueError where neither has it; `key` is where the configuration names it.
    """
    import torch
    import transformers

    known = False
    try:
        config = transformers.AutoConfig.from_pretrained(
            path, revision=revision, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError) as error:
        if path not in KNOWN:
            raise ValueError(
                f"the shapes of {key}={path} are not known: it is no model's folder here, and nothing of it is in the "
                "hub's cache or the table of known shapes. Give a folder with its config.json."
            ) from error
        values = dict(KNOWN[path])
        config, known = transformers.AutoConfig.for_model(values.pop("model_type"), **values), True
    try:
        with torch.device("meta"):
            model = getattr(transformers, auto).from_config(config).float().eval()
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"{key}={path}: its configuration makes no model of {auto}: {said}") from error
    return Published(path, revision, model, known)
