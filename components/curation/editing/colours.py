"""CIELAB, and words for colours: which word a person would agree with, and where no word is safe.

Only pixels here; which region is meant and how it is worded lives in naming.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from components.curation.editing.base import Floats, Image

UNNAMED = 0
NAMES = (
    "",
    "black",
    "grey",
    "white",
    "red",
    "orange",
    "brown",
    "beige",
    "yellow",
    "green",
    "turquoise",
    "blue",
    "purple",
    "pink",
)
_INDEX = {name: index for index, name in enumerate(NAMES)}
# How far a colour may be off (light, printing, eyes) and still keep its name: lightness, chroma, hue in degrees.
_WOBBLE = ((4.0, 0.0, 0.0), (-4.0, 0.0, 0.0), (0.0, 3.0, 0.0), (0.0, -3.0, 0.0), (0.0, 0.0, 5.0), (0.0, 0.0, -5.0))


def to_lab(rgb: Image) -> Floats:
    """sRGB uint8 [..., W, 3] to CIELAB float32: L 0..100, a and b about -128..127 (D65)."""
    import cv2

    return np.asarray(cv2.cvtColor(rgb.astype(np.float32) / np.float32(255.0), cv2.COLOR_RGB2Lab), dtype=np.float32)


def to_rgb(lab: Floats) -> Image:
    """CIELAB float32 [H, W, 3] to sRGB uint8; what sRGB cannot show is clipped."""
    import cv2

    rgb = cv2.cvtColor(np.ascontiguousarray(lab, dtype=np.float32), cv2.COLOR_Lab2RGB)
    return np.clip(np.rint(rgb * 255.0), 0, 255).astype(np.uint8)


def delta_e(first: Image, second: Image) -> Floats:
    """Colour difference per pixel, CIE 1976, float32 [H, W]; about 2.3 is just noticeable."""
    return np.asarray(np.linalg.norm(to_lab(first) - to_lab(second), axis=-1), dtype=np.float32)


def _name(lightness: Floats, chroma: Floats, hue: Floats) -> NDArray[np.uint8]:
    """Index into NAMES per colour; 0 where people would disagree."""
    # `select` takes the first rule that holds, so later rules may assume that earlier ones do not.
    rules = [
        (lightness < 14, "black"),
        ((chroma < 9) & (lightness < 27), "black"),
        ((chroma < 9) & (lightness >= 84), "white"),
        ((chroma < 9) & (lightness >= 34) & (lightness < 76), "grey"),
        ((chroma < 12) & (lightness < 22), "black"),
        # Faint colours: only the two that have a faint name of their own.
        ((chroma < 30) & (hue >= 55) & (hue < 100) & (lightness >= 62) & (chroma >= 10), "beige"),
        ((chroma >= 12) & (chroma < 50) & (hue >= 36) & (hue < 82) & (lightness < 56), "brown"),
        ((chroma >= 14) & (hue >= 225) & (hue < 300), "blue"),
        ((chroma >= 55) & (hue >= 300) & (hue < 309), "blue"),  # a screen's pure blue is at 306
        ((chroma >= 16) & (hue >= 178) & (hue < 222), "turquoise"),
        ((chroma >= 14) & (hue >= 118) & (hue < 172), "green"),
        ((chroma >= 18) & (hue >= 108) & (hue < 118) & (lightness < 70), "green"),
        (chroma < 18, ""),
        ((hue >= 300) & (hue < 328), "purple"),
        (((hue >= 328) | (hue < 12)) & (lightness >= 48) & (chroma >= 20), "pink"),
        ((hue >= 328) & (hue < 340) & (lightness < 42), "purple"),
        ((hue < 40) & (lightness >= 64) & (chroma >= 18), "pink"),
        (((hue >= 12) & (hue < 46) | (hue >= 352)) & (chroma >= 36) & (lightness < 58), "red"),
        ((hue >= 44) & (hue < 47) & (chroma >= 60) & (lightness < 56), "red"),
        ((hue >= 50) & (hue < 76) & (chroma >= 48) & (lightness >= 52), "orange"),
        ((hue >= 78) & (hue < 108) & (chroma >= 38) & (lightness >= 60), "yellow"),
    ]
    picked = np.select([rule for rule, _ in rules], [np.uint8(_INDEX[name]) for _, name in rules], default=UNNAMED)
    return picked.astype(np.uint8)


def name_pixels(lab: Floats) -> NDArray[np.uint8]:
    """Index into NAMES for each colour of `lab` [..., 3]; 0 where no single word is agreed on."""
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    hue = np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % np.float32(360.0)
    return _name(lab[..., 0], chroma, hue.astype(np.float32))


def name_colours(lab: Floats) -> list[str]:
    """The word for each colour of [N, 3], or "" where it would get another word when seen a little differently."""
    wide = lab.astype(np.float64)
    chroma = np.hypot(wide[:, 1], wide[:, 2])[:, None]
    hue = (np.degrees(np.arctan2(wide[:, 2], wide[:, 1])) % 360.0)[:, None]
    offsets = np.array([(0.0, 0.0, 0.0), *_WOBBLE])
    # The hue of a nearly grey colour means nothing, so it is not wobbled.
    hues = (hue + offsets[:, 2] * (chroma >= 12)) % 360.0
    lightness, chromas = wide[:, :1] + offsets[:, 0], np.maximum(chroma + offsets[:, 1], 0.0)
    names = _name(*(values.astype(np.float32) for values in (lightness, chromas, hues)))
    agreed = ((names == names[:, :1]) | (names == UNNAMED)).all(axis=1)
    return [NAMES[index] for index in np.where(agreed, names[:, 0], UNNAMED)]


def name_colour(lab: Floats) -> str:
    """The word for one colour [3], or "", as `name_colours` gives it."""
    return name_colours(lab[None])[0]


def name_area(lab: Floats, names: NDArray[np.uint8] | None = None, share: float = 0.6) -> str:
    """The word for the colours of an area [N, 3], or "".

    Given when its median colour surely has that word and at least `share` of its pixels have it too. `names`: those of
    its pixels, where they are known.
    """
    if len(lab) == 0:
        return ""
    word = name_colour(np.median(lab, axis=0).astype(np.float32))
    if not word:
        return ""
    names = name_pixels(lab) if names is None else names
    return word if float(np.mean(names == _INDEX[word])) >= share else ""


def name_areas(labels: NDArray[np.int32], lab: Floats, names: NDArray[np.uint8], share: float = 0.6) -> list[str]:
    """The word of `name_area` for each area of `labels` [h, w], numbered from 0, of a picture `lab` [h, w, 3]."""
    order = np.argsort(labels, axis=None, kind="stable")
    ends = np.cumsum(np.bincount(labels.ravel()))
    pixels, words = lab.reshape(-1, 3)[order], names.ravel()[order]
    parts = list(zip([0, *ends[:-1]], ends, strict=True))
    medians = np.array([np.median(pixels[first:end], axis=0) for first, end in parts], np.float32)
    found = name_colours(medians)
    return [
        word if word and float(np.mean(words[first:end] == _INDEX[word])) >= share else ""
        for word, (first, end) in zip(found, parts, strict=True)
    ]
