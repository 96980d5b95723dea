"""Explaining a region of a picture by the object whose drawing comes nearest. Finding regions stands in `inspect.py`.

Many candidates share one window of the picture: their errors under every colour come from one matrix product.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from components.scenes.options import COLOURS, EXTENT, RADII, SceneOptions, stripe_colour
from components.scenes.render import fill_coverage, pixel_centres, signed_distance
from components.scenes.scene import SceneObject

# Rows: luminance, and two colour differences, orthonormal, so that errors add up as in RGB.
OPPONENT = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]], np.float32) / np.sqrt(np.array([[3], [2], [6]], np.float32))
# A strength each for luminance and chroma, and the least that a drawing may have.
PARTS = ((slice(0, 1), 0.55), (slice(1, 3), 0.35))
CLOSE = 0.5  # a reading this much better than the next, as a ratio of errors, needs no second reading
LIKELY = 0.75  # overlap with the region, as a share of the best one's, below which a shape is not tried
SHIFT = 0.6  # how far a reading is moved to see whether it explains more, pixels

Reading = tuple[float, SceneObject, float]  # (error, object, its contrast as a share of what is expected)


class Evidence:
    """A picture against its background, as the products that the errors of drawings are made of.

    `features` [S, S, 13] holds per pixel: seen - ground, ground, ground squared, ground * (seen - ground), and 1, with
    colours in opponent space and relative to `origin`, so that sums of squares stay small enough for float32.
    """

    def __init__(self, picture: np.ndarray, base: np.ndarray) -> None:
        self.size = len(picture)
        self.origin = base.mean((0, 1)) @ OPPONENT.T
        ground = base @ OPPONENT.T - self.origin
        seen = (picture - base) @ OPPONENT.T
        self.features = np.empty((self.size, self.size, 13), np.float32)
        self.features[..., 0:3] = seen
        self.features[..., 3:6] = ground
        self.features[..., 6:9] = ground**2
        self.features[..., 9:12] = ground * seen
        self.features[..., 12] = 1


@functools.cache
def _palette(colours: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the colours and their stripes' colours in opponent space, [C, 3] each."""
    values = np.array([COLOURS[c] for c in colours], np.float32)
    alternates = np.array([stripe_colour(COLOURS[c]) for c in colours], np.float32)
    return values @ OPPONENT.T, alternates @ OPPONENT.T


def explain(evidence: Evidence, filled: np.ndarray, options: SceneOptions) -> Reading:
    """Return the best reading of a region, bool [S, S] with its holes filled."""
    size = evidence.size
    rows, columns = np.flatnonzero(filled.any(1)), np.flatnonzero(filled.any(0))
    cx, cy = (columns[0] + columns[-1] + 1) / 2 / size, (rows[0] + rows[-1] + 1) / 2 / size
    window = _window(cx, cy, 1.15 * max(RADII.values()) * EXTENT, size)
    px, py = pixel_centres(size)
    px, py, area = px[:, window[1]], py[window[0]], filled[window]
    radii = np.array([RADII[name] for name in options.sizes], np.float32)[:, None, None]
    fitted = []
    for shape in options.shapes:
        # A triangle's centre is not the centre of its bounding box.
        lift = 0.125 if shape == "triangle" else 0.0
        inside = signed_distance(shape, px - np.float32(cx), py - np.float32(cy) - lift * radii, radii) < 0
        overlaps = (inside & area).sum((1, 2)) / (inside | area).sum((1, 2))
        fitted += [
            (float(overlap), shape, name, cx, cy + lift * RADII[name])
            for overlap, name in zip(overlaps, options.sizes, strict=True)
        ]
    fitted.sort(reverse=True)
    tried: list[Reading] = []
    best = fitted[0][0]  # 0 where no shape overlaps the region at all: then the three are as likely as each other
    likely = [fit for fit in fitted[:3] if not best or fit[0] > LIKELY * best]
    for _, shape, name, x, y in likely:
        tried += _readings(evidence, shape, name, options.fills, (x,), (y,), options.colours)
    tried.sort(key=lambda reading: reading[0])
    close = [reading for reading in tried if tried[0][0] > CLOSE * reading[0]][:4]
    if len(close) > 1:
        # Half a pixel of misplacement may decide between close readings, so each is put in its best place.
        tried = sorted((_align(evidence, reading, options.colours) for reading in close), key=lambda r: r[0])
    return tried[0]


def _window(x: float, y: float, reach: float, size: int) -> tuple[slice, slice]:
    """Return the rows and columns of the pixels within `reach` of a centre."""
    return (
        slice(max(0, int((y - reach) * size)), int((y + reach) * size) + 1),
        slice(max(0, int((x - reach) * size)), int((x + reach) * size) + 1),
    )


def _align(evidence: Evidence, reading: Reading, colours: tuple[str, ...]) -> Reading:
    """Return the reading moved by up to a pixel to where it explains the picture best."""
    item, step = reading[1], SHIFT / evidence.size
    xs = [item.x + dx * step for dx in (-1, 0, 1) for _ in range(3)]
    ys = [item.y + dy * step for _ in range(3) for dy in (-1, 0, 1)]
    moved = _readings(evidence, item.shape, item.size, (item.fill,), xs, ys, colours)
    return min(moved, key=lambda r: r[0])


def _readings(
    evidence: Evidence,
    shape: str,
    size_name: str,
    fills: tuple[str, ...],
    xs: Sequence[float],
    ys: Sequence[float],
    colours: tuple[str, ...],
) -> list[Reading]:
    """Return, for each fill at each place, the reading with the colour that explains the picture best.

    Luminance and chroma have a free strength each: blur takes contrast from thin lines, and chroma subsampling takes
    more of the chroma, without turning the hue.
    """
    size, radius = evidence.size, RADII[size_name]
    middle = len(xs) // 2
    window = _window(xs[middle], ys[middle], radius * EXTENT + 2 / size, size)
    px, py = pixel_centres(size)
    x = px[:, window[1]][None] - np.array(xs, np.float32)[:, None, None]
    y = py[window[0]][None] - np.array(ys, np.float32)[:, None, None]
    distance = signed_distance(shape, x, y, radius)
    covers = [fill_coverage(fill, distance, y, size) for fill in fills]
    own = np.concatenate([cover[0] for cover in covers]).reshape(len(fills) * len(xs), -1)
    second = np.concatenate([cover[1] for cover in covers]).reshape(len(own), -1)
    errors, strengths = _errors(evidence, own, second, evidence.features[window].reshape(-1, 13), colours)
    found = []
    for index, colour in enumerate(errors.argmin(1)):
        place = index % len(xs)
        item = SceneObject(shape, colours[colour], size_name, fills[index // len(xs)], xs[place], ys[place])
        found.append((float(errors[index, colour]), item, float(strengths[index, colour])))
    return found


def _errors(
    evidence: Evidence, own: np.ndarray, second: np.ndarray, features: np.ndarray, colours: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the squared errors and the strengths of K drawings in C colours, [K, C] each; `own`, `second` are [K, N].

    A drawing is own * (colour - ground) + second * (stripe - ground). It is never built: only its products are needed.
    """
    count = len(own)
    both = own + second
    sums = np.concatenate([own, second, own * both, second * both]) @ features
    of_own, of_second, own_both, second_both = (sums[i * count : (i + 1) * count, None] for i in range(4))
    ss = np.einsum("kn,kn->k", second, second)[:, None, None]
    os = second_both[..., 12:] - ss
    oo = own_both[..., 12:] - os
    values, alternates = (table - evidence.origin for table in _palette(colours))
    overlap = values * of_own[..., 0:3] + alternates * of_second[..., 0:3] - (of_own + of_second)[..., 9:12]
    energy = values**2 * oo + 2 * values * alternates * os + alternates**2 * ss
    energy += (own_both + second_both)[..., 6:9] - 2 * (
        values * own_both[..., 3:6] + alternates * second_both[..., 3:6]
    )
    power = np.einsum("nf,nf->f", features[:, 0:3], features[:, 0:3])
    total = energy.sum(-1)
    errors = np.full(total.shape, power.sum(), np.float64)
    strengths = np.zeros_like(errors)
    for part, least in PARTS:
        e, o = energy[..., part].sum(-1) + 1e-6, overlap[..., part].sum(-1)
        strength = np.clip(o / e, 0.0, 1.1)
        free = np.maximum(strength, least)
        errors += free * (free * e - 2 * o)
        strengths = np.maximum(strengths, np.where(e > 0.05 * total, strength, 0.0))
    return errors, strengths
