"""Prompts that a picture can be held to: GenEval's six categories in kind, in the words of the training captions.

A prompt is a caption that `describe` gives of a true scene; what it claims is read from its own words
(`caption_claims.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from components.scenes.caption_claims import Caption, read_caption
from components.scenes.describe import NUMBERS, describe
from components.scenes.options import CATEGORIES, COUNTS, SceneOptions, distinguishable
from components.scenes.scene import Scene, sample_scene

SCENES, CAPTIONS = 200, 40  # scenes drawn for one prompt, and captions of each


@dataclass(frozen=True)
class Prompt:
    """A text, the scene it was made from, and what it claims."""

    text: str
    category: str
    scene: Scene
    caption: Caption


def holds(prompt: Prompt, scene: Scene) -> bool:
    """True where a scene, as an inspector read it, is what the prompt asks for: these objects, no others, and every
    claim.
    """
    return prompt.caption.holds(scene)


def sample_prompt(
    options: SceneOptions, category: str, rng: np.random.Generator, held_out: bool = False
) -> Prompt | None:
    """Return a prompt of a category, an object of it of a held-out combination where `held_out`; None where the world
    has no such scenes.

    `single_object`: anything said of one. `colours`: one, of which only colour and place are said; all colours alike.
    `two_objects`: two that differ, only joined. `counting`: several of one colour and shape. `position`: several, with
    places or a relation. `attribute_binding`: two that differ in colour and in shape, anything said. Raises ValueError
    for a category that does not exist.
    """
    if category not in CATEGORIES:
        raise ValueError(f"no category {category!r}; known are {', '.join(CATEGORIES)}")
    low, high = COUNTS[category]
    fewest, most = max(low, options.min_objects), min(high, options.max_objects)
    if fewest > most:
        return None
    colour = ""
    if category == "colours":
        shown = {seen[1] for background in options.backgrounds for seen in options.appearances(background, held_out)}
        colour = str(rng.choice(sorted(shown))) if shown else ""
    for _ in range(SCENES):
        count = int(rng.integers(fewest, most + 1))
        scene = sample_scene(replace(options, min_objects=count, max_objects=count), rng, held_out)
        if colour and scene.objects[0].colour != colour:
            continue
        if category == "counting":
            scene = _repeated(scene, rng)
        prompt = _say(scene, category, rng)
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


def _say(scene: Scene, category: str, rng: np.random.Generator) -> Prompt | None:
    """Return the first of some captions of a scene that is of the category."""
    for _ in range(CAPTIONS):
        text = describe(scene, rng)
        caption = read_caption(text)
        if SUITS[category](caption):
            return Prompt(text, category, scene, caption)
    return None


def _repeated(scene: Scene, rng: np.random.Generator) -> Scene:
    """Give 2 or more objects of a scene the first one's colour and shape: scenes that have them by chance are few."""
    first = scene.objects[0]
    same = int(rng.integers(2, min(len(scene.objects), max(NUMBERS)) + 1))
    made = [replace(o, colour=first.colour, shape=first.shape) for o in scene.objects[1:same]]
    made = [o if distinguishable(o.colour, o.fill, scene.background) else replace(o, fill=first.fill) for o in made]
    return replace(scene, objects=(first, *made, *scene.objects[same:]))


def _looks(caption: Caption) -> list[tuple[str, str]]:
    return [(o.colour, o.shape) for o in caption.objects]


def _counted(caption: Caption) -> bool:
    """True for `two red circles`, not for `a red circle on the left and a red circle on the right`."""
    bare = not caption.relation and not any(o.size or o.fill or o.place for o in caption.objects)
    return bare and len(set(_looks(caption))) < len(caption.objects)


def _placed(caption: Caption) -> bool:
    return bool(caption.relation) or any(o.place for o in caption.objects)


def _bound(caption: Caption) -> bool:
    first, second = caption.objects
    return first.colour != second.colour and first.shape != second.shape


SUITS: dict[str, Callable[[Caption], bool]] = {
    "single_object": lambda caption: True,
    "two_objects": lambda caption: not _placed(caption) and len(set(_looks(caption))) == 2,
    "counting": _counted,
    "colours": lambda caption: not (caption.objects[0].size or caption.objects[0].fill or caption.background),
    "position": _placed,
    "attribute_binding": _bound,
}
