"""Similarity of a picture and its prompt in an image-text model: the pipeline's own, or a CLIP or SigLIP by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.judging.cases import Asked
from pipelines.judging.judge import Judge, Row
from pipelines.judging.judge_options import HubSection

if TYPE_CHECKING:
    from torch import Tensor

    from components.vision_models.loading import Place


class ImageText(Judge):
    """Rows of `similarity`: the cosine of picture and prompt, -1 to 1. What it is worth depends on the model: read it
    beside its chance and its ceiling.
    """

    def __init__(
        self,
        name: str,
        pictures: Callable[[np.ndarray], Tensor],
        texts: Callable[[Sequence[str]], Tensor],
        about: Mapping[str, Any],
    ) -> None:
        """`pictures` and `texts` give unit vectors [N, D], of pictures uint8 [N, S, S, 3]; `about` is the protocol."""
        self.name, self._pictures, self._texts, self._about = name, pictures, texts, dict(about)

    def protocol(self) -> dict[str, Any]:
        """Return the model."""
        return {"kind": "image_text", "score": "cosine", **self._about}

    def judge_prompts(self, asked: Sequence[Asked], pictures: np.ndarray) -> list[Row]:
        """Return the cosine of each picture with its prompt."""
        if not asked:
            return []
        texts = self._texts([each.text for each in asked])
        return [{"similarity": cosine} for cosine in (self._pictures(pictures) * texts).sum(1).tolist()]


class HubImageText(ImageText):
    """The similarity in a CLIP or SigLIP of transformers, by hub id or folder."""

    section = HubSection

    def __init__(self, name: str, options: HubSection, place: Place) -> None:
        from pipelines.judging.named_features import towers_features
        from pipelines.judging.remembered import Remembered

        towers, embed = towers_features(options.path, options.revision, place)
        super().__init__(name, Remembered(embed), towers.texts, {"model": options.path, "revision": options.revision})
