"""Cutting the main object out of a photo without a learned model, and only where the cut can be trusted.

GrabCut from two independent starts (colours unlike the border's; a box): where both end on the same outline, the object
is well separated. Pasting a cut-out is in paste_edits.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.curation.editing.base import Floats, Image, Mask
from components.curation.editing.colours import name_area, to_lab
from components.curation.editing.matting import soft_outline
from components.curation.editing.regions import outline, ring

_LONG_SIDE = 160
_MIN_SHARE, _MAX_SHARE = 0.03, 0.5  # of the picture
_MIN_AGREEMENT = 0.85  # intersection over union of the two starts' outcomes
_ROUNDS = 2  # of GrabCut: more move an outline by less than 2 % of its area, and take as long again
_MIN_WHOLE = 0.5  # share of the largest piece in the colour start; GrabCut makes no trusted object of a scattered one
_MIN_KEPT = 0.65  # intersection over union of the colour start and its own outcome
_MIN_SOLIDITY = 0.62
_MAX_BORDER = 0.02  # share of the outline on the picture's border: a cut-off object cannot be pasted elsewhere
_MIN_RIM_CONTRAST = 12.0  # delta E across the outline, as the lower quartile along it


@dataclass(frozen=True, eq=False)
class CutOut:
    """One object, cropped to its box: `rgb` uint8 [h, w, 3], `alpha` float32 [h, w], `colour` its word or "".

    `full_alpha` [H, W] is the same outline in the whole photo.
    """

    rgb: Image
    alpha: Floats
    colour: str
    full_alpha: Floats


def _unlike_border(lab: Floats) -> Mask:
    """Pixels whose colour is far from all the main colours along the border."""
    import cv2

    height, width = lab.shape[:2]
    edge = max(2, round(0.05 * min(height, width)))
    strip = np.ones((height, width), np.bool_)
    strip[edge:-edge, edge:-edge] = False
    samples = np.ascontiguousarray(lab[strip], np.float32)
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    centres = cv2.kmeans(samples, 4, None, stop, 2, cv2.KMEANS_PP_CENTERS)[2]  # type: ignore[call-overload]
    distance = np.min(np.linalg.norm(lab[:, :, None] - centres[None, None], axis=-1), axis=-1)
    rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    weighted = distance * np.exp(-(rows**2 + columns**2) / 1.5)
    levels = np.clip(weighted * 3.0, 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return np.asarray(levels > threshold)


def _grab(small: Image, start: Mask) -> Mask:
    """GrabCut's foreground from a probable one; a thin border is always background."""
    import cv2

    mask = np.where(start, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    mask[:2], mask[-2:], mask[:, :2], mask[:, -2:] = (cv2.GC_BGD,) * 4
    background, foreground = np.zeros((1, 65), np.float64), np.zeros((1, 65), np.float64)
    cv2.setRNGSeed(0)  # GrabCut draws its first colour clusters from OpenCV's global generator
    cv2.grabCut(small, mask, (0, 0, 1, 1), background, foreground, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    return (mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)


def _main_piece(mask: Mask) -> Mask:
    """The largest connected piece with its small holes closed, or nothing where it is not dominant or not whole."""
    import cv2

    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if not len(areas) or areas.max() < 0.85 * areas.sum():
        return np.zeros_like(mask)
    piece = labels == 1 + int(np.argmax(areas))
    _, holes, hole_stats, _ = cv2.connectedComponentsWithStats((~piece).astype(np.uint8), connectivity=8)
    area = hole_stats[:, cv2.CC_STAT_AREA].copy()
    area[0] = 0  # the piece itself
    outer = int(np.argmax(area))
    inner = [index for index in range(1, len(area)) if index != outer]
    # A small hole is an eye or a mouth that looks like the background. A large one is as likely a mistake as a handle.
    if any(area[index] >= 0.04 * piece.sum() for index in inner):
        return np.zeros_like(mask)
    return np.asarray(piece | np.isin(holes, inner))


def _largest_share(mask: Mask) -> float:
    """How much of a mask, less its specks, is its largest piece."""
    import cv2

    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    areas = stats[1:, cv2.CC_STAT_AREA]
    return float(areas.max() / areas.sum()) if len(areas) else 0.0


def _rim_contrast(mask: Mask, lab: Floats) -> float:
    """Lower quartile, along the outline, of the colour difference between just inside and just outside."""
    import cv2

    inside = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    outside = ~mask & ~ring(mask, 1)

    def mean_near(where: Mask) -> tuple[Floats, Floats]:
        weight = cv2.boxFilter(where.astype(np.float32), -1, (7, 7), normalize=False)
        total = cv2.boxFilter(lab * where[..., None].astype(np.float32), -1, (7, 7), normalize=False)
        mean = total / np.maximum(weight, 1.0)[..., None]
        return np.asarray(mean, np.float32), np.asarray(weight, np.float32)

    (inner, inner_weight), (outer, outer_weight) = mean_near(inside), mean_near(outside)
    rim = mask & ~inside & (inner_weight > 2) & (outer_weight > 2)
    if not rim.any():
        return 0.0
    return float(np.percentile(np.linalg.norm(inner[rim] - outer[rim], axis=-1), 25))


def find_object(rgb: Image) -> Mask | None:
    """The main object on a small copy [h, w] of the picture, or None where the cut cannot be trusted."""
    import cv2

    height, width = rgb.shape[:2]
    scale = min(1.0, _LONG_SIDE / max(height, width))
    size = (round(width * scale), round(height * scale))
    small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    lab = to_lab(small)
    start = _unlike_border(lab)
    if not _MIN_SHARE / 2 <= start.mean() <= 0.8 or _largest_share(start) < _MIN_WHOLE:
        return None
    box = np.zeros_like(start)
    margin_y, margin_x = round(0.1 * size[1]), round(0.1 * size[0])
    box[margin_y:-margin_y, margin_x:-margin_x] = True
    first = _main_piece(_grab(small, start))
    if not _MIN_SHARE <= first.mean() <= _MAX_SHARE:
        return None
    solidity, border = outline(first)
    if solidity < _MIN_SOLIDITY or border > _MAX_BORDER or _rim_contrast(first, lab) < _MIN_RIM_CONTRAST:
        return None
    if (first & start).sum() < _MIN_KEPT * (first | start).sum():
        return None
    second = _main_piece(_grab(small, box))
    if (first & second).sum() < _MIN_AGREEMENT * (first | second).sum():
        return None
    near_border = first[:3].any() or first[-3:].any() or first[:, :3].any() or first[:, -3:].any()
    return None if near_border else first


def cut_out(rgb: Image) -> CutOut | None:
    """The main object of a photo, or None where it is cut off, unclear, or cannot be told from its background."""
    rough = find_object(rgb)
    if rough is None:
        return None
    alpha = soft_outline(rgb, rough)
    solid = alpha > 0.5
    if not solid.any():
        return None
    rows, columns = np.nonzero(alpha.any(axis=1))[0], np.nonzero(alpha.any(axis=0))[0]
    box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    colour = name_area(to_lab(rgb)[solid], share=0.5)
    return CutOut(np.ascontiguousarray(rgb[box]), np.ascontiguousarray(alpha[box]), colour, alpha)
