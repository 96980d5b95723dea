"""Edits of tone, colour and sharpness over the whole picture, with known parameters. The mask is the whole picture.

The arithmetic is public so that a result can be checked against its parameters; edits of one region are elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from components.curation.editing.base import EditPair, Family, Floats, Image, Parameters
from components.curation.editing.colours import to_lab, to_rgb
from components.curation.editing.instructions import instruct
from components.curation.editing.photo import Photo

_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # Rec. 709
_SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]], np.float32)
TINTS: dict[str, float] = {
    "red": 38.0,
    "orange": 65.0,
    "green": 142.0,
    "blue": 275.0,
    "purple": 315.0,
}  # Lab hue, degrees


def _to_linear(rgb: Image) -> Floats:
    levels = np.arange(256, dtype=np.float32) / np.float32(255.0)
    table = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4).astype(np.float32)
    return np.asarray(table[rgb], dtype=np.float32)


def _from_linear(linear: Floats) -> Image:
    clipped = np.clip(linear, 0.0, 1.0)
    curve = np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055)
    return np.rint(curve * 255.0).astype(np.uint8)


def expose(rgb: Image, stops: float) -> Image:
    """Linear light times 2**stops, as a camera's exposure does."""
    return _from_linear(_to_linear(rgb) * np.float32(2.0**stops))


def contrast(rgb: Image, factor: float) -> Image:
    """sRGB values spread by `factor` about the picture's mean luma, rounded."""
    middle = np.rint((rgb.astype(np.float32) @ _LUMA).mean())
    return np.clip(np.rint(middle + (rgb.astype(np.float32) - middle) * np.float32(factor)), 0, 255).astype(np.uint8)


def saturate(rgb: Image, factor: float) -> Image:
    """Chroma times `factor` (CIELAB a, b); lightness kept."""
    lab = to_lab(rgb)
    lab[..., 1:] *= np.float32(factor)
    return to_rgb(lab)


def warm(rgb: Image, stops: float) -> Image:
    """Red up and blue down by half of `stops` each in linear light (negative cools), mean luminance kept."""
    linear = _to_linear(rgb)
    gains = np.array([2.0 ** (stops / 2), 1.0, 2.0 ** (-stops / 2)], np.float32)
    shifted = linear * gains
    before, after = float((linear @ _LUMA).mean()), float((shifted @ _LUMA).mean())
    return _from_linear(shifted * np.float32(before / after if after > 0 else 1.0))


def greyscale(rgb: Image) -> Image:
    """Luminance only (Rec. 709, linear light)."""
    return _from_linear(np.repeat((_to_linear(rgb) @ _LUMA)[..., None], 3, axis=-1))


def sepia(rgb: Image) -> Image:
    """The customary sepia matrix, on sRGB values."""
    return np.clip(np.rint(rgb.astype(np.float32) @ _SEPIA.T), 0, 255).astype(np.uint8)


def tint(rgb: Image, hue: float, chroma: float) -> Image:
    """Lightness kept, every pixel given one CIELAB hue (degrees); chroma fades towards black and white."""
    lab = to_lab(rgb)
    fade = np.sqrt(np.clip(1.0 - ((lab[..., 0] - 55.0) / 55.0) ** 2, 0.0, 1.0)) * chroma
    lab[..., 1] = fade * np.cos(np.radians(hue))
    lab[..., 2] = fade * np.sin(np.radians(hue))
    return to_rgb(lab)


def blur(rgb: Image, sigma: float) -> Image:
    """Gaussian blur; `sigma` in pixels."""
    import cv2

    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), dtype=np.uint8)


def sharpen(rgb: Image, sigma: float, amount: float) -> Image:
    """Unsharp mask on lightness: L + amount * (L - blurred L); `sigma` in pixels."""
    import cv2

    lab = to_lab(rgb)
    smooth = cv2.GaussianBlur(lab[..., 0], (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    lab[..., 0] = np.clip(lab[..., 0] + np.float32(amount) * (lab[..., 0] - smooth), 0.0, 100.0)
    return to_rgb(lab)


def invert(rgb: Image) -> Image:
    """255 minus every value."""
    return (255 - rgb).astype(np.uint8)


_Draw = Callable[[np.random.Generator, bool, int], Parameters]  # generator, strong, longer side -> parameters
_Apply = Callable[[Image, Parameters], Image]


def _one(name: str, plain: tuple[float, float], strong: tuple[float, float]) -> _Draw:
    """One parameter, drawn from either range and rounded so that the written value is the one used."""

    def draw(rng: np.random.Generator, is_strong: bool, side: int) -> Parameters:
        return {name: round(float(rng.uniform(*(strong if is_strong else plain))), 3)}

    return draw


def _none(rng: np.random.Generator, strong: bool, side: int) -> Parameters:
    return {}


def _draw_tint(rng: np.random.Generator, strong: bool, side: int) -> Parameters:
    colour = tuple(TINTS)[int(rng.integers(len(TINTS)))]
    return {"colour": colour, "hue": TINTS[colour], "chroma": round(float(rng.uniform(45, 60)), 1)}


def _draw_blur(rng: np.random.Generator, strong: bool, side: int) -> Parameters:
    low, high = (0.014, 0.02) if strong else (0.006, 0.01)
    return {"sigma": round(float(rng.uniform(low, high)) * side, 2)}


def _draw_sharpen(rng: np.random.Generator, strong: bool, side: int) -> Parameters:
    low, high = (2.4, 3.2) if strong else (1.2, 1.8)
    return {"sigma": round(max(0.8, 0.003 * side), 2), "amount": round(float(rng.uniform(low, high)), 2)}


@dataclass(frozen=True)
class _Recipe:
    draw: _Draw
    apply: _Apply
    has_degrees: bool = True


_RECIPES: dict[str, _Recipe] = {
    "brighten": _Recipe(_one("stops", (0.5, 0.8), (1.1, 1.5)), lambda rgb, p: expose(rgb, float(p["stops"]))),
    "darken": _Recipe(_one("stops", (-1.0, -0.6), (-2.2, -1.5)), lambda rgb, p: expose(rgb, float(p["stops"]))),
    "raise_contrast": _Recipe(_one("factor", (1.3, 1.5), (1.8, 2.1)), lambda rgb, p: contrast(rgb, float(p["factor"]))),
    "lower_contrast": _Recipe(
        _one("factor", (0.55, 0.7), (0.25, 0.4)), lambda rgb, p: contrast(rgb, float(p["factor"]))
    ),
    "saturate": _Recipe(_one("factor", (1.5, 1.8), (2.2, 2.6)), lambda rgb, p: saturate(rgb, float(p["factor"]))),
    "desaturate": _Recipe(_one("factor", (0.4, 0.6), (0.12, 0.25)), lambda rgb, p: saturate(rgb, float(p["factor"]))),
    "warm": _Recipe(_one("stops", (0.5, 0.8), (1.1, 1.5)), lambda rgb, p: warm(rgb, float(p["stops"]))),
    "cool": _Recipe(_one("stops", (-0.8, -0.5), (-1.5, -1.1)), lambda rgb, p: warm(rgb, float(p["stops"]))),
    "greyscale": _Recipe(_none, lambda rgb, p: greyscale(rgb), has_degrees=False),
    "sepia": _Recipe(_none, lambda rgb, p: sepia(rgb), has_degrees=False),
    "tint": _Recipe(_draw_tint, lambda rgb, p: tint(rgb, float(p["hue"]), float(p["chroma"])), has_degrees=False),
    "invert": _Recipe(_none, lambda rgb, p: invert(rgb), has_degrees=False),
    "blur": _Recipe(_draw_blur, lambda rgb, p: blur(rgb, float(p["sigma"]))),
    "sharpen": _Recipe(_draw_sharpen, lambda rgb, p: sharpen(rgb, float(p["sigma"]), float(p["amount"]))),
}


@dataclass(frozen=True)
class PhotometricEditor:
    """One edit of the whole picture's tone, colour or sharpness."""

    kind: str
    family: Family = "photometric"

    def applicable(self, photo: Photo) -> bool:
        """Any picture will do."""
        return True

    def propose(self, photo: Photo, rng: np.random.Generator) -> EditPair:
        """Draw the parameters and apply them."""
        recipe = _RECIPES[self.kind]
        strong = recipe.has_degrees and bool(rng.random() < 0.4)
        parameters = recipe.draw(rng, strong, max(photo.size))
        target = recipe.apply(photo.rgb, parameters)
        slots = {"colour": str(parameters["colour"])} if "colour" in parameters else {}
        instruction = instruct(self.kind, rng, strong, **slots)
        return EditPair(
            self.kind, self.family, photo.rgb, target, np.ones(photo.size, np.bool_), instruction, parameters
        )
