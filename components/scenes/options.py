"""The world's vocabulary, and the options that say how complex its scenes are. Standard library only, for the
configuration.
"""

from __future__ import annotations

import difflib
import functools
import itertools
from dataclasses import dataclass
from typing import Literal

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "red": (220, 40, 40),
    "orange": (245, 140, 20),
    "yellow": (245, 215, 40),
    "green": (40, 165, 60),
    "cyan": (40, 190, 210),
    "blue": (40, 80, 220),
    "purple": (140, 50, 190),
    "pink": (240, 120, 180),
}
BACKGROUNDS: dict[str, Colour] = {
    "white": (245, 245, 245),
    "grey": (140, 140, 140),
    "black": (25, 25, 25),
    "cream": (240, 225, 190),
    "sky": (190, 215, 240),
}
SHAPES = ("circle", "square", "triangle", "diamond")
FILLS = ("solid", "outlined", "striped")
RADII = {"small": 0.12, "large": 0.18}  # share of the picture's side
EXTENT = 1.15  # how far a shape reaches from its centre along x and y, in radii
REACH = 1.4  # how far its corners reach, in radii
GAP = 0.035  # least free space between two objects, share of the side
MIN_CONTRAST = 95.0  # least RGB distance of an object's colours from the background
MANY = 1_000
# Category of prompts (GenEval's in kind) -> fewest and most objects.
COUNTS = {
    "single_object": (1, 1), "two_objects": (2, 2), "counting": (2, MANY), "colours": (1, 1), "position": (2, MANY),
    "attribute_binding": (2, 2),
}  # fmt: skip
CATEGORIES = tuple(COUNTS)
EDIT_KINDS = ("recolour", "remove", "add", "move", "resize", "replace_shape", "background", "tone")


def stripe_colour(colour: Colour) -> Colour:
    """Return the darker colour that alternates with `colour` in a striped object."""
    red, green, blue = (round(0.6 * value) for value in colour)
    return red, green, blue


@functools.cache  # asked for every appearance of every object that is drawn
def distinguishable(colour: str, fill: str, background: str) -> bool:
    """True where an object of that colour and fill stands out from the background, in each of its own colours."""
    base = BACKGROUNDS[background]
    shown = [COLOURS[colour]] + ([stripe_colour(COLOURS[colour])] if fill == "striped" else [])
    contrasts = [sum((a - b) ** 2 for a, b in zip(value, base, strict=True)) ** 0.5 for value in shown]
    return min(contrasts) >= MIN_CONTRAST and min(contrasts) >= 0.55 * max(contrasts)


@dataclass(frozen=True)
class SceneOptions:
    """How complex scenes are, from one object on a plain background up."""

    size: int = 64  # side of the square picture, in pixels
    min_objects: int = 1  # fewest objects
    max_objects: int = 2  # most objects
    shapes: tuple[str, ...] = SHAPES  # shapes that occur
    colours: tuple[str, ...] = tuple(COLOURS)  # colours of objects
    sizes: tuple[str, ...] = tuple(RADII)  # sizes of objects
    fills: tuple[str, ...] = FILLS  # fills of objects
    backgrounds: tuple[str, ...] = tuple(BACKGROUNDS)  # colours of the background
    graded: float = 0.3  # share of scenes whose background runs from light to dark
    placement: Literal["grid", "free"] = "free"  # in cells of a grid, or anywhere
    grid: int = 2  # cells per side, for placement grid
    jitter: float = 0.04  # largest shift from a cell's centre, in cells
    held_out: tuple[str, ...] = ()  # "colour shape" combinations kept out of sampled scenes

    def __post_init__(self) -> None:
        for name, known in (
            ("shapes", SHAPES), ("colours", COLOURS), ("sizes", RADII), ("fills", FILLS), ("backgrounds", BACKGROUNDS)
        ):  # fmt: skip
            _check_names(name, getattr(self, name), tuple(known))
        _check_names("held_out", self.held_out, tuple(f"{c} {s}" for c in COLOURS for s in SHAPES), empty=True)
        if not 16 <= self.size <= 1024:
            raise ValueError(f"size is {self.size}; scenes are drawn from 16 to 1024 pixels")
        if not 0 <= self.graded <= 1:
            raise ValueError(f"graded is {self.graded}; it is a share between 0 and 1")
        if not 0 <= self.min_objects <= self.max_objects:
            raise ValueError(
                f"min_objects {self.min_objects} and max_objects {self.max_objects} must hold 0 <= min <= max"
            )
        most = 5 if "small" in self.sizes else 4
        if self.placement == "free" and self.max_objects > most:
            raise ValueError(
                f"max_objects is {self.max_objects}; at most {most} {' or '.join(self.sizes)} objects fit in "
                "free places"
            )
        if self.placement == "grid":
            self._check_grid()
        if not any(self.allowed(c, s) for c in self.colours for s in self.shapes):
            raise ValueError("held_out leaves no combination of colour and shape to sample")
        for background in self.backgrounds:
            if not any(distinguishable(c, f, background) for c in self.colours for f in self.fills):
                raise ValueError(f"no colour of {', '.join(self.colours)} stands out from a {background} background")
            if not self.appearances(background):
                raise ValueError(f"held_out leaves no colour and shape that stands out from a {background} background")

    def _check_grid(self) -> None:
        if self.grid < 1:
            raise ValueError(f"grid is {self.grid}; a grid has at least 1 cell per side")
        if not 0 <= self.jitter <= 0.5:
            raise ValueError(f"jitter is {self.jitter}; it is a share of a cell, 0 to 0.5")
        if self.max_objects > self.grid**2:
            raise ValueError(
                f"max_objects is {self.max_objects}, but a grid of {self.grid} has only {self.grid**2} cells"
            )
        room = 0.5 / self.grid * (1 - 2 * self.jitter) - GAP / 2
        for name in self.sizes:
            if RADII[name] * EXTENT > room:
                raise ValueError(
                    f"{name} objects do not fit in the cells of a grid of {self.grid} with jitter {self.jitter}: "
                    "lower grid or jitter, or leave that size out"
                )

    def allowed(self, colour: str, shape: str) -> bool:
        """True where the combination is not held out."""
        return f"{colour} {shape}" not in self.held_out

    def appearances(self, background: str, held_out: bool = False) -> list[tuple[str, str, str, str]]:
        """Return each (shape, colour, size, fill) that may stand on a background; with `held_out`, the held-out
        ones.
        """
        return [
            (shape, colour, size, fill)
            for shape, colour, size, fill in itertools.product(self.shapes, self.colours, self.sizes, self.fills)
            if self.allowed(colour, shape) != held_out and distinguishable(colour, fill, background)
        ]


def _check_names(field: str, given: tuple[str, ...], known: tuple[str, ...], empty: bool = False) -> None:
    if not given and not empty:
        raise ValueError(f"{field} is empty; known are {', '.join(known)}")
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"
            raise ValueError(f"{field}: no {name!r}; {hint}")
    if len(set(given)) != len(given):
        raise ValueError(f"{field} names something twice: {', '.join(given)}")
