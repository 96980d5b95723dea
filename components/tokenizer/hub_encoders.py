"""Shapes of encoders on the hub, for planning where their configuration is not at hand. Nothing is loaded by them.

Each row is what the named repository's config.json says that differs from its class's defaults in `transformers`.
"""

from __future__ import annotations

from typing import Any

from components.tokenizer.supported_models import FAMILIES

_SO400M = {
    "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
    "num_attention_heads": 16,
}  # fmt: skip
_DINOV2 = {"patch_size": 14, "image_size": 518}
_WITH_REGISTERS = {"model_type": "dinov2_with_registers", **_DINOV2}
_SMALL = {"hidden_size": 384, "num_attention_heads": 6}
_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
KNOWN: dict[str, dict[str, Any]] = {
    "facebook/dinov2-small": {"model_type": "dinov2", **_DINOV2, **_SMALL},
    "facebook/dinov2-base": {"model_type": "dinov2", **_DINOV2},
    "facebook/dinov2-with-registers-small": {**_WITH_REGISTERS, **_SMALL},
    "facebook/dinov2-with-registers-base": _WITH_REGISTERS,
    "facebook/dinov2-with-registers-large": {**_WITH_REGISTERS, **_LARGE},
    **{
        f"google/siglip2-so400m-patch{patch}-{size}": {**_SO400M, "patch_size": patch, "image_size": size}
        for patch, size in ((14, 224), (14, 384), (16, 256), (16, 384), (16, 512))
    },
}


def encoder_shape(path: str, size: int | None, revision: str | None = None) -> tuple[dict[str, Any], str]:
    """Return an encoder's spec, for `VisionEncoder.from_spec`, and where its shapes come from: its own configuration
    where a folder or the hub's cache has it, else the table above. ValueError where neither has.
    """
    from components.tokenizer.encoders import vision_config

    try:
        config = vision_config(path, revision, local=True)
        values, where = config.to_diff_dict() | {"model_type": config.model_type}, f"{path}'s own config.json"
        side = config.image_size
    except ValueError as error:
        if path not in KNOWN:
            raise ValueError(
                f"the shapes of encoder.path={path} are not known: it is no folder here, nothing of it is in the "
                f"hub's cache, and it is none of {', '.join(KNOWN)}. Give a folder with its config.json."
            ) from error
        values, where = dict(KNOWN[path]), f"the table of known shapes (huggingface.co/{path}, config.json)"
        side = values["image_size"]
    family = FAMILIES.get(values["model_type"])
    mean, std = family.statistics if family else ((0.5,) * 3, (0.5,) * 3)
    return {"config": values, "size": size or side, "mean": list(mean), "std": list(std)}, where
