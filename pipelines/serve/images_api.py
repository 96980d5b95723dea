"""The shapes of OpenAI's images API: what is asked, what is answered, and events of a stream.

`seed`, `steps`, `guidance_scale`, `image_guidance_scale` and `progress` are extensions: the client sends them in
`extra_body`.
"""

from __future__ import annotations

import base64
import io
import time
import warnings
from typing import Any, Literal

from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from components.curation.images import DECODE_ERRORS
from components.curation.options import ImageLimits
from pipelines.serve.api_errors import ApiError, in_words
from pipelines.serve.limits import Limits

FORMATS = ("PNG", "JPEG", "WEBP")
LOW, HIGH = -(2**63), 2**63 - 1  # of a seed


class Generation(BaseModel):
    """Pictures from a prompt. Fields that change nothing here are taken with the values that mean so."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    prompt: str
    model: str | None = None
    n: int = Field(1, ge=1)
    size: str = "auto"
    seed: int | None = Field(None, ge=LOW, le=HIGH)  # of the first picture; the next one has the next seed
    steps: int | None = Field(None, ge=1)
    guidance_scale: float | None = Field(None, ge=0)
    stream: bool = False
    partial_images: int = Field(0, ge=0)
    progress: bool = False  # an event for every step of a stream
    response_format: Literal["b64_json"] = "b64_json"
    output_format: Literal["png"] = "png"
    output_compression: Literal[100] = 100
    background: Literal["auto", "opaque"] = "auto"
    moderation: Literal["auto", "low"] = "auto"
    quality: Literal["auto", "standard", "hd", "low", "medium", "high", "xhigh", "max"] = "auto"
    user: str = ""
    safety_identifier: str = ""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        """Null is as good as absent: clients send it for what was left open."""
        return {k: v for k, v in given.items() if v is not None} if isinstance(given, dict) else given


class Edit(Generation):
    """A picture changed by an instruction, which is the prompt."""

    image_guidance_scale: float | None = Field(None, ge=0)


def read_asked(kind: type[Generation], given: bytes | dict[str, Any], limits: Limits) -> Generation:
    """Return what a JSON body or the texts of a form ask for, within the limits. ApiError for anything else."""
    try:
        asked = kind.model_validate_json(given) if isinstance(given, bytes) else kind.model_validate(given)
    except ValidationError as error:
        raise in_words(error) from None
    if not asked.prompt.strip():
        raise ApiError(400, "prompt: there is no text in it.", param="prompt", code="invalid_value")
    if len(asked.prompt) > limits.prompt_characters:
        raise _too_much("prompt", f"{len(asked.prompt):,} characters long", f"{limits.prompt_characters:,}")
    for name, most in (
        ("n", limits.n),
        ("steps", limits.steps),
        ("partial_images", limits.previews),
        ("guidance_scale", limits.guidance),
        ("image_guidance_scale", limits.guidance),
    ):
        value = getattr(asked, name, None)
        if value is not None and value > most:
            raise _too_much(name, f"{value:,}"[:40], f"{most:,}")
    return asked


def _too_much(param: str, value: str, most: str) -> ApiError:
    return ApiError(400, f"{param} is {value}; the most is {most}.", param=param, code="invalid_value")


def check_served(asked: Generation, about: dict[str, Any]) -> None:
    """Refuse another model than the one that is served, and a size that it does not make."""
    if asked.model is not None:
        check_model(asked.model, about)
    own = f"{about['side']}x{about['side']}"
    if asked.size not in ("auto", own):
        raise ApiError(
            400,
            f"size is {asked.size[:20]!r}; {about['id']} makes {own}: ask for that, or leave size away.",
            param="size",
            code="invalid_value",
        )
    if isinstance(asked, Edit) and not about["edits"]:
        raise ApiError(400, f"{about['id']} makes pictures from prompts alone, and edits none.", param="model")


def check_model(name: str, about: dict[str, Any]) -> None:
    """Refuse a name that is none of the served model's. Names are compared, and nothing is looked up by them."""
    own = {about["id"], about["name"]}
    if about["alias"]:
        own.add(f"{about['name']}@{about['alias']}")
    if name.removeprefix("models:/") not in own:
        raise ApiError(
            404,
            f"the model {name[:100]!r} is not served here; {about['id']} is.",
            param="model",
            code="model_not_found",
        )


def check_picture(data: bytes, limits: Limits) -> None:
    """Refuse a file to edit that is too large, no PNG, JPEG or WebP, or has too many pixels by its header.

    The pixels are decoded where the picture is made; what is broken there is an error in words, too.
    """
    if len(data) > limits.picture_bytes:
        raise ApiError(
            413,
            f"image has {len(data):,} bytes; at most {limits.picture_bytes:,} are read.",
            param="image",
            code="invalid_value",
        )
    most = ImageLimits().max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures, which are refused below, and of odd metadata
            width, height = Image.open(io.BytesIO(data), formats=FORMATS).size
    except UnidentifiedImageError:
        raise _no_picture("it is no PNG, JPEG or WebP file") from None
    except Image.DecompressionBombError:
        width, height = most, 2
    except DECODE_ERRORS:
        raise _no_picture("the file is broken") from None
    if width * height > most:
        raise _no_picture(f"at most {most:,} pixels are decoded, and it has more")


def _no_picture(why: str) -> ApiError:
    return ApiError(400, f"image cannot be read: {why}.", param="image", code="invalid_value")


def rows_of(asked: Generation, image: bytes | None, seed: int, request: str) -> list[dict[str, Any]]:
    """Return one row of the engine for each picture."""
    return [
        {
            "prompt": asked.prompt,
            "image": image,
            "seed": LOW + (seed + number - LOW) % 2**64,
            "num_inference_steps": asked.steps,
            "guidance_scale": asked.guidance_scale,
            "image_guidance_scale": getattr(asked, "image_guidance_scale", None),
            "previews": asked.partial_images if asked.stream else 0,
            "progress": asked.stream,
            "id": f"{request}-{number}",
        }
        for number in range(asked.n)
    ]


def answer(pictures: list[dict[str, Any]], side: int) -> dict[str, Any]:
    """Return the JSON of an answer, from the engine's pictures."""
    return {
        "created": int(time.time()),
        "model": pictures[0]["model"],
        "size": f"{side}x{side}",
        "output_format": "png",
        "data": [{"b64_json": _base64(made["png"]), **_settings(made)} for made in pictures],
    }


def event(prefix: str, index: int, told: dict[str, Any], side: int) -> dict[str, Any]:
    """Return an event of a stream, from what the engine tells of picture `index`. `prefix` is image_generation or
    image_edit.
    """
    if told["kind"] == "progress":
        return {"type": f"{prefix}.progress", "index": index, "step": told["step"], "steps": told["steps"]}
    made = {
        "b64_json": _base64(told["png"]),
        "created_at": int(time.time()),
        "size": f"{side}x{side}",
        "quality": "auto",
        "background": "opaque",
        "output_format": "png",
        "index": index,
    }
    if told["kind"] == "preview":
        return {"type": f"{prefix}.partial_image", "partial_image_index": told["index"], "step": told["step"], **made}
    return {"type": f"{prefix}.completed", **made, **_settings(told)}


def _settings(made: dict[str, Any]) -> dict[str, Any]:
    return {name: made[name] for name in ("seed", "steps", "guidance_scale", "model")}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
