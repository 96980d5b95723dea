"""Image-text models by path: those of a hub or a folder of transformers, and the pipeline's own, alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.vision_models.options import SignalModel
from pipelines.store.artifacts import Artifact, Manifest
from pipelines.store.files import Store

RIVALS = 32  # captions that differ by a word, that one is compared with, at most
EMBEDDED = 1024  # of them at once

if TYPE_CHECKING:
    from components.tokenizer.word_swaps import WordSwaps
    from components.vision_models.loading import Place
    from components.vision_models.towers import Towers


class OwnTowers:
    """The pipeline's own image-text model, of a folder that `train_encoder` or `train_matcher` made."""

    def __init__(self, folder: Path, place: Place) -> None:
        from components.tokenizer.image_text import load_image_text

        self._model, self._vocabulary = load_image_text(folder)
        self._model.to(place.device)
        self._place, self._folder = place, folder
        self._swaps: WordSwaps | None = None
        self.scale = self._model.log_scale.exp().item()
        self.bias: float | None = self._model.bias.item()

    def prepare(self, rgb: np.ndarray) -> Any:
        """Resize by the shorter side and crop at the centre, as in its training."""
        from components.curation.images import square

        return square(rgb, self._model.encoder.size)

    def pictures(self, prepared: Sequence[Any]) -> Any:
        """Return unit vectors `[B, D]` of prepared pictures."""
        import torch

        from components.tokenizer.objectives import to_pictures

        pixels = torch.from_numpy(np.stack(list(prepared)).transpose(0, 3, 1, 2).copy()).to(self._place.device)
        with torch.inference_mode():
            return self._model.embed_features(self._model.encoder(to_pictures(pixels))).cpu()

    def texts(self, texts: Sequence[str]) -> Any:
        """Return unit vectors `[B, D]` of texts."""
        return self._embed(self._encode(texts))

    def rivals(self, captions: Sequence[str]) -> tuple[Any, list[int]]:
        """Return unit vectors `[n, D]` of captions that differ from these by a word, and how many each has."""
        import torch

        from components.tokenizer.word_swaps import WordSwaps

        if self._swaps is None:
            self._swaps = WordSwaps.load(self._folder)
        found = [self._swaps.rivals(ids, RIVALS) for ids in self._encode(captions)]
        counts = [len(rows) for rows in found]
        if not any(counts):
            return torch.empty(0, self._model.options.width), counts
        return torch.cat([self._embed(part) for part in torch.cat(found).split(EMBEDDED)]), counts

    def _encode(self, texts: Sequence[str]) -> Any:
        """Return word numbers `[B, L]`, no longer than the longest of these texts: padding costs as words do."""
        ids = self._vocabulary.encode(list(texts), self._model.options.max_words)
        return ids[:, : max(1, int((ids != 0).sum(1).max()))]

    def _embed(self, ids: Any) -> Any:
        import torch

        with torch.inference_mode():
            return self._model.embed_text(ids.to(self._place.device)).cpu()


def open_towers(path: str | None, revision: str | None, place: Place) -> Towers:
    """Return the image-text model of a hub id or folder. ValueError, in words, where there is none."""
    from components.vision_models.signal_kinds import hub_towers

    folder = Path(str(path))
    return OwnTowers(folder, place) if (folder / "image_text.json").is_file() else hub_towers(path, revision, place)


@dataclass(frozen=True)
class Opener:
    """Opens image-text models in a worker: by path, or the matcher that `train_matcher` made."""

    store: Store
    matcher: dict[str, Any] | None  # manifest of train_matcher
    scratch: Path

    def __call__(self, path: str | None, revision: str | None, place: Place) -> Towers:
        """Return the model of a path; of no path, the matcher."""
        from pipelines.stages.tokenizer.space_setup import local_folder

        if path is not None:
            return open_towers(path, revision, place)
        assert self.matcher is not None
        artifact = Artifact(self.store, Manifest.from_json(self.matcher, "train_matcher"))
        return OwnTowers(local_folder(self.store, artifact, "model", self.scratch), place)


def matcher_of(model: SignalModel, inputs: Mapping[str, Artifact]) -> dict[str, Any] | None:
    """Return the manifest of train_matcher, where a model is it."""
    return inputs["train_matcher"].manifest.to_json() if model.kind == "matcher" else None


def place_of(precision: str, threads: int) -> Place:
    """Return where a model runs in this process."""
    from components.training.machine import best_device
    from components.vision_models.loading import Place

    return Place(best_device(), threads, precision == "bf16")
