"""Adding an object cut out of another photo, and the reverse: removing it, with the untouched photo as exact result.

Cutting out is in cutouts.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.curation.editing.base import DroppedPair, EditPair, Family, Floats, Image, Parameters
from components.curation.editing.colours import delta_e, to_lab
from components.curation.editing.cutouts import CutOut
from components.curation.editing.instructions import instruct, with_article
from components.curation.editing.matting import composite
from components.curation.editing.naming import like_coloured, zone
from components.curation.editing.photo import Donor, Photo

# Where an object's centre may go, as shares of the picture, and the words for it.
SPOTS: dict[str, tuple[float, float]] = {
    "in the upper left": (0.25, 0.25),
    "in the upper right": (0.75, 0.25),
    "in the lower left": (0.25, 0.75),
    "in the lower right": (0.75, 0.75),
    "on the left": (0.24, 0.5),
    "on the right": (0.76, 0.5),
    "at the bottom": (0.5, 0.76),
    "in the middle": (0.5, 0.5),
}
_MIN_DONOR_SCALE = 0.2  # an object shrunk below this is a few blurred pixels
_MAX_DONOR_SCALE = 1.25  # and enlarged above this looks soft beside its surroundings


@dataclass(frozen=True, eq=False)
class Placed:
    """An object laid out on a canvas of the picture's size: colours [H, W, 3] and opacity [H, W]."""

    rgb: Image
    alpha: Floats


def lay_out(cutout: CutOut, size: tuple[int, int], spot: str, height_share: float) -> Placed | None:
    """The cut-out scaled to `height_share` of the shorter side and centred at `spot`; None where it cannot fit."""
    import cv2

    height, width = size
    longest = max(cutout.alpha.shape)
    scale = height_share * min(height, width) / longest
    if not _MIN_DONOR_SCALE <= scale <= _MAX_DONOR_SCALE:
        return None
    rows, columns = max(4, round(cutout.alpha.shape[0] * scale)), max(4, round(cutout.alpha.shape[1] * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    colours = cv2.resize(cutout.rgb, (columns, rows), interpolation=how)
    opacity = np.clip(cv2.resize(cutout.alpha, (columns, rows), interpolation=cv2.INTER_AREA), 0.0, 1.0)
    x, y = SPOTS[spot]
    top, left = round(y * height - rows / 2), round(x * width - columns / 2)
    if top < 1 or left < 1 or top + rows > height - 1 or left + columns > width - 1:
        return None
    canvas, alpha = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.float32)
    canvas[top : top + rows, left : left + columns] = colours
    alpha[top : top + rows, left : left + columns] = np.where(opacity < 0.04, 0.0, opacity)
    return Placed(canvas, alpha)


def _stands_out(photo: Photo, placed: Placed) -> bool:
    """Whether the object differs from what lies around and under it enough to be seen as a thing."""
    covered = placed.alpha > 0.5
    difference = delta_e(photo.rgb, composite(photo.rgb, placed.rgb, placed.alpha))
    return bool(np.percentile(difference[covered], 40) >= 10.0)


def _hides_object(photo: Photo, placed: Placed) -> bool:
    """Whether it would lie over the picture's own main object."""
    if photo.cutout is None:
        return False
    own = photo.cutout.full_alpha > 0.5
    return bool((own & (placed.alpha > 0.5)).sum() > 0.02 * own.sum())


def _rivals(photo: Photo, colour: str, placed: Placed, spot: str) -> bool:
    """Whether the photo itself has something of that colour at that place, so that "the red object" could mean it."""
    small = photo.segmentation.lab
    covered = placed.alpha > 0.5
    median = np.median(to_lab(placed.rgb)[covered], axis=0).astype(np.float32)
    like = like_coloured(photo.segmentation, colour, median)
    there = like & (zone(spot, (small.shape[0], small.shape[1]), 0.05))
    return float(there.sum()) / there.size > 0.25 * float(covered.mean())


def _quiet_spots(photo: Photo, rng: np.random.Generator) -> list[str]:
    """The quieter half of SPOTS, in drawn order: over a busy part an object would hide other things."""
    lightness = photo.segmentation.lab[..., 0]
    slopes = np.hypot(*np.gradient(lightness))
    height, width = lightness.shape
    reach = round(0.2 * min(height, width))
    busy = {}
    for spot, (x, y) in SPOTS.items():
        row, column = round(y * height), round(x * width)
        busy[spot] = float(slopes[max(0, row - reach) : row + reach, max(0, column - reach) : column + reach].mean())
    quiet = sorted(SPOTS, key=lambda spot: busy[spot])[: len(SPOTS) // 2]
    return [quiet[index] for index in rng.permutation(len(quiet))]


@dataclass(frozen=True)
class PasteEditor:
    """`add_object`: photo -> photo with the object. `remove_object`: the same two pictures the other way round."""

    kind: str
    family: Family = "region"
    tries: int = 8  # donors looked at before giving up

    def applicable(self, photo: Photo) -> bool:
        """Needs donors."""
        return bool(photo.donors)

    def propose(self, photo: Photo, rng: np.random.Generator) -> EditPair | DroppedPair:
        """Find a donor with a clear object and a quiet place for it."""
        usable: list[tuple[Donor, CutOut]] = []
        drawn = rng.permutation(len(photo.donors))[: self.tries]
        for index in drawn:
            donor = photo.donors[index]
            cutout = donor.cutout
            if cutout is not None and (donor.name or cutout.colour):
                usable.append((donor, cutout))
        if not usable:
            return DroppedPair(
                self.kind, "no_object", f"none of {len(drawn)} donors has a clean object with a name or colour"
            )
        for donor, cutout in usable:
            for spot in _quiet_spots(photo, rng):
                pair = self._place(photo, donor, cutout, spot, rng)
                if pair is not None:
                    return pair
        detail = (
            f"{len(usable)} objects, but no place where one stands out, hides nothing and is the only one of its kind"
        )
        return DroppedPair(self.kind, "no_place", detail)

    def _place(
        self, photo: Photo, donor: Donor, cutout: CutOut, spot: str, rng: np.random.Generator
    ) -> EditPair | None:
        height_share = round(float(rng.uniform(0.28, 0.45)), 3)
        placed = lay_out(cutout, photo.size, spot, height_share)
        if placed is None or _hides_object(photo, placed) or not _stands_out(photo, placed):
            return None
        if donor.name is not None:
            thing = donor.name
            if photo.caption is not None and thing.lower() in photo.caption.lower():
                return None  # the photo may show another one
        else:
            thing = f"{cutout.colour} object"
            if _rivals(photo, cutout.colour, placed, spot):
                return None
        with_object = composite(photo.rgb, placed.rgb, placed.alpha)
        parameters: Parameters = {"donor": donor.key, "thing": thing, "place": spot, "height_share": height_share}
        adding = self.kind == "add_object"

        def say(kind: str, rng: np.random.Generator) -> str:
            return instruct(kind, rng, place=spot, thing=thing, a_thing=with_article(thing))

        instruction = say(self.kind, rng)
        back = say("remove_object" if adding else "add_object", np.random.default_rng(len(instruction)))
        return EditPair(
            kind=self.kind,
            family=self.family,
            source=photo.rgb if adding else with_object,
            target=with_object if adding else photo.rgb,
            mask=placed.alpha > 0,
            instruction=instruction,
            parameters=parameters,
            inverse=back,
        )
