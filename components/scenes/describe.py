"""Captions: what is true of a scene, in many phrasings; and, for tests of curation, what is false of it."""

from __future__ import annotations

from collections import Counter

import numpy as np

from components.scenes.options import SceneOptions, distinguishable
from components.scenes.scene import Scene, SceneObject, with_object

NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine"}
RELATIONS = {
    "left": ("to the left of", "left of"),
    "right": ("to the right of", "right of"),
    "above": ("above", "higher up than"),
    "below": ("below", "underneath"),
}
SIZES = {"small": ("small", "little"), "large": ("large", "big")}
CLEAR = 0.12  # least difference of place, share of the side, for a relation to be said


def article(noun: str) -> str:
    """Return the noun with `a` or `an`."""
    return f"{'an' if noun[0] in 'aeio' else 'a'} {noun}"


def noun(item: SceneObject, rng: np.random.Generator, size: bool | None = None, fill: bool | None = None) -> str:
    """Return an object's noun phrase without article; size and fill words by chance where not asked for."""
    words = []
    if size if size is not None else rng.random() < 0.5:
        words.append(str(rng.choice(SIZES[item.size])))
    if (fill if fill is not None else rng.random() < 0.6) and item.fill != "solid":
        words.append(item.fill)
    return " ".join([*words, item.colour, item.shape])


def place(item: SceneObject) -> str:
    """Return where an object is, in words: `in the upper left`, `in the middle`."""
    column = "left" if item.x < 0.4 else "right" if item.x > 0.6 else ""
    row = "upper" if item.y < 0.4 else "lower" if item.y > 0.6 else ""
    if column and row:
        return f"in the {row} {column}"
    if column:
        return f"on the {column}"
    return {"upper": "at the top", "lower": "at the bottom", "": "in the middle"}[row]


def lies(item: SceneObject, words: str) -> bool:
    """True where words of `place` hold of an object. `at the bottom` holds of one in the lower left, too."""
    said = set(words.split())
    return not (
        ("left" in said and item.x >= 0.4)
        or ("right" in said and item.x <= 0.6)
        or (said & {"upper", "top"} and item.y >= 0.4)
        or (said & {"lower", "bottom"} and item.y <= 0.6)
        or ("middle" in said and place(item) != words)
    )


def ground(scene: Scene, rng: np.random.Generator) -> str:
    """Return words for the background."""
    name = f"light blue {scene.background}" if scene.background == "sky" else scene.background
    name = name.removesuffix(" sky")
    kind = (
        "graded "
        if scene.graded and rng.random() < 0.6
        else "plain "
        if not scene.graded and rng.random() < 0.3
        else ""
    )
    return str(rng.choice(["on a {} background", "against a {} background", "in front of a {} background"])).format(
        kind + name
    )


def relation(a: SceneObject, b: SceneObject, rng: np.random.Generator) -> str | None:
    """Return how `a` lies to `b`, along the axis on which they differ more, or None where neither is clear."""
    dx, dy = a.x - b.x, a.y - b.y
    if max(abs(dx), abs(dy)) < CLEAR:
        return None
    name = ("left" if dx < 0 else "right") if abs(dx) > abs(dy) else ("above" if dy < 0 else "below")
    return str(rng.choice(RELATIONS[name]))


def describe(scene: Scene, rng: np.random.Generator) -> str:
    """Return a true caption. Deterministic in `rng`."""
    items = [scene.objects[i] for i in rng.permutation(len(scene.objects))]
    back = ground(scene, rng)
    opening = str(
        rng.choice(
            ["a picture of {}", "{}", "there is {}", "an image that shows {}", "this picture shows {}", "we see {}"]
        )
    )
    if not items:
        return f"an empty picture, {back.split(' ', 1)[1]} and nothing on it"
    if len(items) == 1:
        body = f"{article(noun(items[0], rng))} {place(items[0])}"
        return opening.format(f"{body} {back}") if rng.random() < 0.7 else opening.format(f"{body} of the picture")
    counted = _counted(items)
    if counted and rng.random() < 0.6:
        body = counted
    elif len(items) == 2:
        body = _pair(items, rng)
    else:
        parts = [f"{article(noun(i, rng))}{' ' + place(i) if rng.random() < 0.6 else ''}" for i in items]
        body = f"{', '.join(parts[:-1])} and {parts[-1]}"
    return opening.replace("is {}", "are {}" if counted == body else "is {}").format(
        f"{body} {back}" if rng.random() < 0.6 else body
    )


def _counted(items: list[SceneObject]) -> str | None:
    """Return `two red circles and a blue square` where something occurs more than once, else None."""
    counts = Counter((o.colour, o.shape) for o in items)
    if max(counts.values()) < 2:
        return None
    parts = [
        f"{NUMBERS[n]} {c} {s}s" if n > 1 else article(f"{c} {s}")
        for (c, s), n in sorted(counts.items(), key=lambda e: -e[1])
    ]
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def _pair(items: list[SceneObject], rng: np.random.Generator) -> str:
    words = relation(items[0], items[1], rng)
    first, second = article(noun(items[0], rng)), article(noun(items[1], rng))
    if words and rng.random() < 0.6:
        return f"{first} {words} {second}"
    if rng.random() < 0.7:
        return f"{first} {place(items[0])} and {second} {place(items[1])}"
    return f"{first} and {second}"


def describe_wrong(scene: Scene, options: SceneOptions, rng: np.random.Generator) -> str:
    """Return a caption that is false: true of the scene with one object's colour or shape replaced.

    Every phrasing names each object's colour and shape, so none of them can hold of the scene itself.
    """
    if not scene.objects:
        raise ValueError("an empty scene has no object to be wrong about")
    index = int(rng.integers(len(scene.objects)))
    item = scene.objects[index]
    colours = [c for c in options.colours if c != item.colour and distinguishable(c, item.fill, scene.background)]
    shapes = [s for s in options.shapes if s != item.shape]
    if not colours and not shapes:
        raise ValueError("a wrong caption needs a second colour or shape in the vocabulary")
    change = (
        {"colour": str(rng.choice(colours))}
        if colours and (rng.random() < 0.5 or not shapes)
        else {"shape": str(rng.choice(shapes))}
    )
    return describe(with_object(scene, index, **change), rng)


def reference(scene: Scene, index: int, rng: np.random.Generator) -> str | None:
    """Return words that mean exactly one object of a scene (`the large red circle`), or None where none were found.

    The fewest words that suffice, and by chance more.
    """
    item = scene.objects[index]
    others = [o for i, o in enumerate(scene.objects) if i != index]
    forms = [
        (item.shape, lambda o: o.shape == item.shape),
        (f"{item.colour} {item.shape}", lambda o: (o.colour, o.shape) == (item.colour, item.shape)),
        (
            f"{item.size} {item.colour} {item.shape}",
            lambda o: (o.size, o.colour, o.shape) == (item.size, item.colour, item.shape),
        ),
    ]
    if item.fill != "solid":
        forms.append(
            (
                f"{item.fill} {item.colour} {item.shape}",
                lambda o: (o.fill, o.colour, o.shape) == (item.fill, item.colour, item.shape),
            )
        )
    forms.append(
        (
            f"{item.colour} {item.shape} {place(item)}",
            lambda o: (o.colour, o.shape) == (item.colour, item.shape) and lies(o, place(item)),
        )
    )
    unique = [words for words, means in forms if not any(means(o) for o in others)]
    return f"the {unique[int(rng.integers(len(unique)))]}" if unique else None
