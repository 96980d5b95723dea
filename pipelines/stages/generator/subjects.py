"""Models that `pixsem evaluate` can hold to anything: a registered version, a pipeline's folder, a hub id. Ours and any
other of diffusers make pictures behind one interface, the evaluation's maker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pipelines.store.files import Store

if TYPE_CHECKING:
    from pipelines.config.schema import Config


class Subject(Protocol):
    """What an evaluation asks a model for."""

    seconds: list[float]  # of whole batches of text-to-image, where they are measured

    def use(self, weights: tuple[str, str] | None) -> None:
        """Go on with other weights."""
        ...

    def make(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        sources: np.ndarray | None = None,
        guidance: float | None = None,
    ) -> np.ndarray:
        """Return a picture of each prompt, or an edit of each source, uint8 [N, H, W, 3]."""
        ...

    def decoded(self, pictures: np.ndarray) -> np.ndarray:
        """Return pictures, uint8 [N, S, S, 3], through the model's autoencoder and back."""
        ...

    def noise(self, seeds: Sequence[int]) -> np.ndarray:
        """Return what the model's decoder makes of latents that are noise, uint8 [N, S, S, 3]."""
        ...


class PipelineSubject:
    """A diffusers pipeline, ours or any other."""

    def __init__(self, pipeline: Any, device: Any, config: Config) -> None:
        from components.editors.any_pipeline import AnyPipeline

        asked = config.evaluate_model
        assert asked is not None, "a run of pixsem evaluate has this section"
        arguments = {"num_inference_steps": asked.steps, "guidance_scale": asked.guidance_scale}
        self._any = AnyPipeline(pipeline, device, asked.size, arguments)
        self._batch = asked.batch
        self.side = self._any.side
        self.seconds: list[float] = []
        black = np.zeros((1, self.side, self.side, 3), np.uint8)
        self.decodes = self._any.decoded(black) is not None
        self.about = {"class": self._any.name, "size": self.side, **self._own(arguments)}

    def _own(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return steps and guidance as asked for, or as the pipeline's own."""
        parameters = self._any.defaults
        config = dict(getattr(self._any.pipeline, "config", {}))
        return {
            name: value if value is not None else config.get(name, parameters.get(name))
            for name, value in arguments.items()
        }

    def use(self, weights: tuple[str, str] | None) -> None:
        """There are no others."""
        assert weights is None, "a finished model has no snapshots"

    def make(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        sources: np.ndarray | None = None,
        guidance: float | None = None,
    ) -> np.ndarray:
        """Return a picture of each prompt, or an edit of each source, uint8 [N, H, W, 3]."""
        if sources is not None:
            return self._any.edit(sources, prompts, seeds, guidance)
        return np.concatenate(
            [
                self._any.make(prompts[first : first + self._batch], seeds[first : first + self._batch], guidance)
                for first in range(0, len(prompts), self._batch)
            ]
        )

    def decoded(self, pictures: np.ndarray) -> np.ndarray:
        """Return pictures through the model's autoencoder and back; as they are where it has none."""
        return self._parts(self._any.decoded, pictures) if self.decodes else pictures

    def noise(self, seeds: Sequence[int]) -> np.ndarray:
        """Return what the decoder makes of noise, uint8 [N, S, S, 3]: a generator that learned nothing."""
        return self._parts(self._any.noise, seeds)

    def _parts(self, make: Callable[[Any], np.ndarray | None], values: Any) -> np.ndarray:
        parts = [make(values[first : first + self._batch]) for first in range(0, len(values), self._batch)]
        return np.concatenate([part for part in parts if part is not None])


def open_subject(config: Config, store: Store, scratch: Path) -> PipelineSubject:
    """Return the model of a configuration. ValueError, in words, where there is none."""
    from components.editors.any_pipeline import open_any
    from components.training.machine import best_device
    from pipelines.serving import open_pipeline

    asked = config.evaluate_model
    assert asked is not None, "a run of pixsem evaluate has this section"
    folder = Path(asked.model)
    if asked.digest:  # of a registered version: pixsem evaluate has brought it into the store
        path = f"downloads/models/{asked.digest}"
        for name in () if store.is_local else store.files(path):
            store.fetch(f"{path}/{name}", scratch)
        folder = (store.local("") if store.is_local else scratch) / path
    elif (folder / "pipeline" / "model_index.json").is_file():  # an artifact of register
        folder = folder / "pipeline"
    if folder.is_dir() and is_ours(folder):
        return PipelineSubject(open_pipeline(str(folder)), best_device(), config)
    path = str(folder) if folder.is_dir() else asked.model
    return PipelineSubject(open_any(path, asked.revision, asked.precision), best_device(), config)


def is_ours(folder: Path) -> bool:
    """Return whether a pipeline's folder is one of this pipeline's own."""
    from pipelines.store.files import parse_json

    index = folder / "model_index.json"
    if not index.is_file():
        return False
    found = parse_json(index.read_bytes(), str(index)).get("_class_name")
    return "PixelSemanticPipeline" in (found if isinstance(found, list) else [found])
