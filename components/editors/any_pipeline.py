"""Any diffusers pipeline that makes pictures of prompts: safetensors only, and no code from a repository."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
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


def check_any(path: str, revision: str | None, prompts: bool = False, edits: bool = False) -> None:
    """Raise ValueError, in words, where a hub id or folder holds no pipeline, or one that makes no pictures of prompts,
    or no edits, where these are asked for. Loads no weights. A class that diffusers does not have is told when it is
    loaded.
    """
    import diffusers
    from transformers.utils import logging

    logging.set_verbosity_error()  # what its classes say of torchvision when they are imported is not about this model
    try:
        index = diffusers.DiffusionPipeline.load_config(path, revision=revision)
    except (OSError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"the model {path!r} cannot be loaded: {said}") from error
    name = dict(index).get("_class_name") if isinstance(index, Mapping) else None
    made = getattr(diffusers, name, None) if isinstance(name, str) else None
    if made is not None:
        takes = inspect.signature(made.__call__).parameters
        words = (prompts and _no_pictures(str(name), takes)) or (edits and _no_edits(str(name), takes))
        if words:
            raise ValueError(words)


def _no_pictures(name: str, takes: Mapping[str, inspect.Parameter]) -> str:
    needed = "image" in takes and takes["image"].default is inspect.Parameter.empty
    return f"a {name} makes no pictures from prompts alone: give it pairs" if "prompt" not in takes or needed else ""


def _no_edits(name: str, takes: Mapping[str, inspect.Parameter]) -> str:
    lacks = not {"prompt", "image"} <= set(takes)
    return f"a {name} takes no picture with a prompt: it makes no edits, so give it no pairs" if lacks else ""


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
        if words := _no_pictures(self.name, self._takes):
            raise ValueError(words)
        sides = {name: self._size for name in ("height", "width") if self._size and name in self._takes}
        return self._call(guidance, prompt=list(prompts), generator=_generators(seeds), **sides)

    def edit(
        self, sources: np.ndarray, instructions: Sequence[str], seeds: Sequence[int], guidance: float | None = None
    ) -> np.ndarray:
        """Return an edit of each source, uint8 [N, S, S, 3], of its size. ValueError where the pipeline takes none."""
        from PIL import Image

        if words := _no_edits(self.name, self._takes):
            raise ValueError(words)
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
        return self._through(pictures, lambda latents: latents)

    def noise(self, seeds: Sequence[int]) -> np.ndarray | None:
        """Return what the pipeline's autoencoder makes of latents that are noise, uint8 [N, S, S, 3]: pictures of a
        generator that learned nothing. None as of `decoded`.
        """
        import torch

        def drawn(latents: Any) -> Any:
            """Noise in the place of latents, at the scale that generators of this autoencoder start from."""
            of_each = [torch.randn(latents.shape[1:], generator=one) for one in _generators(seeds)]
            config = self.pipeline.vae.config
            scale, shift = (getattr(config, f"{name}_factor", None) for name in ("scaling", "shift"))
            return (torch.stack(of_each) / (scale or 1.0) + (shift or 0.0)).to(latents)

        black = np.zeros((len(seeds), self.side, self.side, 3), np.uint8)
        return self._through(black, drawn)

    def _through(self, pictures: np.ndarray, change: Callable[[Any], Any]) -> np.ndarray | None:
        """Return pictures through the autoencoder and back, with their latents changed."""
        import torch

        vae = getattr(self.pipeline, "vae", None)
        if vae is None:
            return None
        pixels = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
        try:
            with torch.inference_mode():
                found = vae.encode(pixels.to(vae.device, vae.dtype))
                latents = found.latent_dist.mode() if hasattr(found, "latent_dist") else found.latent
                back = vae.decode(change(latents)).sample.float().clamp(-1, 1)
        except (RuntimeError, ValueError, AttributeError, TypeError):  # e.g. one of films
            return None
        if back.shape != pixels.shape:
            return None
        return ((back + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()

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
