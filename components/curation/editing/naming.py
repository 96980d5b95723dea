"""Pointing at one region in words ("the red area in the upper left"), and only when the words fit nothing else.

The test is on pixels, not on segments: what the segmentation missed of the same colour still makes wording ambiguous.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.curation.editing.base import Floats, Mask
from components.curation.editing.colours import NAMES
from components.curation.editing.regions import Region, Segmentation, ring

# Place phrases and their zones: left, top, right, bottom, in shares of the picture. The thing lies (nearly) inside.
_ZONES: dict[str, tuple[float, float, float, float]] = {
    "in the upper left": (0.0, 0.0, 0.5, 0.5),
    "in the upper right": (0.5, 0.0, 1.0, 0.5),
    "in the lower left": (0.0, 0.5, 0.5, 1.0),
    "in the lower right": (0.5, 0.5, 1.0, 1.0),
    "in the middle": (0.22, 0.22, 0.78, 0.78),
    "at the top": (0.0, 0.0, 1.0, 0.5),
    "at the bottom": (0.0, 0.5, 1.0, 1.0),
    "on the left": (0.0, 0.0, 0.5, 1.0),
    "on the right": (0.5, 0.0, 1.0, 1.0),
}
_MARGIN = 0.06  # people are not exact about halves: rivals this far outside a zone still count
_INSIDE = 0.88  # share of the region's own pixels that must lie in the zone
_RIVALS = 0.12  # pixels of like colour elsewhere, as a share of the region's, above which wording is ambiguous
_DARK, _BRIGHT = 34.0, 76.0  # lightness below and above which "dark" and "bright" will do for want of a colour word
_TONE_STEP = 14.0  # how much lighter (or darker) the rest must be for "dark" (or "bright") to mean this region
_STANDS_OUT = 10.0  # delta E from its surroundings at which a small thing catches the eye
_ALIKE = 16.0  # delta E (lightness at half weight) within which a pixel counts as of like colour


@dataclass(frozen=True)
class Reference:
    """Words that point at one region: its colour, "dark", "bright" or "small", and its place ("" for none)."""

    colour: str
    place: str


def zone(place: str, shape: tuple[int, int], margin: float = 0.0) -> Mask:
    """The part of a picture [h, w] that a place phrase speaks of."""
    height, width = shape
    left, top, right, bottom = _ZONES[place]
    rows, columns = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    return ((rows >= top - margin) & (rows <= bottom + margin))[:, None] & (
        (columns >= left - margin) & (columns <= right + margin)
    )[None, :]


def places_of(mask: Mask) -> tuple[str, ...]:
    """Every place phrase that is true of the area `mask` [h, w], the more exact ones first."""
    total = int(mask.sum())
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    true_of = [place for place in _ZONES if int((mask & zone(place, (height, width))).sum()) >= _INSIDE * total]
    centre_x, centre_y = (float(columns.mean()) + 0.5) / width, (float(rows.mean()) + 0.5) / height
    central = abs(centre_x - 0.5) <= 0.12 and abs(centre_y - 0.5) <= 0.12
    if central:
        return tuple(place for place in true_of if place == "in the middle")
    kept = [place for place in true_of if place != "in the middle"]
    # A small thing near the middle line is not "at the top" to anybody: its centre must be well inside the half.
    clear = {"left": centre_x < 0.4, "right": centre_x > 0.6, "upper": centre_y < 0.4, "lower": centre_y > 0.6}
    clear |= {"top": clear["upper"], "bottom": clear["lower"]}
    return tuple(place for place in kept if all(clear.get(word, True) for word in place.split()))


def like_coloured(segmentation: Segmentation, colour: str, lab: Floats) -> Mask:
    """Pixels [h, w] that somebody could mean by `colour`: those with the word, and those close to `lab` [3]."""
    difference = (segmentation.lab - lab) * np.array([0.5, 1.0, 1.0], np.float32)
    return np.asarray((segmentation.names == NAMES.index(colour)) | (np.linalg.norm(difference, axis=-1) < _ALIKE))


def references(segmentation: Segmentation, region: Region) -> tuple[Reference, ...]:
    """Every wording that points at `region` and at nothing else of the picture; empty where there is none."""
    lightness = float(region.lab[0])
    if region.colour:
        word, like = region.colour, like_coloured(segmentation, region.colour, region.lab)
    elif lightness < _DARK:
        word, like = "dark", segmentation.lab[..., 0] < lightness + _TONE_STEP
    elif lightness > _BRIGHT:
        word, like = "bright", segmentation.lab[..., 0] > lightness - _TONE_STEP
    else:
        return ()
    # A soft rim just outside the region is still the region to a reader.
    rivals = like & ~region.mask & ~ring(region.mask, 2)
    allowed = _RIVALS * int(region.mask.sum())
    places = places_of(region.mask)
    shape = (region.mask.shape[0], region.mask.shape[1])
    found = []
    if int(rivals.sum()) <= allowed:
        found.append(Reference(word, ""))
    found += [
        Reference(word, place) for place in places if int((rivals & zone(place, shape, _MARGIN)).sum()) <= allowed
    ]
    return tuple(found)


def lone_references(segmentation: Segmentation, island: Region) -> tuple[Reference, ...]:
    """Wordings for a small thing on a plain ground: those of `references`, or "small" with its place.

    "Small" needs no colour of its own; it is ambiguous where another thing of that size stands out in the same place.
    """
    found = references(segmentation, island)
    if found:
        return found
    shape = (island.mask.shape[0], island.mask.shape[1])
    near = ring(island.mask, 2) | island.mask
    rivals = [
        other.mask
        for other in (*segmentation.regions, *segmentation.islands)
        if island.share / 3 <= other.share <= island.share * 4
        and other.contrast >= _STANDS_OUT
        and other.solidity >= 0.6
        and not (other.mask & near).any()
    ]
    return tuple(
        Reference(f"small {island.colour}".rstrip(), place)
        for place in places_of(island.mask)
        if all(float((rival & zone(place, shape, _MARGIN)).sum()) < 0.3 * rival.sum() for rival in rivals)
    )
