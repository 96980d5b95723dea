"""Any diffusers pipeline that takes a picture and an instruction. Safetensors only, and no code from a repository."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

import numpy as np

from components.editors.options import EditorModel

OURS = ("image", "prompt", "generator", "output_type")  # arguments of the call that are given here


class DiffusersEditor:
    """One pipeline, loaded. Equal picture, instruction and seed give the equal result, on one kind of device."""

    def __init__(self, model: EditorModel, device: Any) -> None:
        self._model, self._device = model, device
        self._pipeline = load_pipeline(model)
        if model.offload and device.type != "cpu":
            self._pipeline.enable_model_cpu_offload(device=device)
        else:
            self._pipeline.to(device)
        self._pipeline.set_progress_bar_config(disable=True)

    def fit(self, rgb: np.ndarray) -> np.ndarray:
        """Return a picture, uint8 [H, W, 3], cut at its sides to the multiple that the pipeline needs."""
        step = self._model.multiple
        height, width = (side // step * step for side in rgb.shape[:2])
        if not height or not width:
            raise ValueError(f"a picture of {rgb.shape[1]} x {rgb.shape[0]} pixels is smaller than multiple={step}")
        top, left = (rgb.shape[0] - height) // 2, (rgb.shape[1] - width) // 2
        return np.ascontiguousarray(rgb[top : top + height, left : left + width])

    def edit(self, rgb: np.ndarray, instruction: str, seed: int) -> np.ndarray:
        """Return the edited picture, uint8 [H, W, 3], of the size of the one given; what comes larger is resized."""
        import torch
        from PIL import Image

        generator = torch.Generator("cpu").manual_seed(seed)
        with torch.inference_mode():
            made = self._pipeline(
                image=Image.fromarray(rgb), prompt=instruction, generator=generator, output_type="pil",
                **self._model.arguments,
            ).images[0]  # fmt: skip
        size = (rgb.shape[1], rgb.shape[0])
        made = made.convert("RGB")
        return np.asarray(made if made.size == size else made.resize(size, Image.Resampling.LANCZOS))


def load_pipeline(model: EditorModel) -> Any:
    """Return the pipeline. ValueError, in words, where it cannot be loaded, takes no picture with a prompt, or its call
    has no such argument.
    """
    import torch
    from diffusers import DiffusionPipeline

    dtype = torch.bfloat16 if model.precision == "bf16" else torch.float32
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            model.path, revision=model.revision, torch_dtype=dtype, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError, ImportError, KeyError, AttributeError, TypeError) as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"the editor {model.path!r} cannot be loaded: {said}") from error
    check_call(model, type(pipeline))
    return pipeline


def check_class(model: EditorModel, name: str) -> None:
    """Raise ValueError, in words, where diffusers has no such class, or `check_call` refuses it. Loads no weights."""
    import diffusers

    found = getattr(diffusers, name, None)
    if found is None:
        raise ValueError(f"the editor {model.path!r} is a {name}, which diffusers {diffusers.__version__} has not")
    if lacking := getattr(found, "_backends", None):  # what diffusers gives instead of a class that lacks packages
        raise ValueError(f"the editor {model.path!r} is a {name}, which needs {', '.join(lacking)}")
    check_call(model, found)


def check_call(model: EditorModel, pipeline: Any) -> None:
    """Raise ValueError, in words, where a class takes no picture with a prompt, or its call has no such argument."""
    known = set(inspect.signature(pipeline.__call__).parameters) - {"self"}
    if not {"image", "prompt", "generator"} <= known:
        raise ValueError(f"the editor {model.path!r} is a {pipeline.__name__}, which takes no image with a prompt")
    for name in model.arguments:
        if name in OURS or name not in known:
            close = difflib.get_close_matches(name, known - set(OURS), 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"the editor {model.path!r} takes no argument {name!r} of a configuration{hint}")
