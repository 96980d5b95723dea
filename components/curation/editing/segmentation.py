"""Splitting a picture into areas of like colour, without a learned model.

Graph-based segmentation (Felzenszwalb and Huttenlocher, 2004) of a small smoothed copy, then neighbouring segments of
like colour merged. Whether an area is of any use to an edit is for regions.py to say.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from components.curation.editing.base import Floats, Image
from components.curation.editing.colours import to_lab

Labels = NDArray[np.int32]  # [h, w], segments numbered from 0 in reading order


def smooth_small(rgb: Image, long_side: int) -> Image:
    """A copy no longer than `long_side` pixels with texture flattened and edges kept."""
    import cv2

    height, width = rgb.shape[:2]
    scale = min(1.0, long_side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.pyrMeanShiftFiltering(small, 5, 14), dtype=np.uint8)


def _renumber(roots: NDArray[np.int64], shape: tuple[int, int]) -> Labels:
    """Labels counted from 0 in reading order of each segment's first pixel."""
    _, first_seen, inverse = np.unique(roots, return_index=True, return_inverse=True)
    rank = np.empty(len(first_seen), np.int32)
    rank[np.argsort(first_seen)] = np.arange(len(first_seen), dtype=np.int32)
    return rank[inverse.ravel()].reshape(shape)


def graph_segments(lab: Floats, scale: float = 60.0, min_size: int = 20) -> Labels:
    """Felzenszwalb segments of `lab` [h, w, 3]; a larger `scale` gives larger ones; none is under `min_size`."""
    from skimage.segmentation import felzenszwalb

    # scikit-image divides the scale by 255, whatever the values' range; the copy is smooth already, so sigma is 0.
    found = felzenszwalb(lab, scale=255 * scale, sigma=0, min_size=min_size, channel_axis=-1)
    return _renumber(found.ravel(), (lab.shape[0], lab.shape[1]))


def merge_alike(labels: Labels, lab: Floats, threshold: float) -> Labels:
    """Merge neighbouring segments, most alike first, while their mean colours differ by less than `threshold`.

    Lightness counts half, so that a shaded side stays with the lit side of the same thing.
    """
    weights = np.array([0.5, 1.0, 1.0])
    count = int(labels.max()) + 1
    sizes = np.bincount(labels.ravel(), minlength=count).astype(np.float64)
    sums = np.stack([np.bincount(labels.ravel(), lab[..., c].ravel(), count) for c in range(3)], axis=1) * weights
    sides = np.concatenate(
        [
            np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], axis=1),
            np.stack([labels[:-1].ravel(), labels[1:].ravel()], axis=1),
        ]
    )
    owner = np.arange(count)
    while len(sides):
        low, high = np.sort(owner[sides], axis=1).T
        both = np.unique(low[low != high] * count + high[low != high])  # one number for a pair sorts faster than two
        sides = np.stack(np.divmod(both, count), axis=1)
        if not len(sides):
            break
        means = sums / sizes[:, None]
        distance = np.linalg.norm(means[sides[:, 0]] - means[sides[:, 1]], axis=1)
        best = int(np.argmin(distance))
        if distance[best] >= threshold:
            break
        keep, gone = (int(node) for node in sides[best])
        sums[keep] += sums[gone]
        sizes[keep] += sizes[gone]
        owner = np.arange(count)
        owner[gone] = keep
        labels = np.where(labels == gone, np.int32(keep), labels)
    return _renumber(labels.ravel().astype(np.int64), (labels.shape[0], labels.shape[1]))


def segment_labels(rgb: Image, long_side: int = 160, threshold: float = 9.0) -> tuple[Labels, Image]:
    """Segments of a picture and the small smoothed copy (uint8 [h, w, 3]) that they were found on."""
    small = smooth_small(rgb, long_side)
    lab = to_lab(small)
    return merge_alike(graph_segments(lab), lab, threshold), small
