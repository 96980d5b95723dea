"""Judging a finished pair by its pixels alone: is the change to be seen, is it inside the mask, does a seam show.

The same judge for every editor, learned ones included. It never repairs a pair.
"""

from __future__ import annotations

import numpy as np

from components.curation.editing.base import EditPair, Floats, Image, Mask
from components.curation.editing.colours import to_lab
from components.curation.editing.options import EditOptions


def _outline_step(lab: Floats, mask: Mask) -> float:
    """Mean colour difference of neighbours of which one is inside `mask` and one outside; 0 where there are none."""
    across, down = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
    pairs = ((lab[:, 1:][across], lab[:, :-1][across]), (lab[1:][down], lab[:-1][down]))
    steps = np.concatenate([np.linalg.norm(one - other, axis=-1) for one, other in pairs])
    return float(steps.mean()) if steps.size else 0.0


def measure(pair: EditPair) -> dict[str, float]:
    """Figures of a pair, differences in delta E.

    `mask_share` 0..1; `change` (mean inside the mask), `changed_share` (of the mask's pixels, visibly so: over 2.3);
    `spill` and `spill_peak` (mean and largest outside; 0 where the mask is whole); `seam` (how much larger the step
    across the mask's outline is in the target than in the source, mean along it: a soft edge adds little; negative
    where an edge went away; 0 where there is no outline); `clipped` (share of pixels newly black or white).
    """
    before, after = to_lab(pair.source), to_lab(pair.target)
    difference = np.linalg.norm(before - after, axis=-1)
    inside = difference[pair.mask]
    outside = difference[~pair.mask]

    def flat(image: Image) -> Mask:
        return np.asarray((image.max(axis=-1) == 0) | (image.min(axis=-1) == 255))

    figures = {
        "mask_share": float(pair.mask.mean()),
        "change": float(inside.mean()) if inside.size else 0.0,
        "changed_share": float((inside > 2.3).mean()) if inside.size else 0.0,
        "spill": float(outside.mean()) if outside.size else 0.0,
        "spill_peak": float(outside.max()) if outside.size else 0.0,
        "seam": _outline_step(after, pair.mask) - _outline_step(before, pair.mask),
        "clipped": float((flat(pair.target) & ~flat(pair.source)).mean()),
    }
    return {name: round(value, 4) for name, value in figures.items()}


def check(pair: EditPair, options: EditOptions) -> tuple[dict[str, float], str]:
    """The figures of `measure`, and the reason to drop the pair, or "".

    Raises ValueError where source, target and mask are not of one size: such a pair has no meaning.
    """
    if not pair.source.shape == pair.target.shape == (*pair.mask.shape, 3):
        raise ValueError(
            f"edit pair of kind {pair.kind}: source {pair.source.shape}, target {pair.target.shape} and mask "
            f"{pair.mask.shape} must be [H, W, 3], [H, W, 3] and [H, W] of one size"
        )
    quality = measure(pair)
    whole = pair.family != "region"
    if not whole and quality["mask_share"] < options.min_mask_share:
        return quality, "mask_too_small"
    if not whole and quality["mask_share"] > options.max_mask_share:
        return quality, "mask_too_large"
    # The spill comes first: an edit in the wrong place also leaves its mask unchanged.
    if quality["spill"] > options.max_spill or quality["spill_peak"] > options.max_spill_peak:
        return quality, "spills_outside_mask"
    if quality["change"] < options.min_change:
        return quality, "invisible_change"
    if not whole and abs(quality["seam"]) > options.max_seam:
        return quality, "seam_shows"
    if pair.family == "photometric" and quality["clipped"] > options.max_clipped:
        return quality, "clipped"
    return quality, ""
