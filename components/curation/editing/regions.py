"""Which segments of a picture an edit can use, and what is known of each: place, colour, shape, how it stands out.

How a region is put into words is in naming.py; how it is edited, in region_edits.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from components.curation.editing.base import Floats, Image, Mask
from components.curation.editing.colours import NAMES, name_area, name_areas, name_pixels, to_lab
from components.curation.editing.segmentation import Labels, segment_labels

_VISIBLE_STEP = 6.0  # delta E between neighbours on the smoothed small copy that the eye takes for an edge
_GROUND_SHARE = 0.15  # of the picture: what is large enough to be the ground that something else lies on


@dataclass(frozen=True, eq=False)
class Region:
    """One area of like colour on the small copy [h, w]."""

    mask: Mask  # on the small copy
    share: float  # of the picture, 0..1
    colour: str  # the word for it, "" where no word is safe
    lab: Floats  # median colour [3]
    solidity: float  # area / area of its convex hull, 0..1
    border: float  # share of its own outline that lies on the picture's border, 0..1
    contrast: float  # delta E between its median colour and that of the ring just outside
    edge: float  # share of its outline (off the picture's border) that lies on a visible edge, 0..1


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The small copy of a picture in CIELAB, the colour word of each of its pixels, and its usable regions."""

    lab: Floats  # [h, w, 3]
    names: NDArray[np.uint8]  # [h, w], index into colours.NAMES
    regions: tuple[Region, ...]
    islands: tuple[Region, ...]  # small things that lie wholly inside one large area of like colour


def ring(mask: Mask, width: int, gap: int = 0) -> Mask:
    """The band of `width` pixels that starts `gap` pixels outside `mask` [H, W]."""
    import cv2

    def grown(radius: int) -> Mask:
        window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        return np.asarray(cv2.dilate(mask.astype(np.uint8), window) > 0)

    return grown(width + gap) & ~(grown(gap) if gap else mask)


def outline(mask: Mask) -> tuple[float, float]:
    """Solidity of an area [h, w], and the share of its outline on the picture's border."""
    import cv2

    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = np.concatenate([contour[:, 0] for contour in contours])
    hull = float(cv2.contourArea(cv2.convexHull(points)))
    # A hull runs through pixel centres; half the perimeter makes it comparable to a count of pixels.
    solidity = float(mask.sum()) / max(hull + 0.5 * float(cv2.arcLength(cv2.convexHull(points), True)) + 1.0, 1.0)
    height, width = mask.shape
    on_border = (points[:, 0] == 0) | (points[:, 0] == width - 1) | (points[:, 1] == 0) | (points[:, 1] == height - 1)
    return min(solidity, 1.0), float(on_border.mean())


@dataclass(frozen=True, eq=False)
class SmallCopy:
    """A small copy in CIELAB [h, w, 3], and what is asked of each of its pixels many times."""

    lab: Floats

    @cached_property
    def names(self) -> NDArray[np.uint8]:
        """The colour word of each pixel [h, w], index into colours.NAMES."""
        return name_pixels(self.lab)

    @cached_property
    def steps(self) -> Floats:
        """The largest colour difference between neighbours within a pixel of each pixel [h, w], in delta E."""
        import cv2

        lab = self.lab
        steps = np.zeros(lab.shape[:2], np.float32)
        steps[:, :-1] = np.linalg.norm(lab[:, 1:] - lab[:, :-1], axis=-1)
        steps[:-1] = np.maximum(steps[:-1], np.linalg.norm(lab[1:] - lab[:-1], axis=-1))
        return np.asarray(cv2.dilate(steps, np.ones((3, 3), np.uint8)), np.float32)


def _tidy(mask: Mask) -> Mask:
    """Its largest piece with specks cut off and small holes closed."""
    import cv2

    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    padded = np.pad(mask.astype(np.uint8), 2, mode="edge")
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, window)[2:-2, 2:-2]
    _, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    if len(stats) < 2:
        return np.zeros_like(mask)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    piece = labels == largest
    # Holes smaller than a tenth of the piece belong to it (a button on a shirt); larger ones are other things.
    holes, hole_labels, hole_stats, _ = cv2.connectedComponentsWithStats((~piece).astype(np.uint8), connectivity=8)
    height, width = mask.shape
    for index in range(1, holes):
        x, y, w, h, area = (int(value) for value in hole_stats[index])
        inside = x > 0 and y > 0 and x + w < width and y + h < height
        if inside and area < 0.03 * piece.sum():
            piece |= hole_labels == index
    return np.asarray(piece)


def _enclosed(ground: Mask, min_share: float) -> list[Mask]:
    """The pieces [h, w] that `ground` surrounds on every side, without specks."""
    import cv2

    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    rest = cv2.morphologyEx((~ground).astype(np.uint8), cv2.MORPH_CLOSE, window)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(rest, connectivity=8)
    height, width = ground.shape
    pieces = []
    for index in range(1, count):
        x, y, w, h, area = (int(value) for value in stats[index])
        if area >= min_share * ground.size and x > 0 and y > 0 and x + w < width and y + h < height:
            pieces.append(np.asarray(labels == index))
    return pieces


def describe(mask: Mask, small: SmallCopy) -> Region:
    """What is known of the area `mask` [h, w] of a picture."""
    lab = small.lab
    solidity, border = outline(mask)
    around = ring(mask, 3)
    median = np.median(lab[mask], axis=0).astype(np.float32)
    contrast = float(np.linalg.norm(median - np.median(lab[around], axis=0))) if around.any() else 0.0
    rim = ring(mask, 1)
    edge = float((small.steps[rim] >= _VISIBLE_STEP).mean()) if rim.any() else 1.0
    colour = name_area(lab[mask], small.names[mask])
    return Region(mask, float(mask.mean()), colour, median, solidity, border, contrast, edge)


def _join_same_colour(labels: Labels, small: SmallCopy) -> Labels:
    """Join touching segments that have the same colour word: the lit and the shaded part of one blue wall."""
    import cv2

    words = name_areas(labels, small.lab, small.names)
    joined = labels + len(NAMES) * labels.size
    for word in sorted(set(words) - {""}):
        mask = np.isin(labels, [label for label, other in enumerate(words) if other == word])
        _, pieces = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
        joined = np.where(mask, NAMES.index(word) * labels.size + pieces, joined)
    return np.unique(joined, return_inverse=True)[1].reshape(labels.shape).astype(np.int32)


def segment(rgb: Image, min_share: float = 0.0015, max_share: float = 0.7) -> Segmentation:
    """Find the regions of a picture, largest first; those outside the shares (of the picture's area) are left out."""
    labels, smooth = segment_labels(rgb)
    small = SmallCopy(to_lab(smooth))
    labels = _join_same_colour(labels, small)
    found: list[Region] = []
    islands: list[Region] = []
    counts = np.bincount(labels.ravel())
    for label in np.argsort(-counts, kind="stable"):
        if counts[label] < min_share * labels.size:
            break
        if counts[label] >= _GROUND_SHARE * labels.size:
            islands += [describe(mask, small) for mask in _enclosed(labels == label, min_share)]
        mask = _tidy(labels == label)
        if min_share <= mask.mean() <= max_share:
            found.append(describe(mask, small))
    return Segmentation(small.lab, small.names, tuple(found), tuple(islands))
