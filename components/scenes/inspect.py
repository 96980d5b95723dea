"""The inspector: reads a picture back into a scene, without any learned model.

It fits the background, finds connected regions that stand out from it, and explains each region by the object whose
drawing comes nearest. What is fainter than `GHOST` of an object's contrast is no object; it counts as residue.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from components.scenes.options import COLOURS, EXTENT, RADII, SceneOptions, stripe_colour
from components.scenes.render import background_ends, coverage, pixel_centres, remove_tone, render, signed_distance
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
    """Read a picture, uint8 [S, S, 3], with the vocabulary of `options`. Of several `tones` the one that explains it best.

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
    contrast = np.sqrt(((picture - base) ** 2).sum(-1))
    objects: list[SceneObject] = []
    ghosts = 0
    smallest = 0.25 * (min(RADII[s] for s in options.sizes) * size) ** 2
    labels, count = ndimage.label(contrast > SEED_CONTRAST)
    boxes = ndimage.find_objects(labels)
    for index in range(count):
        region = labels[boxes[index]] == index + 1
        values = contrast[boxes[index]]
        peak = float(np.percentile(values[region], 90))
        region &= values > EDGE * peak
        # What the sharper edge cuts off is blur or noise; the largest piece is the object.
        pieces, number = ndimage.label(region)
        if number == 0:
            continue
        areas = ndimage.sum_labels(region, pieces, np.arange(1, number + 1))
        best = int(np.argmax(areas)) + 1
        if areas[best - 1] < smallest:
            continue
        top, left = boxes[index][0].start, boxes[index][1].start
        item, strength = _explain(picture, base, pieces == best, top, left, options)
        if strength < GHOST:
            ghosts += 1
        else:
            objects.append(item)
    scene = Scene(tuple(sorted(objects, key=lambda o: (o.y, o.x))), name, graded, tone)
    difference = image.astype(np.float32) - render(scene, size)
    residue = float((np.sqrt((difference**2).sum(-1)) > UNEXPLAINED).mean())
    return Inspection(scene, residue, float(np.abs(difference).mean()), ghosts)


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
        rows = (picture * use[..., None]).sum(1)
        mean = rows.sum(0) / total
        spread = float((weights * (y - mean_y) ** 2).sum())
        slope = ((y - mean_y)[:, None] * (rows - weights[:, None] * mean)).sum(0) / max(spread, 1e-6)
        line = (mean + (y - mean_y)[:, None] * slope)[:, None, :].astype(np.float32)
        use = np.sqrt(((picture - line) ** 2).sum(-1)) < 24
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


@functools.cache
def _middle(shape: str) -> tuple[float, float]:
    """Return how far the centre of a shape's bounding box lies from its own centre, in radii."""
    return (0.0, -0.1) if shape == "triangle" else (0.0, 0.0)


def _explain(
    picture: np.ndarray, base: np.ndarray, region: np.ndarray, top: int, left: int, options: SceneOptions
) -> tuple[SceneObject, float]:
    """Return the object whose drawing comes nearest to a region, and its contrast as a share of what is expected."""
    size = len(picture)
    filled = np.zeros((size, size), bool)
    height, width = region.shape
    filled[top : top + height, left : left + width] = ndimage.binary_fill_holes(region)
    rows, columns = np.flatnonzero(filled.any(1)), np.flatnonzero(filled.any(0))
    cx, cy = (columns[0] + columns[-1] + 1) / 2 / size, (rows[0] + rows[-1] + 1) / 2 / size
    px, py = pixel_centres(size)
    fitted = []
    for shape in options.shapes:
        for name in options.sizes:
            mx, my = _middle(shape)
            x, y = cx - mx * RADII[name], cy - my * RADII[name]
            inside = signed_distance(shape, px - x, py - y, RADII[name]) < 0
            overlap = (inside & filled).sum() / (inside | filled).sum()
            fitted.append((float(overlap), shape, name, x, y))
    fitted.sort(reverse=True)
    best: tuple[float, SceneObject, float] | None = None
    for _, shape, name, x, y in fitted[:3]:
        reach = RADII[name] * EXTENT * 1.2
        window = np.s_[max(0, int((y - reach) * size)) : int((y + reach) * size) + 2, max(0, int((x - reach) * size)) : int((x + reach) * size) + 2]
        for fill in options.fills:
            item = SceneObject(shape, options.colours[0], name, fill, round(x, 4), round(y, 4))
            error, colour, strength = _best_colour(picture, base, item, window, size, options.colours)
            if best is None or error < best[0]:
                best = (error, replace(item, colour=colour), strength)
    assert best is not None
    return best[1], best[2]


def _best_colour(
    picture: np.ndarray, base: np.ndarray, item: SceneObject, window: tuple[slice, slice], size: int, colours: tuple[str, ...]
) -> tuple[float, str, float]:
    """Return (error, colour, strength) of the colour that explains a window best.

    The strength is free, since blur and chroma subsampling take contrast from thin lines without turning their hue.
    """
    own, second = (part[window].reshape(-1, 1) for part in coverage(item, size))
    ground = np.broadcast_to(base[window[0]], (*picture[window].shape[:2], 3)).reshape(-1, 3)
    seen = picture[window].reshape(-1, 3) - ground
    power = float((seen**2).sum())
    values = np.array([COLOURS[c] for c in colours], np.float32)
    alternates = np.array([stripe_colour(COLOURS[c]) for c in colours], np.float32)
    # drawn[c] = own * (colour - ground) + second * (alternate - ground), for all colours at once.
    drawn = own[None] * (values[:, None] - ground[None]) + second[None] * (alternates[:, None] - ground[None])
    energy = (drawn**2).sum((1, 2)) + 1e-6
    strength = np.clip((drawn * seen[None]).sum((1, 2)) / energy, 0.0, 1.1)
    free = np.maximum(strength, 0.55)
    error = power - 2 * free * (drawn * seen[None]).sum((1, 2)) + free**2 * energy
    index = int(np.argmin(error))
    return float(error[index]), colours[index], float(strength[index])
