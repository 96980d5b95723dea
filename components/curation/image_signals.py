"""Signals of one decoded image: size, hashes, flatness, sharpness. No model, no decision."""

from __future__ import annotations

import hashlib
from typing import Any

import cv2
import numpy as np
import xxhash

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
    small = _by_whole_factor(rgb, SHARPNESS_SIDE)
    grey = _reduce(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), SHARPNESS_SIDE)
    # Of the pixels: a lossless copy in another format is still the same picture. Nobody is to be kept from making two
    # pictures that collide, so the hash is a fast one.
    pixels = xxhash.xxh3_128(f"{width}x{height}".encode())
    pixels.update(np.ascontiguousarray(rgb).data)
    return {
        "width": width,
        "height": height,
        "aspect": max(width, height) / min(width, height),
        "sha256": hashlib.sha256(data).hexdigest(),
        "pixel_hash": pixels.hexdigest(),
        "phash": perceptual_hash(grey),
        "thumbnail": cv2.resize(small, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).tobytes(),
        "contrast": float(cv2.meanStdDev(rgb)[1].max()),
        "sharpness": float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))[1].item() ** 2),
    }


def _by_whole_factor(rgb: np.ndarray, side: int) -> np.ndarray:
    """Reduce a picture by the largest whole factor that leaves its longer side `side` pixels or more.

    OpenCV averages whole cells many times faster than parts of them. Up to factor - 1 rows and columns are cut off.
    """
    height, width = rgb.shape[:2]
    factor = min(max(height, width) // side, min(height, width))
    if factor <= 1:
        return rgb
    size = (width // factor, height // factor)
    whole = rgb[: size[1] * factor, : size[0] * factor]
    return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA))


def _reduce(grey: np.ndarray, side: int) -> np.ndarray:
    """Return a picture of less than twice `side` pixels reduced to it."""
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
