"""Captions read back: what a text of `describe` claims of a picture, and whether a scene is so. Making captions stands
in `describe.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace

from components.scenes.describe import CLEAR, NUMBERS, RELATIONS, SIZES, lies
from components.scenes.options import BACKGROUNDS, COLOURS, FILLS, SHAPES
from components.scenes.scene import Scene, SceneObject

SLACK = 0.02  # how far over its border a place may lie, share of the side: a reading is off by up to a pixel

_SIZE = {word: size for size, words in SIZES.items() for word in words}
_NUMBER = {"a": 1, "an": 1} | {word: number for number, word in NUMBERS.items()}
_RELATION = {words: name for name, phrasings in RELATIONS.items() for words in phrasings}
_GROUND = {name if name != "sky" else "light blue": name for name in BACKGROUNDS}
_PLACE = r"in the (?:upper|lower) (?:left|right)|on the (?:left|right)|at the (?:top|bottom)|in the middle"


def _any(words: object) -> str:
    return "|".join(map(re.escape, words))  # type: ignore[call-overload]


_OBJECT = re.compile(
    rf"\b({_any(_NUMBER)}) (?:({_any(_SIZE)}) )?(?:({_any(FILLS)}) )?"
    rf"({_any(COLOURS)}) ({_any(SHAPES)})s?\b(?: ({_PLACE}))?"
)
_BACK = re.compile(rf" ?(?:on|against|in front of) a (?:(graded|plain) )?({_any(_GROUND)}) background$")
_EMPTY = re.compile(rf"an empty picture, .*?(?:(graded|plain) )?({_any(_GROUND)}) background and nothing on it")
_OPENING = re.compile(
    r"^(?:a picture of|there (?:is|are)|an image that shows|this picture shows|we see) (?=#)| of the picture$"
)
_JOINED = re.compile(rf"#(?:(?:,| and) #)*|# ({_any(_RELATION)}) #")


@dataclass(frozen=True)
class Claim:
    """What is said of one object; an empty text is not said."""

    colour: str
    shape: str
    size: str = ""
    fill: str = ""
    place: str = ""  # in the words of `place`

    def holds(self, item: SceneObject) -> bool:
        """True where the object is as claimed."""
        return (
            (item.colour, item.shape) == (self.colour, self.shape)
            and self.size in ("", item.size)
            and self.fill in ("", item.fill)
            and (not self.place or _near(item, self.place))
        )


@dataclass(frozen=True)
class Caption:
    """What is said of a picture; what is not said is free, but for the number of objects."""

    objects: tuple[Claim, ...]
    background: str = ""  # empty: not said
    graded: bool | None = None
    relation: str = ""  # of the first object to the second: left, right, above or below

    def holds(self, scene: Scene) -> bool:
        """True where a scene holds these objects and no others, and all that is said of them and of the background."""
        if self.background not in ("", scene.background) or self.graded not in (None, scene.graded):
            return False
        if Counter((o.colour, o.shape) for o in self.objects) != Counter((o.colour, o.shape) for o in scene.objects):
            return False
        return self._assigned((), scene.objects)

    def _assigned(self, taken: tuple[SceneObject, ...], rest: tuple[SceneObject, ...]) -> bool:
        """True where the claims after the first `len(taken)` can each have an object of their own among the rest."""
        if not rest:
            return not self.relation or related(taken[0], taken[1], self.relation)
        return any(
            self.objects[len(taken)].holds(item) and self._assigned((*taken, item), rest[:i] + rest[i + 1 :])
            for i, item in enumerate(rest)
        )


def related(a: SceneObject, b: SceneObject, relation: str) -> bool:
    """True where `a` lies to `b` as the relation says, by half of what captions call clear."""
    dx, dy = a.x - b.x, a.y - b.y
    return {"left": -dx, "right": dx, "above": -dy, "below": dy}[relation] > CLEAR / 2


def read_caption(text: str) -> Caption:
    """Return what a caption of `describe` claims. Raises ValueError for a text that `describe` does not say."""
    if empty := _EMPTY.fullmatch(text):
        return Caption((), _GROUND[empty[2]], _graded(empty[1]))
    rest, background, graded = text, "", None
    if ground := _BACK.search(text):
        rest, background, graded = text[: ground.start()], _GROUND[ground[2]], _graded(ground[1])
    objects = []
    for number, size, fill, colour, shape, place in _OBJECT.findall(rest):
        objects += [Claim(colour, shape, _SIZE.get(size, ""), fill, place)] * _NUMBER[number]
    joined = _JOINED.fullmatch(_OPENING.sub("", _OBJECT.sub("#", rest)))
    if not joined:
        raise ValueError(f"{text!r} is no caption of the scenes world: give one that describe() returns")
    return Caption(tuple(objects), background, graded, _RELATION.get(joined[1] or "", ""))


def _graded(word: str | None) -> bool | None:
    return word == "graded" if word else None


def _near(item: SceneObject, words: str) -> bool:
    """True where words of `place` hold of an object, or of one that lies `SLACK` beside it."""
    steps = (0.0, -SLACK, SLACK)
    return any(lies(replace(item, x=item.x + dx, y=item.y + dy), words) for dx in steps for dy in steps)
