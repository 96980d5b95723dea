"""Pictures made for evaluation: in batches with seeds of their own, and timed; and the pipeline's own features."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.config.schema import Config
from pipelines.judging.named_features import batches
from pipelines.judging.remembered import Remembered
from pipelines.stages.generator.generator_setup import load_pipeline
from pipelines.stages.generator.picture_sheet import noise_seeds
from pipelines.stages.tokenizer.space_setup import load_image_text
from pipelines.store.artifacts import Artifact
from pipelines.store.files import Store

if TYPE_CHECKING:
    from torch import Tensor


class Maker:
    """Makes pictures with the generator, or with a snapshot of it. Weights are loaded when they are first used."""

    def __init__(self, store: Store, config: Config, inputs: dict[str, Artifact], scratch: Path, seed: int) -> None:
        self._load = lambda stage, snapshot: load_pipeline(
            store, config, {**inputs, "train_editor": inputs[stage]}, scratch, snapshot
        )
        self._seed, self._batch = seed, config.evaluate_generator.batch
        self._wanted: tuple[str, str | None] = ("train_editor", None)
        self._loaded: tuple[str, str | None] | None = None
        self._made: Any = None
        self.seconds: list[float] = []  # of each whole batch of text-to-image

    def use(self, weights: tuple[str, str] | None) -> None:
        """Go on with a snapshot of a stage; None: with the finished generator."""
        self._wanted = weights or ("train_editor", None)

    @property
    def _pipe(self) -> Any:
        from components.training.machine import best_device

        if self._loaded != self._wanted:
            self._made = None  # so that two are never in memory
            pipe = self._load(*self._wanted)
            pipe.set_progress_bar_config(disable=True)
            self._made, self._loaded = pipe.to(best_device()), self._wanted
        return self._made

    def __call__(
        self, name: str, prompts: Sequence[str], sources: np.ndarray | None = None, guidance: float | None = None
    ) -> np.ndarray:
        """Return pictures of prompts, as `make`, with noise by `noise_seeds(seed, name, prompts)`."""
        return self.make(prompts, noise_seeds(self._seed, name, prompts), sources, guidance)

    def make(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        sources: np.ndarray | None = None,
        guidance: float | None = None,
    ) -> np.ndarray:
        """Return pictures uint8 [N, S, S, 3] for prompts, each from noise of its own seed, and from sources uint8
        [N, S, S, 3] where given.
        """
        import torch

        found = []
        pipe = self._pipe
        for first in range(0, len(prompts), self._batch):
            part = slice(first, first + self._batch)
            image = None if sources is None else torch.from_numpy(sources[part]).permute(0, 3, 1, 2).float() / 255
            generator = [torch.Generator().manual_seed(seed) for seed in seeds[part]]
            started = time.perf_counter()
            pictures = pipe(
                list(prompts[part]), image=image, guidance_scale=guidance, generator=generator, output_type="np"
            ).images
            if sources is None and guidance is None and len(pictures) == self._batch:
                self.seconds.append(time.perf_counter() - started)
            found.append((pictures * 255).round().astype(np.uint8))
        return np.concatenate(found)

    def noise(self, seeds: Sequence[int]) -> np.ndarray:
        """Return what the decoder makes of latents that are noise, uint8 [N, S, S, 3]: a generator that learned
        nothing.
        """
        import torch

        shape = self._pipe.vae.latent_shape
        latents = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return self._decoded(torch.stack(part) for part in _parts(latents, self._batch))

    def decoded(self, pictures: np.ndarray) -> np.ndarray:
        """Return pictures uint8 [N, S, S, 3] through the latent space and back."""
        import torch

        vae = self._pipe.vae

        def latents() -> Iterable[Any]:
            for part in _parts(pictures, self._batch):
                pixels = torch.from_numpy(part).permute(0, 3, 1, 2).float() / 127.5 - 1
                yield vae.encode(pixels.to(vae.device)).latent_dist.mode()

        return self._decoded(latents())

    def _decoded(self, latents: Iterable[Any]) -> np.ndarray:
        import torch

        from components.tokenizer.latent_space import decode_pictures

        found = []
        vae = self._pipe.vae
        with torch.inference_mode():
            for part in latents:
                back = decode_pictures(vae, part.to(vae.device))
                found.append(((back + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())
        return np.concatenate(found)


def _parts(values: Any, size: int) -> Iterable[Any]:
    return (values[first : first + size] for first in range(0, len(values), size))


def timing(seconds: Sequence[float], batch: int) -> dict[str, float]:
    """Return seconds per picture of text-to-image, all steps and the decoder, and the batch it was measured at; {}
    without a whole batch.
    """
    if not seconds:
        return {}
    # The median passes over the first batch, which warms up.
    return {"seconds_per_image": statistics.median(seconds) / batch, "seconds_per_image_batch": batch}


class OwnModel:
    """The pipeline's own image-text model: features of pictures, and pictures and captions in one space."""

    def __init__(self, store: Store, artifact: Artifact, scratch: Path) -> None:
        from components.training.machine import best_device

        self._model, self._vocabulary = load_image_text(store, artifact, scratch)
        self._device = best_device()
        self._model.to(self._device)
        self._encoded = Remembered(self._encode)

    def features(self, pictures: np.ndarray) -> Tensor:
        """Return the encoder's features [N, D], mean over patches, of pictures uint8 [N, S, S, 3]."""
        return self._encoded(pictures)[0]

    def embed(self, pictures: np.ndarray) -> Tensor:
        """Return unit vectors [N, E] of pictures."""
        return self._encoded(pictures)[1]

    def texts(self, captions: Sequence[str]) -> Tensor:
        """Return unit vectors [N, E] of captions."""
        import torch

        with torch.inference_mode():
            ids = self._vocabulary.encode(list(captions), self._model.options.max_words)
            found: Tensor = self._model.embed_text(ids.to(self._device)).cpu()
        return found.clone()  # no inference tensor

    def _encode(self, pictures: np.ndarray) -> tuple[Tensor, Tensor]:
        import torch

        features, vectors = [], []
        for part in batches(pictures):
            pixels = torch.from_numpy(part.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
            with torch.inference_mode():
                tokens = self._model.encoder(pixels.to(self._device))
                features.append(tokens.mean(1).cpu())
                vectors.append(self._model.embed_features(tokens).cpu())
        return torch.cat(features).clone(), torch.cat(vectors).clone()
