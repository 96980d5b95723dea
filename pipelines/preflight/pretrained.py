"""Pretrained models that a configuration names: type, format of the weights, input size, and how their grids fit
together.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from components.generator.options import BACKBONES
from components.tokenizer.hub_encoders import KNOWN
from components.tokenizer.spaces import find_space
from components.tokenizer.supported_models import AUTOENCODERS, FAMILIES, PICTURE_SIDE
from pipelines.config.schema import Config
from pipelines.preflight.weights import broken_weights

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
TEXT_TOKENIZERS = ("tokenizer.json", "vocab.json", "tokenizer.model", "vocab.txt", "spiece.model", "tekken.json")
CONVERT = (
    "Convert them where you trust them: load the model with use_safetensors=False, then save_pretrained(folder, "
    "safe_serialization=True)"
)


def is_path(name: str) -> bool:
    """A hub id is `name` or `organisation/name`."""
    return name.startswith(("/", ".", "~")) or name.count("/") > 1 or Path(name).exists()


def model_folder(
    key: str, name: str, weights: bool = True, index: str = "config.json"
) -> tuple[dict[str, Any] | None, list[str]]:
    """Return a model folder's config.json (None where it has none that can be read), and what is wrong with the
    folder. With `index=model_index.json`: those of a pipeline of diffusers, whose models are in folders below.
    """
    folder = Path(name)
    if not folder.is_dir():
        return None, [
            f"{key}={name}: there is no such folder. Give a hub id or a folder with {index} and *.safetensors."
        ]
    try:
        config = json.loads((folder / index).read_text("utf-8"))
    except FileNotFoundError:
        kind = "model of transformers or diffusers" if index == "config.json" else "pipeline of diffusers"
        return None, [f"{key}={name}: the folder has no {index}, so it is no {kind}."]
    except (OSError, ValueError) as error:
        return None, [f"{key}={name}: its {index} cannot be read: {error}."]
    if not isinstance(config, dict):
        return None, [f"{key}={name}: its {index} holds no model's configuration."]
    find = folder.glob if index == "config.json" else folder.rglob
    if weights and not any(find("*.safetensors")):
        pickles = sorted(path.name for pattern in PICKLES for path in find(pattern))
        if pickles:
            return config, [
                f"{key}={name}: its weights ({pickles[0]}) are no safetensors, and pickles are not read. {CONVERT}."
            ]
        return config, [f"{key}={name}: the folder has no *.safetensors, so no weights."]
    broken = map(broken_weights, sorted(find("*.safetensors"))) if weights else ()
    return config, [f"{key}={name}: {words}" for words in broken if words]


def _unsupported(key: str, name: str, kind: Any, supported: Collection[str]) -> str:
    return f"{key}={name}: models of type {kind!r} are not supported. Supported: {', '.join(supported)}."


def check_encoder(config: Config) -> Iterator[str]:
    """Check the encoder, and that its grid fits the pictures and the generator."""
    settings = config.encoder
    if not settings.path:
        yield from _grid(config, (settings.size or config.image_size) // settings.small.patch, "encoder.small.patch")
        return
    if is_path(settings.path):
        values, found = model_folder("encoder.path", settings.path)
        yield from found
        if values is None:
            return
        values = values.get("vision_config", values)
        if not isinstance(values, dict):
            yield f"encoder.path={settings.path}: vision_config in its config.json is no configuration."
            return
    elif settings.path in KNOWN:
        values = KNOWN[settings.path]
    else:
        return  # a hub id of which nothing is known here
    kind = values.get("model_type")
    if kind not in FAMILIES:
        yield _unsupported("encoder.path", settings.path, kind, FAMILIES)
        return
    patch = values.get("patch_size", FAMILIES[kind].patch)
    size = settings.size or values.get("image_size", PICTURE_SIDE)
    for name, value in (("patch_size", patch), ("image_size", size)):
        if type(value) is not int or value < 1:
            yield f"encoder.path={settings.path}: its {name} is {value!r}, where one number of pixels is needed."
            return
    if size % patch:
        near = max(patch, round(size / patch) * patch)
        yield (
            f"encoder.size is {size}: the encoder's patches have {patch} pixels, which must divide it. The nearest is "
            f"encoder.size={near}."
        )
        return
    yield from _grid(config, size // patch, f"encoder.size={size} in patches of {patch}")


def _grid(config: Config, grid: int, where: str) -> Iterator[str]:
    """Check that a grid of latents divides the decoded picture and holds whole tokens of the generator."""
    space = find_space(config.tokenizer.model.space)
    side, patch = config.image_size, config.generator.model.patch
    if space.of_encoder and side % grid:
        near = max(grid, round(side / grid) * grid)
        yield (
            f"image_size is {side}: {where} gives a grid of {grid}, which must divide it. The nearest is "
            f"image_size={near}."
        )
    elif space.of_encoder and config.tokenizer.pixel_decoder.kind == "conv" and (side // grid) & (side // grid - 1):
        yield (
            f"image_size is {side} over a grid of {grid} ({where}): tokenizer.pixel_decoder.kind=conv doubles its "
            "side step by step, so the ratio must be a power of two. Change image_size, or use kind=patch."
        )
    elif space.halves and (side % grid or (side // grid) & (side // grid - 1)):
        yield (
            f"image_size is {side} over a grid of {grid} ({where}): this space's convolutions halve the picture, "
            "so the ratio must be a power of two. Change image_size or the encoder's size."
        )
    if (space.of_encoder or space.halves) and grid % patch:
        yield f"generator.model.patch is {patch}: it must divide the latent's grid of {grid} ({where})."


def check_autoencoder(config: Config) -> Iterator[str]:
    """Check the pretrained autoencoder of a space that is one."""
    settings = config.tokenizer.model
    if find_space(settings.space).training is not None or not settings.pretrained or not is_path(settings.pretrained):
        return
    key, folder = "tokenizer.model.pretrained", Path(settings.pretrained)
    if folder.is_dir() and not (folder / "config.json").exists():
        if not (any(folder.glob("*_encoder.pth")) and any(folder.glob("*_decoder.pth"))):
            yield (
                f"{key}={folder}: the folder has neither a config.json of diffusers nor TAESD's *_encoder.pth and "
                "*_decoder.pth."
            )
        return
    values, found = model_folder(key, settings.pretrained)
    yield from found
    if values is None:
        return
    if values.get("_class_name") not in AUTOENCODERS:
        yield _unsupported(key, settings.pretrained, values.get("_class_name"), AUTOENCODERS)
        return
    levels = values.get("block_out_channels")
    if isinstance(levels, list):
        stride, side, patch = 2 ** (len(levels) - 1), config.image_size, config.generator.model.patch
        if side % stride:
            yield (
                f"image_size is {side}: the autoencoder {settings.pretrained} halves it {len(levels) - 1} times, so "
                f"{stride} must divide it."
            )
        elif side // stride % patch:
            yield (
                f"generator.model.patch is {patch}: it must divide the latent's grid of {side // stride} "
                f"({key}={settings.pretrained})."
            )


def check_backbone(config: Config) -> Iterator[str]:
    """Check the generator's pretrained decoder."""
    name = config.generator.backbone
    if not name or not is_path(name):
        return
    values, found = model_folder("generator.backbone", name)
    yield from found
    if values is None:
        return
    if values.get("model_type") not in BACKBONES:
        yield _unsupported("generator.backbone", name, values.get("model_type"), BACKBONES)
    elif slides(values):
        yield (
            f"generator.backbone={name}: it attends in sliding windows, and an image must see its whole text. Name a "
            "decoder that does not."
        )
    if not any((Path(name) / file).exists() for file in TEXT_TOKENIZERS):
        yield f"generator.backbone={name}: the folder has no text tokenizer (tokenizer.json). Save it beside the model."


def slides(values: dict[str, Any]) -> bool:
    """True where a Qwen's config.json gives any layer a sliding window, by its layers' types or, without those, as
    transformers reads it.
    """
    if values.get("layer_types"):
        return "sliding_attention" in values["layer_types"]
    windowed = values.get("use_sliding_window") and values.get("sliding_window") is not None
    return bool(windowed and values.get("max_window_layers", 28) < values.get("num_hidden_layers", 32))
