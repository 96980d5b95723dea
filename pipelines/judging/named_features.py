"""Features of pictures by name: what distances of sets and similarities of edits are taken in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from components.vision_models.loading import Place
    from components.vision_models.towers import Towers

BATCH = 64  # pictures that a model takes at once
Extract = Callable[[np.ndarray], "Tensor"]  # pictures uint8 [N, S, S, 3] -> float32 [N, D], on the CPU


def open_features(name: str, path: str, place: Place) -> Extract:
    """Return what extracts the features that a configuration calls `name`, from a hub id or folder.

    A CLIP or SigLIP with both towers gives its picture embeddings; an encoder such as DINOv2 its patch features after
    the last norm, mean over patches. ValueError, in words, where there is no such model.
    """
    from components.tokenizer.encoders import VisionEncoder
    from components.vision_models.towers import has_both_towers

    if has_both_towers(path):
        return towers_features(path, None, place)[1]
    encoder = VisionEncoder.load(path, None).eval().to(place.device)
    return in_batches(lambda pixels: encoder(pixels).mean(1), place.device)


def towers_features(path: str, revision: str | None, place: Place) -> tuple[Towers, Extract]:
    """Return an image-text model of transformers, and what gives unit vectors [N, D] of pictures by it."""
    import torch

    from components.vision_models.towers import HubTowers

    towers = HubTowers(path, revision, place)

    def embed(pictures: np.ndarray) -> Tensor:
        parts = [towers.pictures([towers.prepare(rgb) for rgb in part]) for part in batches(pictures)]
        return torch.cat(parts)

    return towers, embed


def in_batches(model: Callable[[Tensor], Tensor], device: Any) -> Extract:
    """Return a model of pictures float32 [B, 3, S, S] in -1..1 as one of pictures uint8 [N, S, S, 3]."""
    import torch

    def extract(pictures: np.ndarray) -> Tensor:
        parts = []
        for part in batches(pictures):
            pixels = torch.from_numpy(part.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
            with torch.inference_mode():
                parts.append(model(pixels.to(device)).float().cpu())
        return torch.cat(parts).clone()  # clone: no inference tensor

    return extract


def batches(pictures: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the pictures in batches that a model takes at once."""
    for first in range(0, len(pictures), BATCH):
        yield pictures[first : first + BATCH]
