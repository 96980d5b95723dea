"""GenEval's rules: is what a prompt asks for among the objects that a detector found? No detector here.

As published (Ghosh et al. 2023, arXiv 2310.11513, and its code): an object counts above a confidence of 0.3, in the
task `counting` above 0.9; of each class the 16 most confident; boxes of one class may overlap unless `max_overlap` is
below 1. Colour and position are those of the most confident objects alone, as many as were asked for. `position` holds
where the centres' distance, less a tenth of both boxes' sizes, lies in that direction by more than half of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
COUNTING = "counting"  # the tag with a threshold of its own
BACKGROUND = 0x99  # the grey of what is no part of an object, where its mask is known
NEAR = 1e-3  # pixels: a distance below it is none
# Classes as other detectors name them -> as GenEval's prompts do: COCO's own three, and VOC's.
NAMES = {
    "mouse": "computer mouse", "remote": "tv remote", "keyboard": "computer keyboard",
    "motorbike": "motorcycle", "aeroplane": "airplane", "sofa": "couch", "pottedplant": "potted plant",
    "diningtable": "dining table", "tvmonitor": "tv", "hair dryer": "hair drier",
}  # fmt: skip

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels


@dataclass(frozen=True)
class Found:
    """An object: its box, the detector's confidence, and its pixels, bool [H, W], where the detector says them."""

    box: Box
    score: float
    mask: np.ndarray | None = None


@dataclass(frozen=True)
class Rules:
    """The thresholds, as published."""

    threshold: float = 0.3
    counting_threshold: float = 0.9
    max_objects: int = 16  # of a class
    max_overlap: float = 1.0  # intersection over union from which the less confident one is dropped; 1: never
    position_threshold: float = 0.1  # of both boxes' sizes together

    def __post_init__(self) -> None:
        for name in ("threshold", "counting_threshold", "max_overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is from 0 to 1")
        if self.max_objects < 1 or self.position_threshold < 0:
            raise ValueError("max_objects starts at 1, and position_threshold at 0")


PUBLISHED = Rules()

# Class name and objects of it -> the colour of each, one of COLOURS.
ColoursOf = Callable[[str, Sequence[Found]], Sequence[str]]


def class_name(label: str) -> str:
    """Return a detector's class as GenEval's prompts name it."""
    plain = " ".join(label.lower().replace("_", " ").replace("-", " ").split())
    return NAMES.get(plain, plain)


def kept(found: Mapping[str, Sequence[Found]], tag: str, rules: Rules = PUBLISHED) -> dict[str, list[Found]]:
    """Return the objects that count for a prompt of a tag, by class, the most confident first."""
    threshold = rules.counting_threshold if tag == COUNTING else rules.threshold
    objects: dict[str, list[Found]] = {}
    for name, candidates in found.items():
        confident = [each for each in candidates if each.score > threshold]
        left = sorted(confident, key=lambda each: -each.score)[: rules.max_objects]
        taken: list[Found] = []
        while left:
            first, *rest = left
            taken.append(first)
            left = [e for e in rest if rules.max_overlap == 1 or overlap(first.box, e.box) < rules.max_overlap]
        if taken:
            objects[name] = taken
    return objects


def overlap(a: Box, b: Box) -> float:
    """Return the intersection over union of two boxes whose last pixel is their own."""

    def area(left: float, top: float, right: float, bottom: float) -> float:
        return max(right - left + 1, 0) * max(bottom - top + 1, 0)

    shared = area(max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    whole = area(*a) + area(*b) - shared
    return shared / whole if whole else 0.0


def relations(a: Box, b: Box, threshold: float = PUBLISHED.position_threshold) -> set[str]:
    """Return where box `a` lies from box `b`: none, one or two of `left of`, `right of`, `above`, `below`."""
    offset = [(a[i] + a[i + 2] - b[i] - b[i + 2]) / 2 for i in (0, 1)]
    sizes = [abs(a[i + 2] - a[i]) + abs(b[i + 2] - b[i]) for i in (0, 1)]
    apart = [math.copysign(max(abs(d) - threshold * size, 0.0), d) for d, size in zip(offset, sizes, strict=True)]
    if all(abs(d) < NEAR for d in apart):
        return set()
    x, y = (d / math.hypot(*offset) for d in apart)
    said = {"left of": x < -0.5, "right of": x > 0.5, "above": y < -0.5, "below": y > 0.5}
    return {name for name, holds in said.items() if holds}


def verdict(
    about: Mapping[str, Any],
    objects: Mapping[str, Sequence[Found]],
    colours: ColoursOf,
    rules: Rules = PUBLISHED,
) -> list[str]:
    """Return what is wrong with a picture, in words; nothing where it holds what its prompt asks for.

    `about` is the prompt's line, of `prompt_files`; `objects` are those of `kept`.
    """
    wrong: list[str] = []
    matched: list[Sequence[Found] | None] = []
    for clause in about.get("include", ()):
        faults, first = _clause_faults(clause, objects, matched, colours, rules)
        wrong += faults
        matched.append(None if faults else first)
    for clause in about.get("exclude", ()):
        there = len(objects.get(clause["class"], ()))
        if there >= clause["count"]:
            wrong.append(f"expected {clause['class']}<{clause['count']}, found {there}")
    return wrong


def _clause_faults(
    clause: Mapping[str, Any],
    objects: Mapping[str, Sequence[Found]],
    matched: Sequence[Sequence[Found] | None],
    colours: ColoursOf,
    rules: Rules,
) -> tuple[list[str], Sequence[Found]]:
    """Return what is wrong with one clause of `include`, and the objects that it is about."""
    name, count = clause["class"], clause["count"]
    first = objects.get(name, ())[:count]
    if len(first) < count:
        return [f"expected {name}>={count}, found {len(first)}"], first
    if "color" in clause:
        seen = list(colours(name, first))
        right = seen.count(clause["color"])
        if right < count:
            return [f"expected {clause['color']} {name}>={count}, found {right}; and {', '.join(seen)}"], first
    if "position" in clause:
        wanted, number = clause["position"]
        target = matched[number]
        if target is None:
            return [f"no target for {name} to be {wanted}"], first
        for each in first:
            for other in target:
                there = relations(each.box, other.box, rules.position_threshold)
                if wanted not in there:
                    said = " and ".join(sorted(there)) or "at"
                    return [f"expected {name} {wanted} target, found {said} target"], first
    return [], first


def colour_prompts(name: str, colour: str) -> tuple[str, ...]:
    """Return the texts whose mean direction stands for a class in a colour, as published."""
    return (f"a photo of a {colour} {name}", f"a photo of a {colour}-colored {name}", f"a photo of a {colour} object")


def colour_crop(picture: np.ndarray, found: Found) -> np.ndarray | None:
    """Return what the colour of an object is read from: its box, uint8 [h, w, 3], grey outside its mask where there is
    one. None where no pixel of the picture, uint8 [H, W, 3], lies in the box.
    """
    height, width = picture.shape[:2]
    if found.mask is not None:
        grey = np.full_like(picture, BACKGROUND)
        picture = np.where(found.mask[..., None], picture, grey)
    left, top, right, bottom = (round(side) for side in found.box)  # as PIL rounds a crop
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    return picture[top:bottom, left:right] if left < right and top < bottom else None
