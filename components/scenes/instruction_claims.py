"""Instructions read back: does a text of `edits.py` lead from one scene to another. Making edits stands there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from components.scenes.caption_claims import Claim
from components.scenes.describe import lies
from components.scenes.edits import TONE_WORDS
from components.scenes.options import BACKGROUNDS, COLOURS, FILLS, RADII, SHAPES
from components.scenes.scene import Scene, SceneObject, with_object


def _any(words: object) -> str:
    return "|".join(map(re.escape, words))  # type: ignore[call-overload]


_PLACE = r"in the (?:upper|lower) (?:left|right)|on the (?:left|right)|at the (?:top|bottom)|in the middle"
_SIDE = r"to the (?:(?:upper|lower) )?(?:left|right|top|bottom|middle)"
_COLOUR, _SHAPE, _SIZE, _FILL = _any(COLOURS), _any(SHAPES), _any(RADII), _any(FILLS)
_THE = (
    rf"the (?:(?P<size>{_SIZE}) |(?P<fill>{_FILL}) )?(?:(?P<colour>{_COLOUR}) )?(?P<shape>{_SHAPE})"
    rf"(?: (?P<place>{_PLACE}))?"
)
_GROUND = {"light blue" if name == "sky" else name: name for name in BACKGROUNDS}
_TONE = {words: tone for tone, phrasings in TONE_WORDS.items() for words in phrasings}
Reading = Callable[[re.Match[str], Scene, Scene], bool]


def _picked(said: re.Match[str], scene: Scene) -> int | None:
    """Return the one object that the words mean; None where they mean none, or several."""
    wanted = {name: said[name] for name in ("size", "fill", "colour", "shape") if said[name]}
    found = [
        index
        for index, item in enumerate(scene.objects)
        if all(getattr(item, name) == value for name, value in wanted.items())
        and (not said["place"] or lies(item, said["place"]))
    ]
    return found[0] if len(found) == 1 else None


def _changed(option: str) -> Reading:
    """The object that is meant has another colour, shape or size, and all else is as before."""

    def read(said: re.Match[str], source: Scene, target: Scene) -> bool:
        index = _picked(said, source)
        value = {"bigger": "large", "smaller": "small"}.get(said["new"], said["new"])
        return index is not None and target == with_object(source, index, **{option: value}) != source

    return read


def _removed(said: re.Match[str], source: Scene, target: Scene) -> bool:
    index = _picked(said, source)
    rest = source.objects[:index] + source.objects[index + 1 :] if index is not None else source.objects
    return index is not None and target == replace(source, objects=rest)


def _added(said: re.Match[str], source: Scene, target: Scene) -> bool:
    if target != replace(source, objects=target.objects) or target.objects[:-1] != source.objects:
        return False
    item = target.objects[-1]
    claim = Claim(said["colour"], said["shape"], said["size"], said["fill"] or "solid", said["place"])
    return claim.holds(item)


def _moved(said: re.Match[str], source: Scene, target: Scene) -> bool:
    index = _picked(said, source)
    if index is None or len(target.objects) != len(source.objects):
        return False
    moved: SceneObject = target.objects[index]
    where = said["where"].replace(
        "to the", "in the" if "upper" in said["where"] or "lower" in said["where"] else "on the"
    )
    where = {"on the top": "at the top", "on the bottom": "at the bottom", "on the middle": "in the middle"}.get(
        where, where
    )
    return target == with_object(source, index, x=moved.x, y=moved.y) != source and lies(moved, where)


def _grounded(said: re.Match[str], source: Scene, target: Scene) -> bool:
    return target == replace(source, background=_GROUND[said["new"]]) != source


def _toned(said: re.Match[str], source: Scene, target: Scene) -> bool:
    return target == replace(source, tone=_TONE[said[0]]) != source


_READINGS: tuple[tuple[re.Pattern[str], Reading], ...] = tuple(
    (re.compile(pattern), reading)
    for pattern, reading in (
        (rf"(?:make|paint|turn) {_THE} (?P<new>{_COLOUR})", _changed("colour")),
        (rf"change the colour of {_THE} to (?P<new>{_COLOUR})", _changed("colour")),
        (rf"(?:remove|erase) {_THE}", _removed),
        (rf"take {_THE} away", _removed),
        (rf"delete {_THE} from the picture", _removed),
        (
            rf"(?:add|put|draw|insert) an? (?P<size>{_SIZE}) (?:(?P<fill>{_FILL}) )?(?P<colour>{_COLOUR}) "
            rf"(?P<shape>{_SHAPE}) (?P<place>{_PLACE})",
            _added,
        ),
        (rf"(?:move|shift) {_THE} (?P<where>{_SIDE})", _moved),
        (rf"place {_THE} (?P<where>{_PLACE}) instead", _moved),
        (rf"make {_THE} (?P<new>bigger|smaller|large|small)", _changed("size")),
        (rf"change the size of {_THE} to (?P<new>large|small)", _changed("size")),
        (rf"replace {_THE} with a (?P<new>{_SHAPE})", _changed("shape")),
        (rf"(?:turn|change) {_THE} (?:in)?to a (?P<new>{_SHAPE})", _changed("shape")),
        (rf"(?:change|make) the background (?:to )?(?P<new>{_any(_GROUND)})", _grounded),
        (rf"give the picture a (?P<new>{_any(_GROUND)}) background", _grounded),
        (_any(_TONE), _toned),
    )
)


def follows(instruction: str, source: Scene, target: Scene) -> bool:
    """Return whether an instruction, in the words of `edits.sample_edit`, asks for what leads from one to the other."""
    return any(
        match is not None and reading(match, source, target)
        for pattern, reading in _READINGS
        if (match := pattern.fullmatch(instruction)) is not None
    )
