"""Masks of given edit pairs: whatever marks the edited region, as a PNG that is white there and black elsewhere."""

from __future__ import annotations

import cv2
import numpy as np

from components.data.image_header import read_header
from components.data.options import MaskMarks
from components.data.parquet_source import Picture
from components.data.samples import BadRecord

MAX_PIXELS = 64 * 10**6


def mask_png(key: str, picture: Picture | BadRecord, marks: MaskMarks) -> bytes | BadRecord:
    """The mask as a PNG of three channels, 255 where the picture marks the edit, 0 elsewhere; BadRecord (bad_mask)."""
    if isinstance(picture, BadRecord):
        return BadRecord(key, "bad_mask", f"mask: {picture.detail}")
    header = read_header(picture.data)
    if header is None or header.width * header.height > MAX_PIXELS:
        return BadRecord(key, "bad_mask", f"mask: no PNG, JPEG, WebP or BMP of at most {MAX_PIXELS} pixels")
    try:
        image = cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        return BadRecord(key, "bad_mask", f"mask: {str(error).strip()[:200]}")
    if image is None:
        return BadRecord(key, "bad_mask", "mask: it cannot be decoded")
    if image.dtype == np.uint16:
        image = np.right_shift(image.astype(np.uint16), 8).astype(np.uint8)
    if marks == "transparent":
        if image.ndim != 3 or image.shape[2] != 4:
            return BadRecord(key, "bad_mask", "mask: it has no alpha channel, and mask_marks is transparent")
        marked = image[..., 3] < 128
    else:
        grey = image if image.ndim == 2 else image[..., :3].max(2)
        marked = grey >= 128 if marks == "white" else grey < 128
    white = np.repeat(marked.astype(np.uint8)[..., None] * np.uint8(255), 3, axis=2)
    return bytes(cv2.imencode(".png", white)[1].tobytes())
