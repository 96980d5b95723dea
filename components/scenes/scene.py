"""Scenes: what is in a picture, as data. Sampling, equality and JSON; drawing is in `render.py`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from components.scenes.options import (
    BACKGROUNDS,
    COLOURS,
    EXTENT,
    FILLS,
    GAP,
    RADII,
    REACH,
    SHAPES,
    SceneOptions,
)

ATTEMPTS = 1000  # fresh starts before a crowd is held to be impossible

# Global tones, as (scale, offset) per channel on 0-255 values; "none" is the picture as it is.
TONES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "none": ((1, 1, 1), (0, 0, 0)),
    "darker": ((0.6, 0.6, 0.6), (0, 0, 0)),
    "brighter": ((0.6, 0.6, 0.6), (102, 102, 102)),
    "warmer": ((0.9, 0.85, 0.6), (25.5, 8, 0)),
    "cooler": ((0.6, 0.85, 0.9), (0, 8, 25.5)),
}


@dataclass(frozen=True)
class SceneObject:
    """One object. `x` and `y` are its centre as shares of the picture's side, from the upper left."""

    shape: str
    colour: str
    size: str
    fill: str
    x: float
    y: float

    @property
    def radius(self) -> float:
        """The object's radius, share of the side."""
        return RADII[self.size]

    @property
    def appearance(self) -> tuple[str, str, str, str]:
        """All but the place."""
        return self.shape, self.colour, self.size, self.fill


@dataclass(frozen=True)
class Scene:
    """A picture's content: objects that do not overlap, a background (plain, or graded from top to bottom), a tone."""

    objects: tuple[SceneObject, ...]
    background: str
    graded: bool = False
    tone: str = "none"

    def to_dict(self) -> dict[str, Any]:
        """Return the scene as JSON values."""
        return asdict(self) | {"objects": [asdict(o) for o in self.objects]}

    @staticmethod
    def from_dict(value: Any) -> Scene:
        """Read `to_dict`'s value. Raises ValueError for anything else, such as a centre outside the picture."""
        try:
            objects = tuple(SceneObject(**{**o, "x": float(o["x"]), "y": float(o["y"])}) for o in value["objects"])
            scene = Scene(objects, value["background"], value["graded"], value["tone"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"this is no scene: {error!r}") from None
        for thing, known, given in (
            ("background", BACKGROUNDS, [scene.background]), ("tone", TONES, [scene.tone]),
            ("shape", SHAPES, [o.shape for o in objects]), ("colour", COLOURS, [o.colour for o in objects]),
            ("size", RADII, [o.size for o in objects]), ("fill", FILLS, [o.fill for o in objects]),
        ):  # fmt: skip
            for name in given:
                if not isinstance(name, str) or name not in known:
                    raise ValueError(f"this is no scene: unknown {thing} {name!r}")
        if not isinstance(scene.graded, bool):
            raise ValueError(f"this is no scene: graded is {scene.graded!r}, not true or false")
        for item in objects:
            if not (math.isfinite(item.x) and math.isfinite(item.y) and 0 <= item.x <= 1 and 0 <= item.y <= 1):
                raise ValueError(f"this is no scene: a centre at ({item.x}, {item.y}) lies outside the picture")
        return scene


def fits(candidate: SceneObject, others: tuple[SceneObject, ...]) -> bool:
    """True where an object lies inside the picture and clear of the others."""
    reach = candidate.radius * EXTENT
    if not (
        reach + GAP / 2 <= candidate.x <= 1 - reach - GAP / 2 and reach + GAP / 2 <= candidate.y <= 1 - reach - GAP / 2
    ):
        return False
    return all(
        np.hypot(candidate.x - o.x, candidate.y - o.y) >= (candidate.radius + o.radius) * REACH + GAP / 2
        # Side by side, the boxes around two objects may lie closer than the circles around their corners.
        or max(abs(candidate.x - o.x), abs(candidate.y - o.y)) >= reach + o.radius * EXTENT + GAP / 2
        for o in others
    )


def sample_place(
    options: SceneOptions, size: str, others: tuple[SceneObject, ...], rng: np.random.Generator
) -> tuple[float, float] | None:
    """Return a free place for an object of that size, or None where none was found."""
    reach = RADII[size] * EXTENT + GAP / 2
    if options.placement == "grid":
        cells = [(i, j) for i in range(options.grid) for j in range(options.grid)]
        for index in rng.permutation(len(cells)):
            shift = rng.uniform(-options.jitter, options.jitter, 2)
            x, y = ((np.array(cells[index]) + 0.5 + shift) / options.grid).tolist()
            if fits(SceneObject("circle", "red", size, "solid", x, y), others):
                return round(x, 4), round(y, 4)
        return None
    for _ in range(60):
        x, y = rng.uniform(reach, 1 - reach, 2).tolist()
        if fits(SceneObject("circle", "red", size, "solid", round(x, 4), round(y, 4)), others):
            return round(x, 4), round(y, 4)
    return None


def sample_object(
    options: SceneOptions,
    background: str,
    others: tuple[SceneObject, ...],
    rng: np.random.Generator,
    held_out: bool = False,
) -> SceneObject | None:
    """Return a new object that fits beside the others; with `held_out`, of a combination that is held out."""
    seen = options.appearances(background, held_out)
    for _ in range(8 if seen else 0):
        shape, colour, size, fill = seen[rng.integers(len(seen))]
        place = sample_place(options, size, others, rng)
        if place is not None:
            return SceneObject(shape, colour, size, fill, *place)
    return None


def sample_scene(options: SceneOptions, rng: np.random.Generator, held_out: bool = False) -> Scene:
    """Return a scene. With `held_out`, its first object is of a held-out combination. Deterministic in `rng`.

    Raises ValueError where `held_out` is asked for and no such object can be drawn, or no room is found for the
    objects.
    """
    if held_out and not options.held_out:
        raise ValueError("no combination is held out: set held_out")
    if held_out and not (options.max_objects and any(options.appearances(b, True) for b in options.backgrounds)):
        raise ValueError(
            f"none of the held-out combinations ({', '.join(options.held_out)}) can be drawn: max_objects must be "
            "at least 1, and one of them must be made of colours and shapes and stand out from a background"
        )
    for _ in range(ATTEMPTS):
        background = str(rng.choice(options.backgrounds))
        graded = bool(rng.random() < options.graded)
        count = max(int(rng.integers(options.min_objects, options.max_objects + 1)), int(held_out))
        objects: tuple[SceneObject, ...] = ()
        for index in range(count):
            added = sample_object(options, background, objects, rng, held_out and index == 0)
            if added is None:
                break
            objects = (*objects, added)
        # A crowded start leaves no room for the rest; begin again rather than give fewer objects.
        if len(objects) == count:
            return Scene(objects, background, graded)
    raise ValueError(
        f"no room was found for {options.min_objects} to {options.max_objects} objects in {ATTEMPTS} tries: "
        "lower max_objects, or let sizes hold small ones"
    )


def with_object(scene: Scene, index: int, **changes: Any) -> Scene:
    """Return the scene with one object changed."""
    objects = list(scene.objects)
    objects[index] = replace(objects[index], **changes)
    return replace(scene, objects=tuple(objects))


def same_scene(a: Scene, b: Scene, position_tolerance: float = 0.04) -> bool:
    """True where both hold the same objects at the same places (in any order), background and tone.

    `position_tolerance` is a share of the picture's side.
    """
    if (a.background, a.graded, a.tone, len(a.objects)) != (b.background, b.graded, b.tone, len(b.objects)):
        return False
    rest = list(b.objects)
    for one in a.objects:
        near = [
            o
            for o in rest
            if o.appearance == one.appearance and np.hypot(o.x - one.x, o.y - one.y) <= position_tolerance
        ]
        if not near:
            return False
        rest.remove(min(near, key=lambda o: float(np.hypot(o.x - one.x, o.y - one.y))))
    return True
