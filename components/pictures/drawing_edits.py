"""Exact edits: an instruction, the picture before it, and the picture after it, to the pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from components.pictures.captions import (
    factor_forms,
    factor_instruction,
    on_ground,
    opened,
    phrase,
    whole_phrases,
)
from components.pictures.catalogue import (
    ALIKE,
    HELD_OUT,
    RECONSTRUCTION,
    TRAIN,
    Catalogue,
    Entry,
    nearer,
    thumbnails,
)
from components.pictures.composition import PAIRS, THREE, Composition, render, shrunk, treated
from components.pictures.options import BACKGROUNDS, COMPOSITION_EDITS, FACTORS, WHITE

SIDES = {
    ("left", "right"): ("to the left of it", "on the left"),
    ("right", "left"): ("to the right of it", "on the right"),
    ("top", "bottom"): ("above it", "on top"),
    ("bottom", "top"): ("below it", "at the bottom"),
}


@dataclass(frozen=True)
class Edit:
    """One edit. `target_text` is a caption of a result that is no sample itself; "" where words for it would be
    strange.
    """

    kind: str
    instructions: tuple[str, ...]
    source: Composition
    target: Composition
    split: str
    target_text: str = ""


def factor_edits(catalogue: Catalogue, entry: Entry, phrasings: int, rng: np.random.Generator, most: int) -> list[Edit]:
    """Return at most `most` edits by one factor that begin at an entry, of factors as different as may be."""
    if entry.split == RECONSTRUCTION:
        return []
    found = catalogue.neighbours(entry)
    by_factor = {name: [e for factor, e in found if factor == name] for name in FACTORS}
    waiting = {
        name: [entries[i] for i in rng.permutation(len(entries))] for name, entries in by_factor.items() if entries
    }
    chosen: list[tuple[str, Entry]] = []
    while waiting and len(chosen) < most:
        for name in list(waiting):
            if len(chosen) < most:
                chosen.append((name, waiting[name].pop()))
            if not waiting[name]:
                del waiting[name]
    return [factor_edit(catalogue, entry, target, name, phrasings, rng) for name, target in chosen]


def factor_edit(
    catalogue: Catalogue, source: Entry, target: Entry, factor: str, phrasings: int, rng: np.random.Generator
) -> Edit:
    """Return the edit from one entry to another that differs in one factor."""
    said = tuple(dict.fromkeys(factor_instruction(source, target, factor, rng) for _ in range(2 * phrasings)))
    split = HELD_OUT if HELD_OUT in (source.split, target.split) else TRAIN
    before, after = (Composition.single(entry.key) for entry in (source, target))
    return Edit(factor, said[:phrasings], before, after, split)  # the target is a sample, with captions of its own


def held_out_edits(catalogue: Catalogue, factor: str, count: int, rng: np.random.Generator) -> list[Edit]:
    """Return at most `count` edits by a factor whose source is taught and whose target no model was trained on."""
    pairs = [
        (source, target)
        for target in catalogue.by_split[HELD_OUT]
        for name, source in catalogue.neighbours(target)
        if name == factor and source.split == TRAIN
    ]
    chosen = [pairs[i] for i in rng.permutation(len(pairs))[:count]]
    return [factor_edit(catalogue, source, target, factor, 1, rng) for source, target in chosen]


def composition_edit(
    catalogue: Catalogue,
    entry: Entry,
    phrasings: int,
    rng: np.random.Generator,
    kinds: Sequence[str] = COMPOSITION_EDITS,
) -> Edit | None:
    """Return an edit of a picture of an entry, of one of the kinds; None where the drawing allows none of them."""
    if entry.split == RECONSTRUCTION:
        return None
    for position in rng.permutation(len(kinds)):
        made = MAKERS[kinds[position]](catalogue, entry, rng)
        if made is not None:
            forms, source, target = made
            said = [forms[int(i)] for i in rng.permutation(len(forms))[:phrasings]]
            text = ""
            if len(target.items) == 1 and not target.treatment:
                text = phrase(entry, rng, True).text if target.keys == (entry.key,) else ""
                text = (
                    opened(on_ground(text, target.background, rng) if target.background != WHITE else text, rng)
                    if text
                    else ""
                )
            return Edit(kinds[position], tuple(said), source, target, entry.split, text)
    return None


Made = tuple[Sequence[str], Composition, Composition] | None


def _other(catalogue: Catalogue, entry: Entry, rng: np.random.Generator) -> Entry | None:
    """Return a taught drawing of another concept, not drawn alike; None where there is none."""
    taught = catalogue.by_split[TRAIN]
    start = int(rng.integers(len(taught)))
    further = (e for e in taught[start:] + taught[:start] if e.concept != entry.concept and e.alike != entry.alike)
    return next(further, None)


def _background(catalogue: Catalogue, entry: Entry, rng: np.random.Generator) -> Made:
    before, after = (str(name) for name in rng.choice(list(BACKGROUNDS), 2, replace=False))
    if rng.random() < 0.5:
        before = WHITE if after != WHITE else before
    source, target = (Composition.single(entry.key, background=name) for name in (before, after))
    return FORMS["background"]("", source, target), source, target


def _add(catalogue: Catalogue, entry: Entry, rng: np.random.Generator) -> Made:
    other, cells = _other(catalogue, entry, rng), PAIRS[int(rng.integers(len(PAIRS)))]
    if other is None:
        return None
    new = int(rng.integers(2))
    words = phrase(other, rng, True).text
    target = Composition(tuple((cell, other.key if i == new else entry.key) for i, cell in enumerate(cells)))
    source = Composition.single(entry.key, cells[1 - new])
    return FORMS["add"](words, source, target), source, target


def _remove(catalogue: Catalogue, entry: Entry, rng: np.random.Generator) -> Made:
    made = _add(catalogue, entry, rng)
    if made is None:
        return None
    _, target, source = made
    (key,) = (key for _, key in set(source.items) - set(target.items))
    return FORMS["remove"](phrase(catalogue[key], rng, True).text, source, target), source, target


def _swap(catalogue: Catalogue, entry: Entry, rng: np.random.Generator) -> Made:
    made = _add(catalogue, entry, rng)
    if made is None:
        return None
    source = made[2]
    turned = source.with_(items=tuple(zip(source.layout, source.keys[::-1], strict=True)))
    return FORMS["swap"]("", source, turned), source, turned


def _multiply(catalogue: Catalogue, entry: Entry, rng: np.random.Generator) -> Made:
    layout: tuple[str, ...] = (*PAIRS, THREE)[int(rng.integers(len(PAIRS) + 1))]
    source, target = Composition.single(entry.key, "centre"), Composition(tuple((cell, entry.key) for cell in layout))
    return FORMS["multiply"]("", source, target), source, target


def _resize(catalogue: Catalogue, entry: Entry, rng: np.random.Generator) -> Made:
    small = bool(rng.random() < 0.5)
    cells = ("full", "centre") if small else ("centre", "full")
    source, target = (Composition.single(entry.key, cell) for cell in cells)
    return FORMS["resize"]("", source, target), source, target


def _treatment(name: str) -> Callable[[Catalogue, Entry, np.random.Generator], Made]:
    def make(catalogue: Catalogue, entry: Entry, rng: np.random.Generator) -> Made:
        source = Composition.single(entry.key)
        target = source.with_(treatment=name)
        before, after = render(source, catalogue), render(target, catalogue)
        if np.abs(before.astype(int) - after.astype(int)).mean() < LEAST_CHANGE:
            return None
        # A mirrored runner is the one that faces the other way: an edit by a factor, whose target may be held out.
        if catalogue.shows(after) or (entry.split == HELD_OUT and _is_taught(catalogue, name, after)):
            return None
        return FORMS[name]("", source, target), source, target

    return make


def _is_taught(catalogue: Catalogue, name: str, result: np.ndarray) -> bool:
    """True where a drawing that is trained on has the same result: an outline has no skin tone."""
    if name not in catalogue.results:
        size = catalogue.cutouts.shape[1]

        def draw(cutouts: np.ndarray) -> np.ndarray:
            cut = treated(shrunk(cutouts, size), name)
            return cut[..., :3] + 255 - cut[..., 3:]

        catalogue.results[name] = thumbnails(catalogue.cutouts, draw)
    own = result.astype(np.float32)
    taught = (catalogue.entries[n] for n in nearer(catalogue.results[name], own))
    results = (render(Composition.single(e.key).with_(treatment=name), catalogue) for e in taught if e.split == TRAIN)
    return any(np.abs(each - own).mean() < ALIKE for each in results)


def _new_ground(words: str, source: Composition, target: Composition) -> Sequence[str]:
    name = target.background
    return f"change the background to {name}", f"make the background {name}", f"put it on a {name} background"


def _new_cell(source: Composition, target: Composition) -> str:
    """Return the cell that one of two compositions has and the other has not."""
    ((cell, _),) = set(source.items) ^ set(target.items)
    return cell


def _new_drawing(words: str, source: Composition, target: Composition) -> Sequence[str]:
    beside, side = SIDES[_new_cell(source, target), source.layout[0]]
    return f"add {words} {beside}", f"put {words} {side}", f"draw {words} {beside}"


def _gone_drawing(words: str, source: Composition, target: Composition) -> Sequence[str]:
    where = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom"}
    return f"remove {words}", f"take {words} away", f"erase the drawing {where[_new_cell(source, target)]}"


def _several(words: str, source: Composition, target: Composition) -> Sequence[str]:
    count = "three" if len(target.items) == 3 else "two"
    how = "" if target.layout == THREE else " side by side" if target.layout == PAIRS[0] else " one above the other"
    return f"make it {count} of them{how}", f"show it {count} times{how}", f"draw {count} of it{how}"


def _other_size(words: str, source: Composition, target: Composition) -> Sequence[str]:
    if target.layout == ("centre",):
        return "make it smaller", "shrink it", "draw it at half the size"
    return "make it larger", "enlarge it", "draw it at twice the size"


def _fixed(*forms: str) -> Forms:
    return lambda words, source, target: forms


# Every instruction of a kind, by the words for the drawing that comes or goes, and the pictures before and after.
Forms = Callable[[str, Composition, Composition], Sequence[str]]
FORMS: dict[str, Forms] = {
    "background": _new_ground,
    "add": _new_drawing,
    "remove": _gone_drawing,
    "swap": _fixed("swap the two", "let the two change places", "exchange the two drawings"),
    "multiply": _several,
    "mirror": _fixed("mirror the picture", "flip it from left to right", "turn it around sideways"),
    "resize": _other_size,
    "greyscale": _fixed("make it black and white", "remove the colours", "turn it into greyscale"),
    "outline": _fixed("keep only the outlines", "draw only the lines", "turn it into a line drawing"),
}


def follows(instruction: str, kind: str, source: Composition, target: Composition, catalogue: Catalogue) -> bool:
    """Return whether an instruction is one for the edit of a kind that leads from `source` to `target`."""
    if kind not in FORMS:
        before, after = (catalogue[composition.keys[0]] for composition in (source, target))
        return instruction in factor_forms(before, after, kind)
    if kind not in ("add", "remove"):
        return instruction in FORMS[kind]("", source, target)
    ((_, key),) = set(source.items) ^ set(target.items)
    return any(instruction in FORMS[kind](words, source, target) for words in whole_phrases(catalogue[key]))


LEAST_CHANGE = 2.0  # mean difference, 0-255, below which a mirrored or grey picture is the picture itself
MAKERS: dict[str, Callable[[Catalogue, Entry, np.random.Generator], Made]] = {
    "background": _background,
    "add": _add,
    "remove": _remove,
    "swap": _swap,
    "multiply": _multiply,
    "mirror": _treatment("mirror"),
    "resize": _resize,
    "greyscale": _treatment("greyscale"),
    "outline": _treatment("outline"),
}
