"""The inspector: reads a picture back into a scene, without any learned model.

It fits the background, finds connected regions that stand out from it, and explains each region by the object whose
drawing comes nearest. What is fainter than `GHOST` of an object's contrast is no object; it counts as residue.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from components.scenes.explain import Evidence, explain
from components.scenes.options import RADII, SceneOptions
from components.scenes.render import background_ends, pixel_centres, remove_tone, render
from components.scenes.scene import Scene, SceneObject

SEED_CONTRAST = 35.0  # RGB distance from the background at which a region begins to be looked at
EDGE = 0.45  # share of a region's own contrast at which its edge lies
GHOST = 0.5  # share of its expected contrast below which a region is a ghost
UNEXPLAINED = 40.0  # RGB distance between picture and drawing at which a pixel counts as residue


@dataclass(frozen=True)
class Inspection:
    """A scene as read, and how much of the picture it leaves unexplained.

    `residue` is the share of pixels that differ from the scene's own drawing by more than `UNEXPLAINED`; `error` the
    mean absolute difference, 0-255; `ghosts` the number of regions too faint to be objects.
    """

    scene: Scene
    residue: float
    error: float
    ghosts: int


def inspect(image: np.ndarray, options: SceneOptions | None = None, tones: tuple[str, ...] = ("none",)) -> Inspection:
    """Read a picture, uint8 [S, S, 3], with the vocabulary of `options`. Of several `tones` the one that explains it
    best.

    Raises ValueError for another shape or type of array.
    """
    if image.ndim != 3 or image.shape[0] != image.shape[1] or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"inspect takes a square uint8 picture [S, S, 3], not {image.dtype} {list(image.shape)}")
    chosen = options or SceneOptions()
    found = [_inspect(image, remove_tone(image.astype(np.float32), tone), tone, chosen) for tone in tones]
    return min(found, key=lambda inspection: inspection.error)


def _inspect(image: np.ndarray, picture: np.ndarray, tone: str, options: SceneOptions) -> Inspection:
    size = len(picture)
    base = _fit_background(picture)
    name, graded = _name_background(base, options)
    contrast = _length(picture - base)
    evidence = Evidence(picture, base)
    objects: list[SceneObject] = []
    ghosts = 0
    smallest = 0.25 * (min(RADII[s] for s in options.sizes) * size) ** 2
    labels, count = ndimage.label(contrast > SEED_CONTRAST)
    boxes = ndimage.find_objects(labels)
    for index in range(count):
        region = labels[boxes[index]] == index + 1
        if region.sum() < smallest:
            continue
        values = contrast[boxes[index]]
        peak = float(np.percentile(values[region], 90))
        region &= values > EDGE * peak
        # What the sharper edge cuts off is blur or noise; the largest piece is the object.
        pieces, number = ndimage.label(region)
        if number == 0:
            continue
        areas = np.bincount(pieces.reshape(-1))[1:]
        best = int(areas.argmax()) + 1
        if areas[best - 1] < smallest:
            continue
        filled = np.zeros((size, size), bool)
        filled[boxes[index]] = ndimage.binary_fill_holes(pieces == best)
        _, item, strength = explain(evidence, filled, options)
        if strength < GHOST:
            ghosts += 1
        else:
            objects.append(replace(item, x=round(float(item.x), 4), y=round(float(item.y), 4)))
    scene = Scene(tuple(sorted(objects, key=lambda o: (o.y, o.x))), name, graded, tone)
    difference = image.astype(np.float32) - render(scene, size)
    residue = float((_length(difference) > UNEXPLAINED).mean())
    return Inspection(scene, residue, float(np.abs(difference).mean()), ghosts)


def _length(vectors: np.ndarray) -> np.ndarray:
    """Return the lengths [S, S] of the vectors [S, S, 3]."""
    return np.sqrt(np.einsum("yxc,yxc->yx", vectors, vectors))


def _fit_background(picture: np.ndarray) -> np.ndarray:
    """Return the background [S, 1, 3] as a line from top to bottom per channel, fitted to the pixels that lie on it."""
    size = len(picture)
    y = pixel_centres(size)[1][:, 0]
    use = np.zeros((size, size), bool)
    use[[0, -1]] = use[:, [0, -1]] = True
    line = np.zeros((size, 1, 3), np.float32)
    for _ in range(4):
        weights = use.sum(1).astype(np.float32)
        total = weights.sum()
        mean_y = float((weights * y).sum() / total)
        rows = np.einsum("yxc,yx->yc", picture, use.astype(np.float32))
        mean = rows.sum(0) / total
        spread = float((weights * (y - mean_y) ** 2).sum())
        slope = ((y - mean_y)[:, None] * (rows - weights[:, None] * mean)).sum(0) / max(spread, 1e-6)
        line = (mean + (y - mean_y)[:, None] * slope)[:, None, :].astype(np.float32)
        use = _length(picture - line) < 24
        if use.mean() < 0.1:
            break
    return line


def _name_background(base: np.ndarray, options: SceneOptions) -> tuple[str, bool]:
    best = ("", False, float("inf"))
    kinds = [False] if options.graded == 0 else [True] if options.graded == 1 else [False, True]
    for name in options.backgrounds:
        for graded in kinds:
            top, bottom = background_ends(name, graded)
            distance = float(np.abs(base[0, 0] - top).sum() + np.abs(base[-1, 0] - bottom).sum())
            if distance < best[2]:
                best = (name, graded, distance)
    return best[0], best[1]
