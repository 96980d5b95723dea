"""Signals of one edit pair that need no model: how much changed, where, and what is alike. No decision.

Pictures are compared at a side of at most `SIDE` pixels.
"""

from __future__ import annotations

import hashlib
from typing import Any

import cv2
import numpy as np

from components.curation.image_signals import IMAGE_SCHEMA, image_signals
from components.curation.images import DecodedImage, ImageError, decode_image
from components.curation.options import ImageLimits
from components.curation.text_signals import WORD, normalise

PAIR_SCHEMA = {
    "shard": "string", "key": "string", "source_key": "string", "kind": "string", "error": "string",
    "detail": "string", "width": "int32", "height": "int32", "target_width": "int32", "target_height": "int32",
    "aspect_change": "float64", "change": "float64", "changed_share": "float64", "mask_share": "float64",
    "inside_share": "float64", "spill": "float64", "spill_share": "float64", "structure": "float64", "words": "int32",
    "pair_hash": "string", "exact": "string",
}  # fmt: skip
# What tells whether a picture of a given pair is one of another source: as of a sample's picture, for both sides.
ALIKE = ("pixel_hash", "phash", "thumbnail", "contrast")
PICTURES_SCHEMA = {
    "key": "string",
    **{f"{side}_{name}": IMAGE_SCHEMA[name] for side in ("source", "target") for name in ALIKE},
}
SIDE = 256  # pixels, the longer side at which pictures are compared
BLOCK, VISIBLE_IN_BLOCK = 9, 4  # pixels a side, and levels by which their mean must differ, of lossy files
LOSSY = ("JPEG", "WEBP")
VISIBLE = 10  # levels, 0-255, by which some channel of a pixel must differ to be seen as changed
NOTHING: dict[str, Any] = {
    "width": 0, "height": 0, "target_width": 0, "target_height": 0, "aspect_change": None, "change": None,
    "changed_share": None, "mask_share": None, "inside_share": None, "spill": None, "spill_share": None,
    "structure": None, "pair_hash": "",
}  # fmt: skip


def decode_side(side: str, data: bytes | None, limits: ImageLimits) -> DecodedImage:
    """Decode one picture of a pair. Raises `ImageError`, its reason named after the side: `source_broken_image`."""
    if data is None:
        raise ImageError(f"no_{side}", f"the pair holds no {side} picture")
    try:
        return decode_image(data, limits)
    except ImageError as error:
        raise ImageError(f"{side}_{error.reason}", error.detail) from None


def picture_signals(side: str, data: bytes, rgb: np.ndarray) -> dict[str, Any]:
    """Return one picture's columns of `PICTURES_SCHEMA`, of its file's bytes and its pixels, uint8 [H, W, 3]."""
    found = image_signals(data, rgb)
    return {f"{side}_{name}": found[name] for name in ALIKE}


def pair_signals(
    source: np.ndarray, target: np.ndarray, mask: np.ndarray | None, instruction: str, lossy: bool = False
) -> dict[str, Any]:
    """Return the signals of a pair: uint8 [H, W, 3] twice, and bool [H, W] or None, True where a change was asked for.

    `change` and `spill` are mean differences in levels, over the picture and outside the mask; shares are 0-1. What a
    pair without a mask, or with a whole one, does not have is None. A target of another size is resized.
    `lossy`: one of the files is a JPEG or the like.
    """
    height, width = source.shape[:2]
    target_height, target_width = target.shape[:2]
    aspects = sorted((width / height, target_width / target_height))
    scale = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    before, after = _resized(source, size), _resized(target, size)
    # The mean over neighbours comes before the absolute value, so that the noise of a file format cancels out. What
    # JPEG adds at sharp edges of sure colours is larger, and cancels out over a block.
    signed = after.astype(np.float32) - before.astype(np.float32)
    difference = np.abs(cv2.blur(signed, (3, 3)))
    visible = difference.max(-1) > VISIBLE
    if lossy:
        visible &= np.abs(cv2.blur(signed, (BLOCK, BLOCK))).max(-1) > VISIBLE_IN_BLOCK
    digest = hashlib.sha256(instruction.encode("utf-8", "replace"))
    for picture in (source, target):
        digest.update(f"{picture.shape}".encode() + np.ascontiguousarray(picture).tobytes())
    return {
        "width": width, "height": height, "target_width": target_width, "target_height": target_height,
        "aspect_change": aspects[1] / aspects[0],
        "change": float(difference.mean()),
        "changed_share": float(visible.mean()),
        **_by_mask(difference, visible, None if mask is None else _asked(mask, size)),
        "structure": _structure(before, after),
        "words": len(WORD.findall(normalise(instruction))),
        "pair_hash": digest.hexdigest(),
    }  # fmt: skip


def _resized(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if (rgb.shape[1], rgb.shape[0]) == size:
        return rgb
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))


def _asked(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the mask at a size. A cell counts as soon as the mask touches it: no edge of it is taken for spill."""
    return np.asarray(_resized(mask.astype(np.uint8) * 255, size) > 0)


def _by_mask(difference: np.ndarray, visible: np.ndarray, mask: np.ndarray | None) -> dict[str, float | None]:
    found: dict[str, float | None] = dict.fromkeys(("mask_share", "inside_share", "spill", "spill_share"))
    if mask is None:
        return found
    found["mask_share"] = float(mask.mean())
    found["inside_share"] = float(visible[mask].mean()) if mask.any() else 0.0
    outside = (
        cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0
    )  # less what the neighbours' mean reaches
    if outside.any():
        found["spill"], found["spill_share"] = float(difference[outside].mean()), float(visible[outside].mean())
    return found


def _structure(before: np.ndarray, after: np.ndarray) -> float | None:
    """Return the structural similarity of the grey pictures; None where a side is shorter than its window."""
    from skimage.metrics import structural_similarity

    if min(before.shape[:2]) < 7:
        return None
    first, second = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (before, after))
    return float(structural_similarity(first, second, data_range=255))
