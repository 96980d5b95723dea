"""Vision encoders of `transformers` behind one small interface: normalised patch features on a square grid.

Class and register tokens are dropped and the last LayerNorm carries no affine, as RAE does for DINOv2. Weights come
from a hub id or a folder; what is trained on them stands elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from components.tokenizer.supported_models import FAMILIES, Family


def _family(model_type: str, where: str) -> Family:
    if model_type not in FAMILIES:
        raise ValueError(
            f"{where}: encoders of type {model_type!r} are not supported. Supported: {', '.join(FAMILIES)}"
            " (SigLIP2's fixed-resolution checkpoints are siglip_vision_model)."
        )
    return FAMILIES[model_type]


class VisionEncoder(nn.Module):
    """A frozen or trained vision encoder.

    Call it with pictures `[B, 3, H, W]` in -1..1 of any size; they are resized (bicubic, antialiased) to `size` and
    normalised. It returns patch features `[B, grid * grid, width]`, each LayerNorm-ed without affine.
    """

    backbone: Any
    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Any, size: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        config = backbone.config
        self.family = _family(config.model_type, "this encoder")
        patch = config.patch_size
        if size % patch:
            raise ValueError(f"the encoder's input size {size} is no multiple of its patch size {patch}.")
        self.size, self.grid, self.width = size, size // patch, config.hidden_size
        self.heads: int = config.num_attention_heads
        self.eps: float = config.layer_norm_eps
        self.skip = (1 + getattr(config, "num_register_tokens", 0)) if self.family.class_token else 0
        self.statistics = (tuple(mean), tuple(std))
        if self.family.norm:
            setattr(backbone, self.family.norm, nn.Identity())  # the norm without affine is ours, below
        else:  # CLIP's post_layernorm reads the class token alone, which is dropped
            backbone.post_layernorm = nn.Identity()
        for name, parameter in backbone.named_parameters():
            if name.endswith("mask_token"):
                parameter.requires_grad_(False)  # of the encoder's own pretraining; nothing here uses it
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The backbone's transformer layers, in order."""
        found = self.backbone
        for name in self.family.layers.split("."):
            found = getattr(found, name)
        return list(found)

    @property
    def spec(self) -> dict[str, Any]:
        """What `from_spec` builds the same architecture of: JSON-like, without weights."""
        values = self.backbone.config.to_diff_dict() | {"model_type": self.backbone.config.model_type}
        mean, std = self.statistics
        return {"config": values, "size": self.size, "mean": list(mean), "std": list(std)}

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> VisionEncoder:
        """Build the architecture with fresh weights."""
        import transformers

        values = dict(spec["config"])
        family = _family(values.pop("model_type"), "the encoder's config")
        config = getattr(transformers, family.config)(**values)
        return cls(_without_head(getattr(transformers, family.model), config), spec["size"], spec["mean"], spec["std"])

    @classmethod
    def load(cls, path: str, size: int | None, revision: str | None = None) -> VisionEncoder:
        """Load weights from a hub id or a folder (safetensors only); `size` None takes the encoder's own.

        ValueError, in words, where there is no such encoder, or it is of an unknown type.
        """
        import transformers

        config = vision_config(path, revision)
        family = _family(config.model_type, path)
        model = getattr(transformers, family.model)
        if config.model_type == "siglip_vision_model":
            config.vision_use_head = False
        try:
            backbone = model.from_pretrained(path, config=config, revision=revision, use_safetensors=True)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise ValueError(
                f"the encoder's weights in {path!r} cannot be loaded: {str(error).splitlines()[0]}"
            ) from error
        mean, std = _statistics(path, revision, family)
        return cls(backbone.float(), size or config.image_size, mean, std)

    def prepare(self, images: Tensor) -> Tensor:
        """Resize and normalise pictures `[B, 3, H, W]` in -1..1 for the backbone."""
        if images.shape[-2:] != (self.size, self.size):
            images = F.interpolate(
                images.float(), (self.size, self.size), mode="bicubic", antialias=True, align_corners=False
            ).clamp(-1, 1)
        return ((images + 1) / 2 - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor:
        """Return features `[B, N, D]`, row by row over the grid."""
        pixels = self.prepare(images)
        extra = {"interpolate_pos_encoding": True} if self._interpolates else {}
        hidden = self.backbone(pixel_values=pixels, **extra).last_hidden_state[:, self.skip :]
        return F.layer_norm(hidden, (self.width,), eps=self.eps)

    @property
    def _interpolates(self) -> bool:
        return self.family.interpolate and self.size != self.backbone.config.image_size


def vision_config(path: str, revision: str | None = None, local: bool = False) -> Any:
    """Return transformers' configuration of an encoder, or of an image-text model's vision tower; `local` asks no hub
    for it.

    ValueError where there is none.
    """
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(
            path, revision=revision, trust_remote_code=False, local_files_only=local
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"no encoder can be loaded from {path!r}: {str(error).splitlines()[0]}") from error
    return getattr(config, "vision_config", config)


def _without_head(model: Any, config: Any) -> Any:
    if config.model_type == "siglip_vision_model":
        config.vision_use_head = False
    return model(config)


def _statistics(path: str, revision: str | None, family: Family) -> tuple[Sequence[float], Sequence[float]]:
    """Return the mean and std that the encoder's folder names for its pictures, else its family's own."""
    from transformers.image_processing_utils import BaseImageProcessor

    try:
        values, _ = BaseImageProcessor.get_image_processor_dict(path, revision=revision)
    except OSError:  # a folder without a preprocessor: what its family was trained with
        return family.statistics
    return values.get("image_mean") or family.statistics[0], values.get("image_std") or family.statistics[1]
