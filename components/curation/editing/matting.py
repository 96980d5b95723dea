"""From a rough mask on a small copy to a soft outline at full size, and compositing with it.

Finding the rough mask is not done here.
"""

from __future__ import annotations

import numpy as np

from components.curation.editing.base import Floats, Image, Mask

_FAINTEST = 0.04  # an opacity below this moves no 8-bit value by more than a level or two; it is set to 0


def guided_filter(guide: Floats, values: Floats, radius: int, epsilon: float) -> Floats:
    """Smooth `values` [H, W] along the edges of the colour `guide` [H, W, 3] in 0..1 (He, Sun and Tang, 2010)."""
    import cv2

    def box(array: Floats) -> Floats:
        window = (2 * radius + 1, 2 * radius + 1)
        return np.asarray(cv2.boxFilter(array, -1, window, borderType=cv2.BORDER_REFLECT), dtype=np.float32)

    mean_guide, mean_values = box(guide), box(values)
    spread = np.empty((*values.shape, 3, 3), np.float32)
    for i in range(3):
        for j in range(i, 3):
            product = box(guide[..., i] * guide[..., j]) - mean_guide[..., i] * mean_guide[..., j]
            spread[..., i, j] = spread[..., j, i] = product
    spread += epsilon * np.eye(3, dtype=np.float32)
    shared = box(guide * values[..., None]) - mean_guide * mean_values[..., None]
    slope = np.linalg.solve(spread, shared[..., None])[..., 0].astype(np.float32)
    offset = mean_values - (slope * mean_guide).sum(axis=-1)
    return np.asarray((box(slope) * guide).sum(axis=-1) + box(offset), dtype=np.float32)


def soft_outline(rgb: Image, rough: Mask, contrast: float = 2.5) -> Floats:
    """Opacity [H, W] in 0..1 of the area `rough` [h, w] (any scale) drawn at the picture's size, fitted to its edges.

    Exactly 0 away from the area and exactly 1 in its inside. `contrast` above 1 steepens the rim, which keeps the
    background's colour out of a cut-out.
    """
    import cv2

    height, width = rgb.shape[:2]
    grown = np.asarray(cv2.resize(rough.astype(np.float32), (width, height)), np.float32)
    radius = max(2, round(1.5 * max(height / rough.shape[0], width / rough.shape[1])))
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (4 * radius + 1, 4 * radius + 1))
    hard = (grown >= 0.5).astype(np.uint8)
    far = cv2.dilate(hard, window) == 0
    deep = cv2.erode(hard, window) > 0
    alpha = guided_filter(rgb.astype(np.float32) / np.float32(255.0), grown, radius, 1e-3)
    alpha = np.clip((alpha - 0.5) * contrast + 0.5, 0.0, 1.0)
    alpha[far] = 0.0
    alpha[deep] = 1.0
    alpha[alpha < _FAINTEST] = 0.0
    return np.asarray(alpha, dtype=np.float32)


def composite(below: Image, above: Image, alpha: Floats) -> Image:
    """`above` over `below` (both uint8 [H, W, 3]) with opacity [H, W]; exactly `below` where the opacity is 0."""
    opacity = alpha[..., None]
    mixed = below.astype(np.float32) * (1.0 - opacity) + above.astype(np.float32) * opacity
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def feather(mask: Mask, radius: int) -> Floats:
    """Opacity [H, W] that is 0 outside `mask` and rises to 1 within `radius` pixels inside it.

    The picture's own border is no rim: an area that runs out of the picture stays opaque there.
    """
    import cv2

    padded = np.pad(mask.astype(np.uint8), 1, mode="edge")
    padded = np.pad(padded, radius, mode="edge")
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[radius + 1 : -radius - 1, radius + 1 : -radius - 1]
    return np.clip(distance / np.float32(radius + 1), 0.0, 1.0).astype(np.float32)
