"""What registered models answer with: rows of texts and PNG pictures in, rows of PNG pictures out. MLflow's copies name
these functions.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]
GENERATOR_COLUMNS = {
    "in": [
        "prompt",
        "image?",
        "seed:long?",
        "num_inference_steps:long?",
        "guidance_scale:double?",
        "image_guidance_scale:double?",
    ],
    "out": ["image"],
}
TOKENIZER_COLUMNS = {"in": ["image"], "out": ["image", "latent_shape"]}
MOST_STEPS = 1000
MOST_GUIDANCE = 1000.0
MOST_CHARACTERS = 100_000  # of a prompt; a model reads a few hundred tokens of it
SUMS = "sha256.json"  # {file: sha256} of a registered model's folder, written beside its files


def check_files(folder: Path) -> None:
    """Compare a model's files with what they were registered as, or, inside an artifact, committed as; ValueError where
    one differs.

    A folder that somebody saved by himself has neither list, and is taken as it is.
    """
    from pipelines.store.artifacts import MANIFEST, Manifest
    from pipelines.store.files import parse_json, sha256_file

    wanted: dict[str, str] = {}
    listed, manifest = folder / SUMS, folder.absolute().parent / MANIFEST
    if listed.is_file():
        wanted = parse_json(listed.read_bytes(), str(listed))
    elif manifest.is_file():
        found = Manifest.from_json(parse_json(manifest.read_bytes(), str(manifest)), str(manifest))
        prefix = f"{folder.absolute().name}/"
        wanted = {e.path.removeprefix(prefix): e.sha256 for e in found.files if e.path.startswith(prefix)}
    for name, digest in wanted.items():
        if not (folder / name).is_file() or sha256_file(folder / name) != digest:
            raise ValueError(
                f"{folder / name} is missing or was changed after it was written: the model is damaged. "
                "Its artifact is checked by pixsem verify and mended by pixsem resume."
            )


def load_generator(folder: str) -> Callable[[Rows], Rows]:
    """Open a pipeline's folder; answer rows with `prompt`, and optionally `image` (PNG in base64), `seed`,
    `num_inference_steps`, `guidance_scale`, `image_guidance_scale`, by rows with `image`.
    """
    pipe = open_pipeline(folder)

    def answer(rows: Rows) -> Rows:
        return [{"image": encode_png(make_picture(pipe, row, number))} for number, row in enumerate(rows)]

    return answer


def load_tokenizer(folder: str) -> Callable[[Rows], Rows]:
    """Open a tokenizer's folder; answer rows with `image` by rows with the picture through the latent and back, and the
    latent's shape.
    """
    import numpy as np
    import torch

    from components.curation.images import square
    from components.tokenizer.latent_space import decode_pictures
    from components.tokenizer.objectives import to_pictures
    from components.tokenizer.rivals import load_tokenizer as load
    from components.training.machine import best_device

    check_files(Path(folder))
    model = load(folder).to(best_device())

    def answer(rows: Rows) -> Rows:
        from PIL import Image

        found = []
        for number, row in enumerate(rows):
            picture = square(np.asarray(decode_picture(row.get("image"), number)), model.image_size)
            images = to_pictures(torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None])
            with torch.inference_mode():
                latent = model.encode(images.to(model.device)).latent_dist.mode()
                back = decode_pictures(model, latent)[0]
            pixels = ((back + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
            found.append(
                {"image": encode_png(Image.fromarray(pixels)), "latent_shape": "x".join(map(str, latent.shape[1:]))}
            )
        return found

    return answer


def open_pipeline(folder: str) -> Any:
    """Open a pipeline's folder. ValueError where it holds none."""
    import components.tokenizer.rivals  # noqa: F401  (diffusers loads only classes whose module is imported)
    from components.generator.pipeline import PixelSemanticPipeline
    from components.training.machine import best_device

    if not (Path(folder) / "model_index.json").exists():
        raise ValueError(
            f"{folder} holds no pipeline: there is no model_index.json. The stage register makes one, as does "
            "save_pretrained."
        )
    check_files(Path(folder))
    try:
        pipe = PixelSemanticPipeline.from_pretrained(folder, use_safetensors=True, low_cpu_mem_usage=False)
    except (OSError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"the pipeline in {folder} cannot be loaded: {str(error).splitlines()[0]}") from error
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(best_device())


def make_picture(pipe: Any, row: dict[str, Any], number: int = 0) -> Any:
    """Return the PIL picture that a row asks for. ValueError for a row that asks for none."""
    import torch

    asked = read_request(row, number)
    seed = asked.pop("seed")
    return pipe(**asked, generator=torch.Generator().manual_seed(seed)).images[0]


def read_request(row: dict[str, Any], number: int = 0) -> dict[str, Any]:
    """Return what a row asks a pipeline for, each value checked. ValueError, in words, for a row that asks for no
    picture.
    """
    prompt = row.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError(f"row {number} has no prompt: give a text")
    if len(prompt) > MOST_CHARACTERS:
        raise ValueError(
            f"the prompt of row {number} has {len(prompt):,} characters; at most {MOST_CHARACTERS:,} are read"
        )
    return {
        "prompt": prompt.encode("utf-8", "replace").decode(),  # a lone surrogate is no text
        "image": decode_picture(row["image"], number) if row.get("image") else None,
        "seed": _number(row, "seed", number, int, -(2**63), 2**63 - 1, 0) % 2**63,
        "num_inference_steps": _number(row, "num_inference_steps", number, int, 1, MOST_STEPS),
        "guidance_scale": _number(row, "guidance_scale", number, float, 0, MOST_GUIDANCE),
        "image_guidance_scale": _number(row, "image_guidance_scale", number, float, 0, MOST_GUIDANCE),
    }


def _number(
    row: dict[str, Any], name: str, number: int, kind: type, low: float, high: float, default: Any = None
) -> Any:
    """Return a number of a row, or the default where it is not given."""
    value = row.get(name)
    if value is None:
        return default
    try:
        found = kind(value)
    except (TypeError, ValueError, OverflowError):
        found = None
    if found is None or isinstance(value, bool) or not low <= found <= high or (kind is int and found != value):
        what = "whole number" if kind is int else "number"
        raise ValueError(f"{name} of row {number} is {str(value)[:60]!r}; it is a {what} from {low} to {high}")
    return found


def decode_picture(text: Any, number: int) -> Any:
    """Return the PIL picture of a PNG, JPEG or WebP in base64. ValueError for anything else, and for one past the
    limits on size.
    """
    if not isinstance(text, str):
        raise ValueError(f"row {number} has no image: give a PNG in base64")
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"the image of row {number} is no base64: {error}") from None
    return read_picture(data, f"the image of row {number}")


def read_picture(data: bytes, name: str) -> Any:
    """Return the PIL picture in a file's bytes. ValueError for what is none, or too large."""
    from PIL import Image

    from components.curation.images import ImageError, decode_image
    from components.curation.options import ImageLimits

    try:
        return Image.fromarray(decode_image(data, ImageLimits()).rgb)
    except ImageError as error:
        raise ValueError(f"{name} cannot be read: {error.reason}, {error.detail}") from None


def encode_png(picture: Any) -> str:
    """Return a PIL picture as a PNG in base64."""
    return base64.b64encode(png_bytes(picture)).decode()


def png_bytes(picture: Any, settings: Mapping[str, Any] | None = None) -> bytes:
    """Return a PIL picture as a PNG, which says in its texts what it was made with: `settings`, but for what is None.

    The names are Latin; a value with other letters becomes an international text (iTXt).
    """
    from PIL.PngImagePlugin import PngInfo

    out, texts = io.BytesIO(), PngInfo()
    for name, value in (settings or {}).items():
        if value is not None:
            texts.add_text(name, str(value).encode("utf-8", "replace").decode())  # a lone surrogate is no text
    picture.save(out, "PNG", pnginfo=texts)
    return out.getvalue()
