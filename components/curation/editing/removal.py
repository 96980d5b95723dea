"""Removing a small thing from a photo by filling in the smooth ground around it. The mask is the filled hole.

Only where the ground is an even gradient, so that the filling is plausible; exact removals (of pasted objects) are in
paste_edits.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.curation.editing.base import DroppedPair, EditPair, Family, Image, Mask, Parameters
from components.curation.editing.colours import to_lab
from components.curation.editing.instructions import instruct, word_region
from components.curation.editing.matting import composite, feather, soft_outline
from components.curation.editing.naming import lone_references
from components.curation.editing.photo import Photo
from components.curation.editing.photometric import blur
from components.curation.editing.regions import ring


def plane_residual(rgb: Image, where: Mask) -> float:
    """How far the pixels of `where` [H, W] are from one even gradient: RMS distance in CIELAB from a fitted plane."""
    rows, columns = np.nonzero(where)
    ground = np.stack([rows, columns, np.ones_like(rows)], axis=1).astype(np.float64)
    lab = to_lab(rgb)[where].astype(np.float64)
    fitted, *_ = np.linalg.lstsq(ground, lab, rcond=None)
    return float(np.sqrt(((lab - ground @ fitted) ** 2).sum(axis=1).mean()))


def fill_in(rgb: Image, hole: Mask, around: Mask, rng: np.random.Generator) -> Image:
    """Inpaint `hole` from its surroundings (Telea, 2004) and give it the grain that `around` has."""
    import cv2

    filled = np.asarray(cv2.inpaint(rgb, hole.astype(np.uint8), 5, cv2.INPAINT_TELEA), np.uint8)
    # Telea leaves streaks; the surroundings are smooth here, so a blur inside the hole alone is no loss.
    smooth = composite(filled, blur(filled, 3.0), feather(hole, 3))
    fine = rgb.astype(np.float32) - cv2.GaussianBlur(rgb, (0, 0), 1.5).astype(np.float32)
    spread = float(fine[around].std())
    grain = rng.normal(0.0, spread, (*hole.shape, 1)).astype(np.float32)
    noisy = np.clip(np.rint(smooth.astype(np.float32) + grain), 0, 255).astype(np.uint8)
    return composite(rgb, noisy, feather(hole, 2))


@dataclass(frozen=True)
class RemoveRegionEditor:
    """Remove a small thing that lies alone on a smooth ground by filling the hole in."""

    kind: str = "remove_region"
    family: Family = "region"
    share: tuple[float, float] = (0.0015, 0.06)
    min_solidity: float = 0.7
    min_contrast: float = 14.0  # delta E between the thing and its ground
    max_residual: float = 5.0  # CIELAB distance of the ground from an even gradient
    max_seam: float = 4.0  # delta E between the filled hole's mean and the ground's plane

    def applicable(self, photo: Photo) -> bool:
        """Any picture may be tried."""
        return True

    def propose(self, photo: Photo, rng: np.random.Generator) -> EditPair | DroppedPair:
        """Fill in one of the small things that lie alone on smooth ground."""
        import cv2

        islands = photo.segmentation.islands
        alone = [
            island
            for island in islands
            if self.share[0] <= island.share <= self.share[1]
            and island.solidity >= self.min_solidity
            and island.contrast >= self.min_contrast
        ]
        if not alone:
            return DroppedPair(self.kind, "no_region", f"none of {len(islands)} enclosed things is small and compact")
        wordable = [(island, lone_references(photo.segmentation, island)) for island in alone]
        wordable = [(island, wordings) for island, wordings in wordable if wordings]
        if not wordable:
            return DroppedPair(self.kind, "ambiguous_region", f"{len(alone)} things, none with words that fit it alone")
        height, width = photo.size
        least = float("inf")
        for index in rng.permutation(len(wordable)):
            island, wordings = wordable[index]
            hole = soft_outline(photo.rgb, island.mask) > 0
            reach = max(2, round(0.008 * max(height, width)))
            hole = hole | ring(hole, reach)
            around = ring(hole, 2 * reach)
            residual = plane_residual(photo.rgb, around)
            least = min(least, residual)
            if residual > self.max_residual:
                continue
            target = fill_in(photo.rgb, hole, around, rng)
            inside = cv2.erode(hole.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
            seam = float(np.linalg.norm(to_lab(target)[inside].mean(axis=0) - to_lab(photo.rgb)[around].mean(axis=0)))
            if seam > self.max_seam:
                continue
            wording = wordings[int(rng.integers(len(wordings)))]
            words = word_region(rng, wording.colour, wording.place, nouns=("object", "thing"))
            parameters: Parameters = {
                "colour": wording.colour,
                "place": wording.place,
                "ground_residual": round(residual, 3),
                "seam": round(seam, 3),
            }
            instruction = instruct(self.kind, rng, region=words)
            return EditPair(self.kind, self.family, photo.rgb, target, hole, instruction, parameters)
        detail = f"{len(wordable)} small things, but the smoothest ground is {least:.1f} from an even gradient"
        return DroppedPair(self.kind, "rough_surroundings", detail)
