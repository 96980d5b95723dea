"""Object detectors of transformers: named boxes in pictures, with masks where the model has them.

Three kinds, by the model's config.json: detection (DETR, YOLOS, RT-DETR, D-FINE, ...), instance segmentation
(Mask2Former: GenEval's own detector), and detection by words (OWLv2, Grounding DINO), which takes any class.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from components.vision_models.loading import Place, image_processor, load_config, load_model, load_processor


@dataclass(frozen=True)
class Seen:
    """An object: its class as the model names it, the confidence, and its box in pixels (left, top, right, bottom),
    cut to the picture; bool [H, W] where the model gives masks.
    """

    label: str
    score: float
    box: tuple[float, float, float, float]
    mask: np.ndarray | None = None


class Detector(Protocol):
    """What finds objects."""

    classes: Collection[str] | None  # that it knows, by its config; None: whatever it is asked for

    def detect(self, pictures: Sequence[np.ndarray], classes: Sequence[str], lowest: float) -> list[list[Seen]]:
        """Return the objects in each picture, uint8 [H, W, 3], above a confidence. `classes` are what a detector by
        words looks for; the others look for all that they know.
        """
        ...


def load_detector(path: str, revision: str | None, place: Place) -> Detector:
    """Return the detector of a hub id or folder. ValueError, in words, where there is none."""
    from transformers.models.auto import modeling_auto as auto

    kind = load_config(path, revision).model_type
    if kind in auto.MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES:
        return WordDetector(path, revision, place)
    if kind in auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES:
        return ClassDetector(path, revision, place, "AutoModelForObjectDetection", _boxes)
    if kind in auto.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES:
        return ClassDetector(path, revision, place, "AutoModelForUniversalSegmentation", _instances)
    raise ValueError(
        f"the model {path!r} is a {kind}, which finds no objects. Name a DETR, YOLOS, Mask2Former, OWLv2 or the like."
    )


def known_classes(path: str, revision: str | None) -> Collection[str] | None:
    """Return the classes that a detector knows, by its config.json; None where it takes any words. ValueError, in
    words, where there is no such model.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES as BY_WORDS

    config = load_config(path, revision)
    return None if config.model_type in BY_WORDS else set(config.id2label.values())


class ClassDetector:
    """A model that knows a list of classes."""

    def __init__(self, path: str, revision: str | None, place: Place, auto: str, read: Callable[..., Any]) -> None:
        import transformers

        self._model = load_model(getattr(transformers, auto), path, revision).to(place.device)
        self._processor = image_processor(path, revision)
        self._place, self._read = place, read
        self._names = {int(number): str(name) for number, name in self._model.config.id2label.items()}
        self.classes: Collection[str] | None = set(self._names.values())

    def detect(self, pictures: Sequence[np.ndarray], classes: Sequence[str], lowest: float) -> list[list[Seen]]:
        """Return all objects that the model finds above a confidence."""
        inputs = self._processor(images=_images(pictures), return_tensors="pt").to(self._place.device)
        outputs = _run(self._model, inputs, self._place)
        sizes = [(picture.shape[0], picture.shape[1]) for picture in pictures]
        return self._read(self._processor, outputs, sizes, lowest, self._names)


def _boxes(processor: Any, outputs: Any, sizes: Any, lowest: float, names: dict[int, str]) -> list[list[Seen]]:
    found = processor.post_process_object_detection(outputs, threshold=lowest, target_sizes=sizes)
    return [
        [
            Seen(names[int(label)], float(score), _cut(box.tolist(), size))
            for label, score, box in zip(each["labels"], each["scores"], each["boxes"], strict=True)
        ]
        for each, size in zip(found, sizes, strict=True)
    ]


def _instances(processor: Any, outputs: Any, sizes: Any, lowest: float, names: dict[int, str]) -> list[list[Seen]]:
    """A box holds exactly its mask, the last pixel included."""
    # Whole masks, not a map of who comes last at each pixel: objects overlap.
    found = processor.post_process_instance_segmentation(
        outputs, threshold=lowest, target_sizes=sizes, return_binary_maps=True
    )
    pictures = []
    for each in found:
        seen = []
        for segment, mask in zip(each["segments_info"], each["segmentation"], strict=False):
            pixels = mask.cpu().numpy() == 1
            down, across = (np.flatnonzero(pixels.any(axis)) for axis in (1, 0))
            box = (float(across[0]), float(down[0]), float(across[-1] + 1), float(down[-1] + 1))
            seen.append(Seen(names[segment["label_id"]], float(segment["score"]), box, pixels))
        pictures.append(seen)
    return pictures


class WordDetector:
    """A model that finds what it is told in words."""

    classes: Collection[str] | None = None

    def __init__(self, path: str, revision: str | None, place: Place) -> None:
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        self._model = load_model(AutoModelForZeroShotObjectDetection, path, revision).to(place.device)
        self._processor = load_processor(AutoProcessor, path, revision, backend="pil")
        self._place = place

    def detect(self, pictures: Sequence[np.ndarray], classes: Sequence[str], lowest: float) -> list[list[Seen]]:
        """Return the objects of these classes above a confidence."""
        words = [list(classes)] * len(pictures)
        asked = {name.strip().lower(): name for name in classes}  # some models give their labels in lower case
        inputs = self._processor(images=_images(pictures), text=words, return_tensors="pt")
        outputs = _run(self._model, inputs.to(self._place.device), self._place)
        sizes = [(picture.shape[0], picture.shape[1]) for picture in pictures]
        found = self._processor.post_process_grounded_object_detection(
            outputs, threshold=lowest, target_sizes=sizes, text_labels=words
        )
        return [
            [
                Seen(asked[label.lower()], float(score), _cut(box.tolist(), size))
                for label, score, box in zip(each["text_labels"], each["scores"], each["boxes"], strict=True)
                if label.lower() in asked  # and some join words to labels that nobody asked for
            ]
            for each, size in zip(found, sizes, strict=True)
        ]


def _images(pictures: Sequence[np.ndarray]) -> list[Any]:
    from PIL import Image

    return [Image.fromarray(picture) for picture in pictures]


def _run(model: Any, inputs: Any, place: Place) -> Any:
    import torch

    with torch.inference_mode(), torch.autocast(place.device.type, torch.bfloat16, enabled=place.bf16):
        return model(**inputs)


def _cut(box: list[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    height, width = size
    return (
        min(max(left, 0.0), width), min(max(top, 0.0), height), min(max(right, 0.0), width),
        min(max(bottom, 0.0), height),
    )  # fmt: skip
