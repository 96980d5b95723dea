"""Edits that move every pixel: flips, rotations by quarter turns, zoom. The result is exact and the mask whole.

Source and target always have one size, so quarter turns are for square pictures only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.curation.editing.base import EditPair, Family, Image, Parameters
from components.curation.editing.instructions import instruct, pick
from components.curation.editing.photo import Photo

# Upper left corner of the part zoomed into, in shares of what the part leaves free.
ZOOM_PARTS: dict[str, tuple[float, float]] = {
    "centre": (0.5, 0.5),
    "upper left quarter": (0.0, 0.0),
    "upper right quarter": (0.0, 1.0),
    "lower left quarter": (1.0, 0.0),
    "lower right quarter": (1.0, 1.0),
}
_BACK = {
    "flip_horizontal": "flip_horizontal", "flip_vertical": "flip_vertical", "rotate_half": "rotate_half",
    "rotate_right": "rotate_left", "rotate_left": "rotate_right",
}  # fmt: skip
_SMALLEST_ZOOMED = 128  # shorter side, in pixels, of a part that still makes a picture when doubled


def zoom(rgb: Image, part: str) -> Image:
    """The half-size `part` (a key of ZOOM_PARTS) of a picture [H, W, 3], enlarged to [H, W, 3] (cubic)."""
    import cv2

    height, width = rgb.shape[:2]
    rows, columns = height // 2, width // 2
    down, right = ZOOM_PARTS[part]
    top, left = round(down * (height - rows)), round(right * (width - columns))
    crop = np.ascontiguousarray(rgb[top : top + rows, left : left + columns])
    return np.asarray(cv2.resize(crop, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def transform(rgb: Image, kind: str) -> Image:
    """A flip or rotation of [H, W, 3] by its kind; quarter turns swap H and W."""
    moved = {
        "flip_horizontal": lambda: rgb[:, ::-1],
        "flip_vertical": lambda: rgb[::-1],
        "rotate_right": lambda: np.rot90(rgb, -1),
        "rotate_left": lambda: np.rot90(rgb, 1),
        "rotate_half": lambda: rgb[::-1, ::-1],
    }[kind]()
    return np.ascontiguousarray(moved)


@dataclass(frozen=True)
class GeometricEditor:
    """One flip, rotation or zoom of the whole picture."""

    kind: str
    family: Family = "geometric"

    def applicable(self, photo: Photo) -> bool:
        """Quarter turns need a square picture, zoom one large enough to be doubled."""
        height, width = photo.size
        if self.kind in ("rotate_right", "rotate_left"):
            return height == width
        return self.kind != "zoom" or min(height, width) >= 2 * _SMALLEST_ZOOMED

    def propose(self, photo: Photo, rng: np.random.Generator) -> EditPair:
        """Move the pixels; the zoomed part is drawn."""
        parameters: Parameters = {}
        if self.kind == "zoom":
            part = pick(rng, tuple(ZOOM_PARTS))
            parameters = {"part": part, "factor": 2}
            target = zoom(photo.rgb, part)
            instruction = instruct(self.kind, rng, part=part)
        else:
            target = transform(photo.rgb, self.kind)
            instruction = instruct(self.kind, rng)
        back = _BACK.get(self.kind)
        inverse = instruct(back, np.random.default_rng(len(instruction))) if back else ""
        mask = np.ones(photo.size, np.bool_)
        return EditPair(self.kind, self.family, photo.rgb, target, mask, instruction, parameters, inverse=inverse)
