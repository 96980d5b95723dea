"""Drawing: scenes to anti-aliased pictures by signed distances, vectorised over pixels. No imaging library."""

from __future__ import annotations

import functools

import numpy as np

from components.scenes.options import BACKGROUNDS, COLOURS, stripe_colour
from components.scenes.scene import TONES, Scene, SceneObject

OUTLINE = 0.036  # width of an outline, share of the side
STRIPE = 0.045  # width of one stripe, share of the side


@functools.lru_cache(maxsize=8)
def pixel_centres(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x [1, S] and y [S, 1] of the pixels' centres, as shares of the side."""
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size
    return centres[None, :], centres[:, None]


def signed_distance(shape: str, x: np.ndarray, y: np.ndarray, radius: float | np.ndarray) -> np.ndarray:
    """Return the distance from a shape's edge, negative inside; `x`, `y` are relative to its centre."""
    if shape == "circle":
        return np.hypot(x, y) - radius
    if shape == "square":
        return np.maximum(np.abs(x), np.abs(y)) - 0.88 * radius
    if shape == "diamond":
        return (np.abs(x) + np.abs(y) - 1.15 * radius) * np.float32(0.70710678)
    assert shape == "triangle", shape
    # Apex at (0, -1.1 r), base from (-1.1 r, 0.85 r) to (1.1 r, 0.85 r); (nx, ny) is normal to its right slope.
    nx, ny = 1.95 / np.hypot(1.95, 1.1), -1.1 / np.hypot(1.95, 1.1)
    return np.maximum(np.abs(x) * nx + (y + 1.1 * radius) * ny, y - 0.85 * radius)


def coverage(item: SceneObject, size: int, window: tuple[slice, slice] = np.s_[:, :]) -> tuple[np.ndarray, np.ndarray]:
    """Return how much of each pixel [S, S] the object's own colour and its stripe colour cover, each 0-1.

    `window` (rows, columns) asks for a part of the picture only.
    """
    px, py = pixel_centres(size)
    x, y = px[:, window[1]] - np.float32(item.x), py[window[0]] - np.float32(item.y)
    distance = signed_distance(item.shape, x, y, item.radius)
    return fill_coverage(item.fill, distance, y, size)


def fill_coverage(fill: str, distance: np.ndarray, y: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `coverage` from signed distances [..., S, S] and heights above the centre [..., S, 1]; leading axes go
    along.
    """
    covered = np.clip(0.5 - distance * size, 0, 1)
    if fill == "outlined":
        return covered * np.clip(0.5 + (distance + OUTLINE) * size, 0, 1), np.zeros_like(covered)
    if fill == "striped":
        # A triangle wave whose zeros are the stripes' edges, sharp to one pixel.
        wave = np.abs((y / (2 * STRIPE)) % 1 - 0.5) - 0.25
        second = np.clip(0.5 + wave * 2 * STRIPE * size, 0, 1) * covered
        return covered - second, second
    return covered, np.zeros_like(covered)


def background_ends(background: str, graded: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the background's colours at the top and at the bottom, float [3]."""
    top = np.array(BACKGROUNDS[background], np.float32)
    if not graded:
        return top, top
    return top, top + 50 if background == "black" else top * 0.75


def background_picture(background: str, graded: bool, size: int) -> np.ndarray:
    """Return a background as float [S, S, 3]."""
    top, bottom = background_ends(background, graded)
    column = top + pixel_centres(size)[1][..., None] * (bottom - top)
    return np.broadcast_to(column, (size, size, 3)).astype(np.float32)


def apply_tone(picture: np.ndarray, tone: str) -> np.ndarray:
    """Return a float picture [..., 3] of 0-255 values under a global tone."""
    scale, offset = TONES[tone]
    return picture * np.array(scale, np.float32) + np.array(offset, np.float32)


def remove_tone(picture: np.ndarray, tone: str) -> np.ndarray:
    """Undo `apply_tone`."""
    scale, offset = TONES[tone]
    return (picture - np.array(offset, np.float32)) / np.array(scale, np.float32)


def render(scene: Scene, size: int = 64) -> np.ndarray:
    """Return the scene's picture, uint8 [S, S, 3]. The same scene gives the same bytes."""
    picture = background_picture(scene.background, scene.graded, size)
    for item in scene.objects:
        own, second = coverage(item, size)
        colour = np.array(COLOURS[item.colour], np.float32)
        alternate = np.array(stripe_colour(COLOURS[item.colour]), np.float32)
        picture = picture * (1 - own - second)[..., None] + own[..., None] * colour + second[..., None] * alternate
    return np.clip(np.rint(apply_tone(picture, scene.tone)), 0, 255).astype(np.uint8)
