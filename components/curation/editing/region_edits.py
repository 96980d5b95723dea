"""Edits of one region of a photo, or of all but its main object: recolour, blur, grey background.

Removing things is in removal.py, pasting them in paste_edits.py; which words may point at a region, in naming.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.curation.editing.base import DroppedPair, EditPair, Family, Floats, Image, Parameters
from components.curation.editing.colours import name_area, to_lab, to_rgb
from components.curation.editing.instructions import instruct, word_region
from components.curation.editing.matting import composite, soft_outline
from components.curation.editing.naming import Reference, references
from components.curation.editing.photo import Photo
from components.curation.editing.photometric import blur, greyscale
from components.curation.editing.regions import Region

_MIN_EDGE = 0.8  # share of a region's outline that must lie on a visible edge


@dataclass(frozen=True)
class Paint:
    """A colour to paint with: CIELAB hue (degrees), chroma, and the lightness at which the word for it is true."""

    hue: float
    chroma: float
    darkest: float
    lightest: float


PAINTS: dict[str, Paint] = {
    "red": Paint(32.0, 58.0, 26.0, 54.0),
    "orange": Paint(63.0, 68.0, 56.0, 76.0),
    "yellow": Paint(92.0, 66.0, 68.0, 93.0),
    "green": Paint(142.0, 46.0, 22.0, 82.0),
    "turquoise": Paint(198.0, 34.0, 42.0, 86.0),
    "blue": Paint(272.0, 46.0, 20.0, 70.0),
    "purple": Paint(314.0, 46.0, 20.0, 66.0),
    "pink": Paint(352.0, 38.0, 56.0, 86.0),
    "brown": Paint(60.0, 32.0, 22.0, 46.0),
}


def paint(rgb: Image, paint_with: Paint, usual_chroma: float) -> Image:
    """Give every pixel the paint's hue at unchanged lightness.

    Chroma varies as it did before, about the region's `usual_chroma`, so that folds and highlights stay; a nearly grey
    surface is given the paint's chroma evenly.
    """
    lab = to_lab(rgb)
    if usual_chroma >= 15.0:
        relative = np.clip(np.hypot(lab[..., 1], lab[..., 2]) / usual_chroma, 0.5, 1.35)
    else:
        relative = np.ones(lab.shape[:2], np.float32)
    # Near black and near white no screen shows much chroma; asking for it would shift the hue.
    fade = np.clip(np.minimum(lab[..., 0] / 20.0, (100.0 - lab[..., 0]) / 12.0), 0.0, 1.0)
    chroma = np.float32(paint_with.chroma) * relative * fade
    lab[..., 1] = chroma * np.cos(np.radians(paint_with.hue))
    lab[..., 2] = chroma * np.sin(np.radians(paint_with.hue))
    return to_rgb(lab)


def _fits(region: Region, share: tuple[float, float]) -> bool:
    """Of a usable size, and ending where the eye sees an edge: half a sky must not be painted."""
    return share[0] <= region.share <= share[1] and region.edge >= _MIN_EDGE


def _wordable(photo: Photo, share: tuple[float, float]) -> list[tuple[Region, tuple[Reference, ...]]]:
    """Regions with a share of the picture in the range, each with the wordings that point at it alone."""
    fitting = [region for region in photo.segmentation.regions if _fits(region, share)]
    found = [(region, references(photo.segmentation, region)) for region in fitting]
    return [(region, wordings) for region, wordings in found if wordings]


def _none_found(kind: str, photo: Photo, share: tuple[float, float]) -> DroppedPair:
    """Which of the two it was: no region of that size, or none that words can point at."""
    sized = sum(_fits(region, share) for region in photo.segmentation.regions)
    span = f"with a clear outline and between {share[0]:.1%} and {share[1]:.1%} of the picture"
    if sized:
        return DroppedPair(kind, "ambiguous_region", f"{sized} regions {span}, none with words that fit it alone")
    return DroppedPair(kind, "no_region", f"no region {span}")


def _draw(rng: np.random.Generator, count: int) -> int:
    return int(rng.integers(count))


@dataclass(frozen=True)
class RecolourEditor:
    """Paint one region another colour; lightness and texture stay."""

    kind: str = "recolour_region"
    family: Family = "region"
    share: tuple[float, float] = (0.008, 0.5)

    def applicable(self, photo: Photo) -> bool:
        """Any picture may be tried."""
        return True

    def propose(self, photo: Photo, rng: np.random.Generator) -> EditPair | DroppedPair:
        """Draw a region, a wording and a colour true of its lightness."""
        choices = _wordable(photo, self.share)
        if not choices:
            return _none_found(self.kind, photo, self.share)
        options = [
            (region, wordings, name)
            for region, wordings in choices
            for name, colour in PAINTS.items()
            if name != region.colour and colour.darkest <= float(region.lab[0]) <= colour.lightest
        ]
        if not options:
            return DroppedPair(self.kind, "colour_not_reached", "every region is too dark or too light for any colour")
        region, wordings, name = options[_draw(rng, len(options))]
        wording = wordings[_draw(rng, len(wordings))]
        alpha = soft_outline(photo.rgb, region.mask, contrast=1.6)
        usual = float(np.hypot(region.lab[1], region.lab[2]))
        target = composite(photo.rgb, paint(photo.rgb, PAINTS[name], usual), alpha)
        reached = name_area(to_lab(target)[alpha > 0.9])
        if reached != name:
            detail = f"painted {name}, but it reads as {reached or 'no single colour'}"
            return DroppedPair(self.kind, "colour_not_reached", detail)
        words = word_region(rng, wording.colour, wording.place)
        parameters: Parameters = {"colour": wording.colour, "new_colour": name, "place": wording.place}
        instruction = instruct(self.kind, rng, region=words, new_colour=name)
        return EditPair(self.kind, self.family, photo.rgb, target, alpha > 0, instruction, parameters)


@dataclass(frozen=True)
class BlurRegionEditor:
    """Blur one region; of those that words can point at, the ones with detail to lose."""

    kind: str = "blur_region"
    family: Family = "region"
    share: tuple[float, float] = (0.015, 0.6)

    def applicable(self, photo: Photo) -> bool:
        """Any picture may be tried."""
        return True

    def propose(self, photo: Photo, rng: np.random.Generator) -> EditPair | DroppedPair:
        """Draw regions and blur the one with most detail."""
        choices = _wordable(photo, self.share)
        if not choices:
            return _none_found(self.kind, photo, self.share)
        sigma = round(float(rng.uniform(0.014, 0.024)) * max(photo.size), 2)
        soft = blur(photo.rgb, sigma)
        loss = np.abs(to_lab(photo.rgb)[..., 0] - to_lab(soft)[..., 0])
        # The one that loses most, of up to three drawn: most regions of one colour are too smooth to be seen blurred.
        drawn = rng.permutation(len(choices))[:3]
        outlines = [soft_outline(photo.rgb, choices[index][0].mask, contrast=1.0) for index in drawn]
        best = int(np.argmax([float((loss * alpha).sum() / max(alpha.sum(), 1.0)) for alpha in outlines]))
        wordings, alpha = choices[drawn[best]][1], outlines[best]
        wording = wordings[_draw(rng, len(wordings))]
        target = composite(photo.rgb, soft, alpha)
        parameters: Parameters = {"colour": wording.colour, "place": wording.place, "sigma": sigma}
        instruction = instruct(self.kind, rng, region=word_region(rng, wording.colour, wording.place))
        return EditPair(self.kind, self.family, photo.rgb, target, alpha > 0, instruction, parameters)


@dataclass(frozen=True)
class BackgroundEditor:
    """Blur or grey everything but the main object."""

    kind: str  # "blur_background" or "greyscale_background"
    family: Family = "region"

    def applicable(self, photo: Photo) -> bool:
        """Any picture may be tried."""
        return True

    def propose(self, photo: Photo, rng: np.random.Generator) -> EditPair | DroppedPair:
        """Edit all but the main object."""
        if photo.cutout is None:
            return DroppedPair(self.kind, "no_object", "no main object that stands clear of its background")
        alpha = np.asarray(1.0 - photo.cutout.full_alpha, np.float32)
        parameters: Parameters = {}
        if self.kind == "blur_background":
            sigma = round(float(rng.uniform(0.012, 0.022)) * max(photo.size), 2)
            parameters = {"sigma": sigma}
            target = composite(photo.rgb, blur_outside(photo.rgb, alpha, sigma), alpha)
        else:
            target = composite(photo.rgb, greyscale(photo.rgb), alpha)
        return EditPair(self.kind, self.family, photo.rgb, target, alpha > 0, instruct(self.kind, rng), parameters)


def blur_outside(rgb: Image, alpha: Floats, sigma: float) -> Image:
    """Blur the area of opacity `alpha` [H, W] with itself alone, so that what it surrounds leaves no halo in it."""
    import cv2

    weight = cv2.GaussianBlur(alpha, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)[..., None]
    total = cv2.GaussianBlur(rgb * alpha[..., None], (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    # Deep inside the kept object nothing of the area reaches; there the value is not used.
    mixed = np.where(weight > 1e-3, total / np.maximum(weight, 1e-3), rgb)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
