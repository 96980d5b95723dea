"""Loading of published models: safetensors only, no code from a repository, and no weights that are not there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError


@dataclass(frozen=True)
class Place:
    """Where a model runs: a torch device, the threads of a CPU, and whether products are in bf16."""

    device: Any
    threads: int = 1
    bf16: bool = False


def load_model(auto: Any, path: str, revision: str | None) -> Any:
    """Return a model of an Auto class of transformers, in fp32 and for inference.

    ValueError, in words, where there is none, its weights are no safetensors, it needs code of its own, or some of its
    weights are missing: transformers would draw those at random, and the model would answer nonsense.
    """
    model, about = _words(
        path,
        lambda: auto.from_pretrained(
            path,
            revision=revision,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            dtype="float32",
        ),
    )
    lacking = sorted(about["missing_keys"]) + sorted(str(key[0]) for key in about.get("mismatched_keys", ()))
    if lacking:
        raise ValueError(
            f"the model {path!r} has no weights for {lacking[0]}"
            f"{f' and {len(lacking) - 1} more' if len(lacking) > 1 else ''}: it was not trained for this. Name a model "
            f"that {auto.__name__.removeprefix('AutoModelFor') or 'AutoModel'} loads whole."
        )
    return model.eval()


def load_processor(processor: Any, path: str, revision: str | None, **options: Any) -> Any:
    """Return a tokenizer, image processor or processor of transformers: `processor` is its Auto class, which loads no
    weights. ValueError, in words, where there is none.
    """
    return _words(path, lambda: processor.from_pretrained(path, revision=revision, trust_remote_code=False, **options))


def load_config(path: str, revision: str | None) -> Any:
    """Return the config.json of a hub id or folder, as transformers reads it. ValueError, in words, where there is
    none.
    """
    from transformers import AutoConfig

    return load_processor(AutoConfig, path, revision)


def _words(path: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (OSError, ValueError, RuntimeError, ImportError, KeyError, SafetensorError) as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"the model {path!r} cannot be loaded: {said}") from error


def image_processor(path: str, revision: str | None, **options: Any) -> Any:
    """Return a model's image processor. Always PIL's: resizing by torchvision, where it is installed, gives other
    values.
    """
    from transformers import AutoImageProcessor

    return load_processor(AutoImageProcessor, path, revision, backend="pil", **options)


def stacked(prepared: list[dict[str, Any]], device: Any) -> dict[str, Any]:
    """Return prepared pictures as one batch of model inputs on a device."""
    import torch

    return {name: torch.stack([inputs[name] for inputs in prepared]).to(device) for name in prepared[0]}


def inputs_of(processor: Any, rgb: Any) -> dict[str, Any]:
    """Return one picture, uint8 [H, W, 3], as a model's inputs, without a batch dimension."""
    from PIL import Image

    found = processor(images=Image.fromarray(rgb), return_tensors="pt")
    return {name: value[0] for name, value in found.items()}
