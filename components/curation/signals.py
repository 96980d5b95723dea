"""All signals of one sample that need no model, and their schema."""

from __future__ import annotations

from typing import Any

from components.curation.image_signals import image_signals
from components.curation.images import ImageError, decode_image
from components.curation.options import ImageLimits
from components.curation.text_signals import text_signals

IMAGE_SCHEMA = {
    "bytes": "int64", "format": "string", "mode": "string", "frames": "int32", "width": "int32", "height": "int32",
    "aspect": "float64", "sha256": "string", "pixel_hash": "string", "phash": "uint64", "thumbnail": "binary",
    "contrast": "float64", "sharpness": "float64",
}  # fmt: skip
TEXT_SCHEMA = {
    "words": "int32", "characters": "int64", "repetition": "float64", "language": "string", "language_confidence": "float64",
    "url_share": "float64", "markup_share": "float64", "boilerplate": "float64", "symbol_share": "float64", "caption_hash": "string",
}  # fmt: skip
SIGNAL_SCHEMA = {
    "shard": "string",
    "key": "string",
    "error": "string",
    "detail": "string",
    **IMAGE_SCHEMA,
    **TEXT_SCHEMA,
}
NO_IMAGE: dict[str, Any] = {
    "bytes": 0, "format": "", "mode": "", "frames": 0, "width": 0, "height": 0, "aspect": 0.0, "sha256": "", "pixel_hash": "",
    "phash": 0, "thumbnail": b"", "contrast": 0.0, "sharpness": 0.0,
}  # fmt: skip


def measure(data: bytes | None, caption: str | None, limits: ImageLimits) -> dict[str, Any]:
    """Return the signals of a sample (`SIGNAL_SCHEMA` less shard and key).

    Where the image cannot be decoded, `error` and `detail` say why and its signals are empty.
    """
    row: dict[str, Any] = {"error": "", "detail": "", **NO_IMAGE, **text_signals(caption)}
    if data is None:
        return row | {"error": "no_image", "detail": "the sample holds no image"}
    row["bytes"] = len(data)
    try:
        decoded = decode_image(data, limits)
    except ImageError as error:
        return row | {"error": error.reason, "detail": error.detail}
    known = {"format": decoded.format, "mode": decoded.mode, "frames": decoded.frames}
    return row | known | image_signals(data, decoded.rgb)
