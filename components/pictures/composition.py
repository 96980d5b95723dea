"""Compositions: which drawings stand in which cells, on which background, under which treatment; as data, and drawn.

Every cell lies on a grid of quarters of the picture's side, so that it falls on whole tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from components.pictures.catalogue import Catalogue
from components.pictures.options import BACKGROUNDS, WHITE

# Cell -> left, top and side, in quarters of the picture's side.
CELLS = {
    "full": (0, 0, 4), "centre": (1, 1, 2), "left": (0, 1, 2), "right": (2, 1, 2), "top": (1, 0, 2),
    "bottom": (1, 2, 2), "upper left": (0, 0, 2), "upper right": (2, 0, 2),
}  # fmt: skip
PAIRS = (("left", "right"), ("top", "bottom"))
THREE = ("upper left", "upper right", "bottom")
LAYOUTS = (("full",), ("centre",), ("left",), ("right",), ("top",), ("bottom",), *PAIRS, THREE)
TREATMENTS = ("mirror", "greyscale", "outline")
DARK = 90  # luminance, 0-255, below which a pixel belongs to a drawn line


@dataclass(frozen=True)
class Composition:
    """What a picture shows. `items` are (cell, entry's key), in the order of the layout's cells."""

    items: tuple[tuple[str, str], ...]
    background: str = WHITE
    treatment: str = ""

    @staticmethod
    def single(key: str, cell: str = "full", background: str = WHITE) -> Composition:
        """Return a composition of one drawing."""
        return Composition(((cell, key),), background)

    @property
    def layout(self) -> tuple[str, ...]:
        """The cells that are taken."""
        return tuple(cell for cell, _ in self.items)

    @property
    def keys(self) -> tuple[str, ...]:
        """The entries' keys."""
        return tuple(key for _, key in self.items)

    def with_(self, **changes: Any) -> Composition:
        """Return the composition changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the composition as JSON values."""
        return {
            "items": [list(item) for item in self.items],
            "background": self.background,
            "treatment": self.treatment,
        }

    @staticmethod
    def from_dict(value: Any) -> Composition:
        """Read `to_dict`'s value. Raises ValueError for anything else."""
        try:
            items = tuple((str(cell), str(key)) for cell, key in value["items"])
            found = Composition(items, value["background"], value["treatment"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"this is no composition: {error!r}") from None
        if (
            found.layout not in LAYOUTS
            or found.background not in BACKGROUNDS
            or found.treatment not in ("", *TREATMENTS)
        ):
            raise ValueError(f"this is no composition: {value!r}"[:200])
        return found


def cell_box(cell: str, size: int) -> tuple[slice, slice]:
    """Return the rows and columns of a cell in a picture of `size` pixels."""
    left, top, side = (part * size // 4 for part in CELLS[cell])
    return slice(top, top + side), slice(left, left + side)


def shrunk(cutouts: np.ndarray, side: int) -> np.ndarray:
    """Return cut-outs uint8 [N, S, S, 4] as premultiplied float32 [N, side, side, 4] of 0-255."""
    values = cutouts.astype(np.float32)
    values[..., :3] *= values[..., 3:] / 255
    if values.shape[1] == side:
        return np.asarray(values)
    return np.stack([cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA) for one in values])


def treated(premultiplied: np.ndarray, treatment: str) -> np.ndarray:
    """Return premultiplied cut-outs [N, S, S, 4] under a treatment."""
    if treatment == "mirror":
        return premultiplied[:, :, ::-1]
    if treatment == "greyscale":
        grey = premultiplied[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)
        return np.concatenate([np.repeat(grey[..., None], 3, -1), premultiplied[..., 3:]], -1)
    if treatment == "outline":
        return _outlined(premultiplied)
    return premultiplied


def _outlined(premultiplied: np.ndarray) -> np.ndarray:
    """Return only the lines, black: dark pixels, and the edge of the cut-out."""
    alpha = premultiplied[..., 3]
    luminance = premultiplied[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)
    luminance = luminance * 255 / np.maximum(alpha, 1)
    inner = np.stack([cv2.erode(one, np.ones((3, 3), np.uint8)) for one in alpha])
    lines = np.maximum(np.where(luminance < DARK, alpha, 0), alpha - inner)
    return np.concatenate([np.zeros_like(premultiplied[..., :3]), lines[..., None]], -1)


def render(composition: Composition, catalogue: Catalogue) -> np.ndarray:
    """Return the composition's picture, uint8 [S, S, 3]. The same composition gives the same bytes."""
    size = catalogue.cutouts.shape[1]
    picture = np.empty((size, size, 3), np.float32)
    picture[:] = BACKGROUNDS[composition.background]
    for cell, key in composition.items:
        box = cell_box(cell, size)
        cut = treated(shrunk(catalogue.cutout(key)[None], box[0].stop - box[0].start), composition.treatment)[0]
        picture[box] = picture[box] * (1 - cut[..., 3:] / 255) + cut[..., :3]
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def same(a: Composition, b: Composition, catalogue: Catalogue) -> bool:
    """True where two compositions show the same: drawings that are alike count as one."""
    if (a.layout, a.background, a.treatment) != (b.layout, b.background, b.treatment):
        return False
    return all(catalogue[x].alike == catalogue[y].alike for x, y in zip(a.keys, b.keys, strict=True))
