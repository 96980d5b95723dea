"""Any diffusers pipeline that makes pictures of prompts: safetensors only, and no code from a repository."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def open_any(path: str, revision: str | None, precision: str) -> Any:
    """Return the pipeline of a hub id or folder. ValueError, in words, where it cannot be loaded."""
    import torch
    from diffusers import DiffusionPipeline

    try:
        return DiffusionPipeline.from_pretrained(
            path,
            revision=revision,
            torch_dtype=torch.bfloat16 if precision == "bf16" else torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, RuntimeError, ImportError, KeyError, AttributeError, TypeError) as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"the model {path!r} cannot be loaded: {said}") from error


def check_any(path: str, revision: str | None) -> None:
    """Raise ValueError, in words, where a hub id or folder holds no pipeline. Loads no weights."""
    from diffusers import DiffusionPipeline

    try:
        DiffusionPipeline.load_config(path, revision=revision)
    except (OSError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"the model {path!r} cannot be loaded: {said}") from error


class AnyPipeline:
    """A pipeline on a device. Equal prompt, source and seed give the equal picture, on one kind of device.

    `arguments` go to each call that takes them; those that are None are left out.
    """

    def __init__(self, pipeline: Any, device: Any, size: int | None, arguments: Mapping[str, Any]) -> None:
        self.pipeline = pipeline.to(device)
        self.pipeline.set_progress_bar_config(disable=True)
        self._takes = inspect.signature(type(pipeline).__call__).parameters
        self.side = size or _own_side(pipeline)
        self._size = size
        self._arguments = {k: v for k, v in arguments.items() if v is not None and k in self._takes}

    @property
    def name(self) -> str:
        """The class."""
        return type(self.pipeline).__name__

    @property
    def defaults(self) -> dict[str, Any]:
        """What its call takes where it is told nothing."""
        empty = inspect.Parameter.empty
        return {name: known.default for name, known in self._takes.items() if known.default is not empty}

    def make(self, prompts: Sequence[str], seeds: Sequence[int], guidance: float | None = None) -> np.ndarray:
        """Return a picture of each prompt, uint8 [N, H, W, 3]. ValueError where the pipeline makes none from a text
        alone.
        """
        if "prompt" not in self._takes or self._needs("image"):
            raise ValueError(f"a {self.name} makes no pictures from prompts alone: give it pairs")
        sides = {name: self._size for name in ("height", "width") if self._size and name in self._takes}
        return self._call(guidance, prompt=list(prompts), generator=_generators(seeds), **sides)

    def edit(
        self, sources: np.ndarray, instructions: Sequence[str], seeds: Sequence[int], guidance: float | None = None
    ) -> np.ndarray:
        """Return an edit of each source, uint8 [N, S, S, 3], of its size. ValueError where the pipeline takes none."""
        from PIL import Image

        if not {"prompt", "image"} <= set(self._takes):
            raise ValueError(f"a {self.name} takes no picture with a prompt: it makes no edits")
        made = []
        # One by one: not every pipeline takes several pictures.
        for source, instruction, seed in zip(sources, instructions, seeds, strict=True):
            shown = Image.fromarray(source)
            (picture,) = self._call(guidance, prompt=instruction, image=shown, generator=_generators([seed])[0])
            if picture.shape != source.shape:
                size = (source.shape[1], source.shape[0])
                picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
            made.append(picture)
        return np.stack(made)

    def decoded(self, pictures: np.ndarray) -> np.ndarray | None:
        """Return pictures, uint8 [N, S, S, 3], through the pipeline's autoencoder and back; None where it has none that
        takes them.
        """
        import torch

        vae = getattr(self.pipeline, "vae", None)
        if vae is None:
            return None
        pixels = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
        try:
            with torch.inference_mode():
                found = vae.encode(pixels.to(vae.device, vae.dtype))
                latents = found.latent_dist.mode() if hasattr(found, "latent_dist") else found.latent
                back = vae.decode(latents).sample.float().clamp(-1, 1)
        except (RuntimeError, ValueError, AttributeError, TypeError):  # e.g. one of films
            return None
        if back.shape != pixels.shape:
            return None
        return ((back + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()

    def _needs(self, name: str) -> bool:
        return name in self._takes and self._takes[name].default is inspect.Parameter.empty

    def _call(self, guidance: float | None, **asked: Any) -> np.ndarray:
        import torch

        scale = {"guidance_scale": guidance} if guidance is not None and "guidance_scale" in self._takes else {}
        try:
            with torch.inference_mode():
                made = self.pipeline(**{**self._arguments, **scale, **asked}, output_type="np").images
        except (ValueError, TypeError, RuntimeError, AttributeError) as error:
            said = " ".join(str(error).split())[:300] or type(error).__name__
            raise ValueError(f"the {self.name} made no picture: {said}") from error
        pixels = np.asarray(made, np.float32)
        if not np.isfinite(pixels).all():
            raise ValueError(f"the {self.name} made pictures that are no numbers (NaN)")
        return (pixels.clip(0, 1) * 255).round().astype(np.uint8)


def _generators(seeds: Sequence[int]) -> list[Any]:
    import torch

    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def _own_side(pipeline: Any) -> int:
    """Return the side of the pictures that a pipeline makes, as its configuration says; 512 where it says none."""
    own = getattr(getattr(getattr(pipeline, "vae", None), "config", None), "image_size", None)
    if isinstance(own, int):
        return own
    factor = getattr(pipeline, "vae_scale_factor", None)
    for name in ("unet", "transformer"):
        sample = getattr(getattr(getattr(pipeline, name, None), "config", None), "sample_size", None)
        if isinstance(sample, int) and isinstance(factor, int):
            return sample * factor
    return 512
