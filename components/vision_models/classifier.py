"""Image classifiers of transformers: the probability of some of their classes, or the value of a regression."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np

from components.vision_models.loading import Place, image_processor, inputs_of, load_model, stacked
from components.vision_models.options import SignalModel


class Classifier:
    """One classifier, and the classes that are asked for."""

    def __init__(self, model: Any, processor: Any, place: Place, wanted: Sequence[int]) -> None:
        self._model, self._processor, self._place = model.to(place.device), processor, place
        self._wanted = list(wanted)
        self._several = model.config.problem_type == "multi_label_classification"

    def prepare(self, rgb: np.ndarray) -> Any:
        """Resize, crop and normalise as the model's folder says."""
        return inputs_of(self._processor, rgb)

    def score(self, prepared: Sequence[Any], captions: Sequence[str]) -> list[float]:
        """Return the probability that one of the wanted classes holds; the only output of a model that has one."""
        import torch

        place = self._place
        with torch.inference_mode(), torch.autocast(place.device.type, torch.bfloat16, enabled=place.bf16):
            logits = self._model(**stacked(list(prepared), place.device)).logits.float().cpu()
        if logits.shape[1] == 1:
            return logits[:, 0].tolist()
        if self._several:
            return logits.sigmoid()[:, self._wanted].amax(1).tolist()
        return logits.softmax(1)[:, self._wanted].sum(1).tolist()


def load_classifier(model: SignalModel, place: Place) -> Classifier:
    """Return the classifier. ValueError, in words, where it cannot be loaded, or has no such class."""
    from transformers import AutoModelForImageClassification

    loaded = load_model(AutoModelForImageClassification, str(model.path), model.revision)
    wanted = wanted_classes(model, loaded.config.id2label)
    return Classifier(loaded, image_processor(str(model.path), model.revision), place, wanted)


def wanted_classes(model: SignalModel, classes: dict[int, str]) -> list[int]:
    """Return the numbers of the classes that a model's `label` names, whatever their case. ValueError, with the
    nearest, where there is none of that name, or none is named and there are several.
    """
    names = {name.casefold(): int(number) for number, name in classes.items()}
    shown = ", ".join(list(classes.values())[:20]) + (", ..." if len(classes) > 20 else "")
    if not model.labels and len(classes) > 1:
        raise ValueError(f"the model {model.path!r} has {len(classes)} classes: say which by `label`. Classes: {shown}")
    unknown = [label for label in model.labels if label.casefold() not in names]
    if unknown:
        close = difflib.get_close_matches(unknown[0].casefold(), names, 1)
        hint = f"; did you mean {classes_by_number(classes)[names[close[0]]]!r}?" if close else ""
        raise ValueError(f"the model {model.path!r} has no class {unknown[0]!r}{hint} Classes: {shown}")
    return [names[label.casefold()] for label in model.labels]


def classes_by_number(classes: dict[int, str]) -> dict[int, str]:
    """Return {number: name}; a config.json has the numbers as text."""
    return {int(number): name for number, name in classes.items()}
