"""Signals of one decoded image: size, hashes, flatness, sharpness. No model, no decision."""

from __future__ import annotations

import hashlib
from typing import Any

import cv2
import numpy as np

IMAGE_SCHEMA = {
    "bytes": "int64", "format": "string", "mode": "string", "frames": "int32", "width": "int32", "height": "int32",
    "aspect": "float64", "sha256": "string", "pixel_hash": "string", "phash": "uint64", "thumbnail": "binary",
    "contrast": "float64", "sharpness": "float64",
}  # fmt: skip
HASH_SIDE = 32  # the perceptual hash looks at this many pixels a side
THUMBNAIL = 8  # cells a side of the colour thumbnail
SHARPNESS_SIDE = 256  # longer sides are reduced to this before sharpness, so that it does not depend on resolution


def image_signals(data: bytes, rgb: np.ndarray) -> dict[str, Any]:
    """Return the signals of an image, its file's bytes and its pixels, uint8 [H, W, 3]."""
    height, width = rgb.shape[:2]
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    reduced = _reduce(grey, SHARPNESS_SIDE)
    small = cv2.resize(rgb, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return {
        "width": width,
        "height": height,
        "aspect": max(width, height) / min(width, height),
        "sha256": hashlib.sha256(data).hexdigest(),
        # Of the pixels: a lossless copy in another format is still the same picture.
        "pixel_hash": hashlib.sha256(f"{width}x{height}".encode() + np.ascontiguousarray(rgb).tobytes()).hexdigest(),
        "phash": perceptual_hash(grey),
        "thumbnail": small.tobytes(),
        "contrast": float(np.sqrt(cv2.meanStdDev(rgb)[1] ** 2).max()),
        "sharpness": float(cv2.Laplacian(reduced, cv2.CV_32F).var()),
    }


def _reduce(grey: np.ndarray, side: int) -> np.ndarray:
    scale = side / max(grey.shape)
    if scale >= 1:
        return grey
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))


def perceptual_hash(grey: np.ndarray) -> int:
    """Return the 64-bit pHash of a grey picture [H, W]: signs of its low DCT frequencies against their median.

    Source: Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, section 3.2.1.
    """
    reduced = cv2.resize(grey, (HASH_SIDE, HASH_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(reduced)[:8, :8].reshape(-1)
    bits = low > np.median(low[1:])
    return int(np.packbits(bits).view(">u8")[0])
