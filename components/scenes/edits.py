"""Edits of scenes with exact results: an instruction, and the scene that follows from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from components.scenes.describe import article, place, reference
from components.scenes.options import EDIT_KINDS, SceneOptions, distinguishable
from components.scenes.render import render
from components.scenes.scene import TONES, Scene, SceneObject, fits, sample_object, sample_place, with_object

MIN_MOVE = 0.15  # least distance an object is moved, share of the side
TONE_WORDS = {
    "darker": ("make the whole picture darker", "darken the image", "turn the brightness of the picture down"),
    "brighter": ("make the whole picture brighter", "brighten the image", "turn the brightness of the picture up"),
    "warmer": (
        "give the picture a warmer tone",
        "make the colours of the image warmer",
        "shift the picture towards warm colours",
    ),
    "cooler": (
        "give the picture a cooler tone",
        "make the colours of the image cooler",
        "shift the picture towards cold colours",
    ),
}


@dataclass(frozen=True)
class Edit:
    """One edit: its kind, the instruction, and the exact scene after it."""

    kind: str
    instruction: str
    target: Scene


def sample_edit(
    scene: Scene, options: SceneOptions, rng: np.random.Generator, kinds: tuple[str, ...] = EDIT_KINDS
) -> Edit | None:
    """Return an edit of one of the kinds that is possible for the scene, or None where none is. Deterministic in `rng`.

    Raises ValueError for a kind that does not exist.
    """
    unknown = [kind for kind in kinds if kind not in EDIT_KINDS]
    if unknown:
        raise ValueError(f"no edit of kind {unknown[0]!r}; known are {', '.join(EDIT_KINDS)}")
    for position in rng.permutation(len(kinds)):
        made = MAKERS[kinds[position]](scene, options, rng)
        if made is not None and not (made[1].tone == "none" and _held_out(made[1], scene, options)):
            return Edit(kinds[position], made[0], made[1])
    return None


def change_mask(source: Scene, target: Scene, size: int = 64) -> np.ndarray:
    """Return the pixels that the edit changes, bool [S, S]: every one where the two pictures differ."""
    return picture_change(render(source, size), render(target, size))


def picture_change(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the pixels in which two pictures [S, S, 3] differ, bool [S, S]."""
    return np.asarray((source != target).any(-1))


def _held_out(target: Scene, source: Scene, options: SceneOptions) -> bool:
    """An edit must not bring in a combination that training is to be kept from, unless the source has it."""
    before = {(o.colour, o.shape) for o in source.objects}
    return any(not options.allowed(o.colour, o.shape) and (o.colour, o.shape) not in before for o in target.objects)


def _say(rng: np.random.Generator, *phrasings: str) -> str:
    return phrasings[int(rng.integers(len(phrasings)))]


Made = tuple[str, Scene] | None


def _pick(scene: Scene, rng: np.random.Generator) -> tuple[int, SceneObject, str] | None:
    """Return an object that words can single out."""
    for index in rng.permutation(len(scene.objects)):
        words = reference(scene, int(index), rng)
        if words is not None:
            return int(index), scene.objects[index], words
    return None


def _recolour(scene: Scene, options: SceneOptions, rng: np.random.Generator) -> Made:
    picked = _pick(scene, rng)
    if picked is None:
        return None
    index, item, words = picked
    colours = [
        c
        for c in options.colours
        if c != item.colour and options.allowed(c, item.shape) and distinguishable(c, item.fill, scene.background)
    ]
    if not colours:
        return None
    colour = str(rng.choice(colours))
    said = _say(
        rng,
        f"make {words} {colour}",
        f"change the colour of {words} to {colour}",
        f"paint {words} {colour}",
        f"turn {words} {colour}",
    )
    return said, with_object(scene, index, colour=colour)


def _remove(scene: Scene, options: SceneOptions, rng: np.random.Generator) -> Made:
    picked = _pick(scene, rng)
    if picked is None:
        return None
    index, _, words = picked
    said = _say(rng, f"remove {words}", f"take {words} away", f"delete {words} from the picture", f"erase {words}")
    return said, replace(scene, objects=scene.objects[:index] + scene.objects[index + 1 :])


def _add(scene: Scene, options: SceneOptions, rng: np.random.Generator) -> Made:
    added = sample_object(options, scene.background, scene.objects, rng)
    if added is None or len(scene.objects) >= 5:
        return None
    fill = f"{added.fill} " if added.fill != "solid" else ""
    words = f"{article(f'{added.size} {fill}{added.colour} {added.shape}')} {place(added)}"
    return _say(rng, f"add {words}", f"put {words}", f"draw {words}", f"insert {words}"), replace(
        scene, objects=(*scene.objects, added)
    )


def _move(scene: Scene, options: SceneOptions, rng: np.random.Generator) -> Made:
    picked = _pick(scene, rng)
    if picked is None:
        return None
    index, item, words = picked
    others = scene.objects[:index] + scene.objects[index + 1 :]
    for _ in range(8):
        found = sample_place(options, item.size, others, rng)
        if found is None:
            return None
        moved = replace(item, x=found[0], y=found[1])
        if place(moved) != place(item) and np.hypot(moved.x - item.x, moved.y - item.y) >= MIN_MOVE:
            where = place(moved).replace("in the", "to the").replace("on the", "to the").replace("at the", "to the")
            said = _say(rng, f"move {words} {where}", f"shift {words} {where}", f"place {words} {place(moved)} instead")
            return said, with_object(scene, index, x=moved.x, y=moved.y)
    return None


def _resize(scene: Scene, options: SceneOptions, rng: np.random.Generator) -> Made:
    picked = _pick(scene, rng)
    if picked is None or len(options.sizes) < 2:
        return None
    index, item, words = picked
    size = "large" if item.size == "small" else "small"
    changed = replace(item, size=size)
    others = scene.objects[:index] + scene.objects[index + 1 :]
    if not fits(changed, others):
        return None
    word = "bigger" if size == "large" else "smaller"
    return _say(
        rng, f"make {words} {word}", f"make {words} {size}", f"change the size of {words} to {size}"
    ), with_object(scene, index, size=size)


def _replace_shape(scene: Scene, options: SceneOptions, rng: np.random.Generator) -> Made:
    picked = _pick(scene, rng)
    if picked is None:
        return None
    index, item, words = picked
    shapes = [s for s in options.shapes if s != item.shape and options.allowed(item.colour, s)]
    if not shapes:
        return None
    shape = str(rng.choice(shapes))
    said = _say(rng, f"replace {words} with a {shape}", f"turn {words} into a {shape}", f"change {words} to a {shape}")
    return said, with_object(scene, index, shape=shape)


def _background(scene: Scene, options: SceneOptions, rng: np.random.Generator) -> Made:
    names = [
        b
        for b in options.backgrounds
        if b != scene.background and all(distinguishable(o.colour, o.fill, b) for o in scene.objects)
    ]
    if not names:
        return None
    name = str(rng.choice(names))
    word = "light blue" if name == "sky" else name
    said = _say(
        rng, f"change the background to {word}", f"make the background {word}", f"give the picture a {word} background"
    )
    return said, replace(scene, background=name)


def _tone(scene: Scene, options: SceneOptions, rng: np.random.Generator) -> Made:
    if scene.tone != "none":
        return None
    tone = str(rng.choice([t for t in TONES if t != "none"]))
    return _say(rng, *TONE_WORDS[tone]), replace(scene, tone=tone)


MAKERS: dict[str, Callable[[Scene, SceneOptions, np.random.Generator], Made]] = {
    "recolour": _recolour,
    "remove": _remove,
    "add": _add,
    "move": _move,
    "resize": _resize,
    "replace_shape": _replace_shape,
    "background": _background,
    "tone": _tone,
}
