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
    return (0.0, -0.125) if shape == "triangle" else (0.0, 0.0)


def _explain(
    picture: np.ndarray, base: np.ndarray, region: np.ndarray, top: int, left: int, options: SceneOptions
) -> tuple[SceneObject, float]:
    """Return the object whose drawing comes nearest to a region, and its contrast as a share of what is expected."""
    size = len(picture)
    height, width = region.shape
    filled = np.zeros((size, size), bool)
    filled[top : top + height, left : left + width] = ndimage.binary_fill_holes(region)
    rows, columns = np.flatnonzero(filled.any(1)), np.flatnonzero(filled.any(0))
    cx, cy = (columns[0] + columns[-1] + 1) / 2 / size, (rows[0] + rows[-1] + 1) / 2 / size
    reach = int(max(RADII.values()) * EXTENT * size) + 2
    part = np.s_[
        max(0, int(cy * size) - reach) : int(cy * size) + reach, max(0, int(cx * size) - reach) : int(cx * size) + reach
    ]
    px, py = pixel_centres(size)
    px, py, area = px[:, part[1]], py[part[0]], filled[part]
    fitted = []
    for shape in options.shapes:
        for name in options.sizes:
            mx, my = _middle(shape)
            x, y = cx - mx * RADII[name], cy - my * RADII[name]
            inside = signed_distance(shape, px - x, py - y, RADII[name]) < 0
            overlap = (inside & area).sum() / (inside | area).sum()
            fitted.append((float(overlap), shape, name, x, y))
    fitted.sort(reverse=True)
    tried = [
        _best_colour(picture, base, SceneObject(shape, "red", name, fill, float(x), float(y)), options.colours)
        for _, shape, name, x, y in fitted[:3]
        for fill in options.fills
    ]
    tried.sort(key=lambda t: t[0])
    if len(tried) > 1 and tried[0][0] > 0.5 * tried[1][0]:
        # Two readings come close: half a pixel of misplacement may decide between them, so each is put in its best place.
        tried = sorted((_align(picture, base, t, options.colours) for t in tried[:4]), key=lambda t: t[0])
    _, item, strength = tried[0]
    return replace(item, x=round(item.x, 4), y=round(item.y, 4)), strength


Reading = tuple[float, SceneObject, float]


def _align(picture: np.ndarray, base: np.ndarray, reading: Reading, colours: tuple[str, ...]) -> Reading:
    """Return the reading moved by up to a pixel to where it explains the picture best."""
    step = 0.6 / len(picture)
    moved = [
        _best_colour(
            picture, base, replace(reading[1], x=reading[1].x + dx * step, y=reading[1].y + dy * step), colours
        )
        for dx in (-1, 0, 1)
        for dy in (-1, 0, 1)
    ]
    return min(moved, key=lambda t: t[0])


# Rows: luminance, and two colour differences, orthonormal, so that errors add up as in RGB.
OPPONENT = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]], np.float32) / np.sqrt(np.array([[3], [2], [6]], np.float32))


@functools.cache
def _palette(colours: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    values = np.array([COLOURS[c] for c in colours], np.float32)
    alternates = np.array([stripe_colour(COLOURS[c]) for c in colours], np.float32)
    return values @ OPPONENT.T, alternates @ OPPONENT.T


def _best_colour(picture: np.ndarray, base: np.ndarray, item: SceneObject, colours: tuple[str, ...]) -> Reading:
    """Return (error, object with the colour that explains its window best, strength).

    Luminance and chroma have a free strength each: blur takes contrast from thin lines, and chroma subsampling takes
    more of the chroma, without turning the hue.
    """
    size = len(picture)
    reach = item.radius * EXTENT + 2 / size
    window = (
        slice(max(0, int((item.y - reach) * size)), int((item.y + reach) * size) + 1),
        slice(max(0, int((item.x - reach) * size)), int((item.x + reach) * size) + 1),
    )
    own, second = (part.reshape(-1) for part in coverage(item, size, window))
    seen_picture = picture[window]
    ground = np.broadcast_to(base[window[0]], seen_picture.shape).reshape(-1, 3) @ OPPONENT.T
    seen = seen_picture.reshape(-1, 3) @ OPPONENT.T - ground
    values, alternates = _palette(colours)
    # drawn[c] = own * (value[c] - ground) + second * (alternate[c] - ground), never built: only its products are needed.
    both = own + second
    dots = np.stack([own @ seen, second @ seen])
    grounded = (both[:, None] * ground * seen).sum(0)
    overlap = values * dots[0] + alternates * dots[1] - grounded
    oo, os, ss = float(own @ own), float(own @ second), float(second @ second)
    og, sg = (own * both) @ ground, (second * both) @ ground
    gg = ((both[:, None] * ground) ** 2).sum(0)
    energy = (
        values**2 * oo + 2 * values * alternates * os + alternates**2 * ss - 2 * (values * og + alternates * sg) + gg
    )
    power = (seen**2).sum(0)
    error = np.zeros(len(colours))
    strengths = []
    total = energy.sum(1)
    for part, least in ((slice(0, 1), 0.55), (slice(1, 3), 0.35)):
        e, o = energy[:, part].sum(1) + 1e-6, overlap[:, part].sum(1)
        strength = np.clip(o / e, 0.0, 1.1)
        free = np.maximum(strength, least)
        error += power[part].sum() - 2 * free * o + free**2 * e
        strengths.append(np.where(e > 0.05 * total, strength, 0.0))
    index = int(np.argmin(error))
    return float(error[index]), replace(item, colour=colours[index]), float(max(s[index] for s in strengths))
