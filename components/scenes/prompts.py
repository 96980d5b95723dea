"""Prompts that a picture can be held to: GenEval's six categories in kind, in the words of the training captions, with what each claims.

A picture is right when it holds exactly the objects asked for and everything said of them; what the prompt leaves open is free.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from components.scenes.describe import CLEAR, NUMBERS, RELATIONS, article, ground, lies, place
from components.scenes.options import SceneOptions
from components.scenes.scene import Scene, SceneObject, sample_scene

CATEGORIES = ("single_object", "two_objects", "counting", "colours", "position", "attribute_binding")
ATTEMPTS = 200  # scenes drawn for one prompt


@dataclass(frozen=True)
class Claim:
    """What a prompt says of one object."""

    colour: str
    shape: str
    place: str = ""  # in the words of `place`; empty: not said

    def holds(self, item: SceneObject) -> bool:
        """True where the object is as claimed."""
        return (item.colour, item.shape) == (self.colour, self.shape) and (not self.place or lies(item, self.place))


@dataclass(frozen=True)
class Prompt:
    """A text, the scene it was made from, and its claims."""

    text: str
    category: str
    scene: Scene
    claims: tuple[Claim, ...]
    background: str = ""
    relation: str = ""  # of the first claim's object to the second's: left, right, above or below


def holds(prompt: Prompt, scene: Scene) -> bool:
    """True where a scene, as an inspector read it, is what the prompt asks for: these objects, no others, and every claim."""
    if len(scene.objects) != len(prompt.claims) or (prompt.background and scene.background != prompt.background):
        return False
    return any(
        all(claim.holds(item) for claim, item in zip(prompt.claims, items, strict=True))
        and (not prompt.relation or related(items[0], items[1], prompt.relation))
        for items in itertools.permutations(scene.objects)
    )


def related(a: SceneObject, b: SceneObject, relation: str) -> bool:
    """True where `a` lies to `b` as the relation says, by half of what captions call clear."""
    dx, dy = a.x - b.x, a.y - b.y
    return {"left": -dx, "right": dx, "above": -dy, "below": dy}[relation] > CLEAR / 2


def sample_prompt(
    options: SceneOptions, category: str, rng: np.random.Generator, held_out: bool = False
) -> Prompt | None:
    """Return a prompt of a category, its first object of a held-out combination where `held_out`; None where the world has no such scenes.

    Raises ValueError for a category that does not exist.
    """
    if category not in CATEGORIES:
        raise ValueError(f"no category {category!r}; known are {', '.join(CATEGORIES)}")
    count = 1 if category in ("single_object", "colours") else 2
    if not options.min_objects <= count <= options.max_objects:
        return None
    world = replace(options, min_objects=count, max_objects=count)
    for _ in range(ATTEMPTS):
        scene = sample_scene(world, rng, held_out)
        prompt = MAKERS[category](scene, rng)
        if prompt is not None:
            return prompt
    return None


def sample_prompts(
    options: SceneOptions, category: str, count: int, rng: np.random.Generator, held_out: bool = False
) -> list[Prompt]:
    """Return `count` prompts of a category; none where the world has no such scenes."""
    found = []
    for _ in range(count):
        prompt = sample_prompt(options, category, rng, held_out)
        if prompt is None:
            return []
        found.append(prompt)
    return found


def _noun(item: SceneObject) -> str:
    return article(f"{item.colour} {item.shape}")


def _single(scene: Scene, rng: np.random.Generator) -> Prompt:
    (item,) = scene.objects
    text = f"{_noun(item)} {place(item)} {_ground(scene, rng)}"
    return Prompt(text, "single_object", scene, (Claim(item.colour, item.shape, place(item)),), scene.background)


def _colours(scene: Scene, rng: np.random.Generator) -> Prompt:
    (item,) = scene.objects
    text = f"a picture of {_noun(item)} {place(item)} of the picture"
    return Prompt(text, "colours", scene, (Claim(item.colour, item.shape, place(item)),))


def _counting(scene: Scene, rng: np.random.Generator) -> Prompt:
    first, second = scene.objects
    # Scenes of two objects that are the same by chance are few: the second one is made like the first.
    twins = replace(scene, objects=(first, replace(second, colour=first.colour, shape=first.shape)))
    text = f"{NUMBERS[2]} {first.colour} {first.shape}s {_ground(scene, rng)}"
    return Prompt(text, "counting", twins, (Claim(first.colour, first.shape),) * 2, scene.background)


def _two(scene: Scene, rng: np.random.Generator) -> Prompt | None:
    first, second = scene.objects
    if first.shape == second.shape:
        return None
    text = f"{_noun(first)} and {_noun(second)} {_ground(scene, rng)}"
    return Prompt(text, "two_objects", scene, tuple(Claim(o.colour, o.shape) for o in scene.objects), scene.background)


def _position(scene: Scene, rng: np.random.Generator) -> Prompt | None:
    first, second = scene.objects
    dx, dy = first.x - second.x, first.y - second.y
    if (first.colour, first.shape) == (second.colour, second.shape) or max(abs(dx), abs(dy)) < CLEAR:
        return None
    name = ("left" if dx < 0 else "right") if abs(dx) > abs(dy) else ("above" if dy < 0 else "below")
    text = f"{_noun(first)} {rng.choice(RELATIONS[name])} {_noun(second)} {_ground(scene, rng)}"
    claims = tuple(Claim(o.colour, o.shape) for o in scene.objects)
    return Prompt(text, "position", scene, claims, scene.background, name)


def _binding(scene: Scene, rng: np.random.Generator) -> Prompt | None:
    first, second = scene.objects
    if first.colour == second.colour or first.shape == second.shape:
        return None
    text = f"{_noun(first)} {place(first)} and {_noun(second)} {place(second)} {_ground(scene, rng)}"
    claims = tuple(Claim(o.colour, o.shape, place(o)) for o in scene.objects)
    return Prompt(text, "attribute_binding", scene, claims, scene.background)


def _ground(scene: Scene, rng: np.random.Generator) -> str:
    return ground(replace(scene, graded=False), rng)


MAKERS: dict[str, Any] = {
    "single_object": _single,
    "two_objects": _two,
    "counting": _counting,
    "colours": _colours,
    "position": _position,
    "attribute_binding": _binding,
}
