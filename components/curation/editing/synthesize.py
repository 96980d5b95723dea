"""From one photo to its edit pairs: which editors are tried, in what order, and what became of every attempt.

How an edit is made is the editors' matter; reading photos and writing pairs, the stage's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from components.curation.editing.base import DroppedPair, EditPair, Image
from components.curation.editing.geometric import GeometricEditor
from components.curation.editing.options import GEOMETRIC_KINDS, PHOTOMETRIC_KINDS, EditOptions
from components.curation.editing.paste_edits import PasteEditor
from components.curation.editing.photo import Donor, Editor, Photo
from components.curation.editing.photometric import PhotometricEditor
from components.curation.editing.quality import check
from components.curation.editing.region_edits import (
    BackgroundEditor,
    BlurRegionEditor,
    RecolourEditor,
)
from components.curation.editing.removal import RemoveRegionEditor

SECOND_TRIES = 3  # editors tried for the second edit of a composed pair


def built_in_editors(kinds: Sequence[str]) -> tuple[Editor, ...]:
    """This room's editors for the given kinds, in that order."""
    editors: list[Editor] = [PhotometricEditor(kind) for kind in PHOTOMETRIC_KINDS]
    editors += [GeometricEditor(kind) for kind in GEOMETRIC_KINDS]
    editors += [RecolourEditor(), BlurRegionEditor(), RemoveRegionEditor()]
    editors += [BackgroundEditor("blur_background"), BackgroundEditor("greyscale_background")]
    editors += [PasteEditor("add_object"), PasteEditor("remove_object")]
    by_kind = {editor.kind: editor for editor in editors}
    return tuple(by_kind[kind] for kind in kinds)


def generator_for(rgb: Image, seed: int) -> np.random.Generator:
    """A generator that depends on the picture's pixels and the seed alone."""
    digest = hashlib.sha256(repr(rgb.shape).encode() + np.ascontiguousarray(rgb).tobytes()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, np.uint32).tolist()])


def fit_size(rgb: Image, max_side: int) -> Image:
    """The picture shrunk, where it is larger, so that its longer side is `max_side` pixels."""
    import cv2

    height, width = rgb.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1.0:
        return rgb
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _order(editors: Sequence[Editor], options: EditOptions, rng: np.random.Generator) -> list[Editor]:
    """Editors in the order to try for one pair: a family drawn by weight, its kinds shuffled, then the next."""
    weights = {
        "photometric": options.family_weights.photometric,
        "geometric": options.family_weights.geometric,
        "region": options.family_weights.region,
        "model": options.family_weights.model,
    }
    waiting = {
        family: [editor for editor in editors if editor.family == family]
        for family, weight in weights.items()
        if weight > 0
    }
    waiting = {family: members for family, members in waiting.items() if members}
    order: list[Editor] = []
    while waiting:
        families = tuple(waiting)
        chances = np.array([weights[family] for family in families])
        members = waiting.pop(families[int(rng.choice(len(families), p=chances / chances.sum()))])
        order += [members[index] for index in rng.permutation(len(members))]
    return order


def synthesize(
    rgb: Image,
    rng: np.random.Generator,
    options: EditOptions,
    donors: Sequence[Donor] = (),
    caption: str | None = None,
    editors: Sequence[Editor] | None = None,
) -> list[EditPair | DroppedPair]:
    """Make up to `options.pairs_per_image` pairs from one photo, uint8 [H, W, 3].

    The result holds one entry per attempt, in order: a pair with its `quality` filled in, or a drop with its reason.
    Of a photo that is not among `options.share` of them nothing is tried.
    After a pair come its further results, its way back and its composition with a second edit, where the options ask
    for them. No kind is tried twice on one photo. A larger photo is shrunk to `options.max_side` first. The same photo,
    generator state, options, donors and editors give the same bytes. `editors` replaces the built-in ones.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"a photo must be uint8 [H, W, 3], not {rgb.dtype} {rgb.shape}; decode it to RGB first")
    if options.share < 1 and rng.random() >= options.share:  # at 1 nothing is drawn: the pairs of before stay the same
        return []
    image = fit_size(rgb, options.max_side)
    if min(image.shape[:2]) < options.min_side:
        detail = f"{image.shape[1]} x {image.shape[0]} pixels, shorter side under {options.min_side}"
        return [DroppedPair("any", "picture_too_small", detail)]
    photo = Photo(image, caption, tuple(donors))
    available = [
        editor
        for editor in (built_in_editors(options.kinds) if editors is None else editors)
        if editor.applicable(photo)
    ]
    outcomes: list[EditPair | DroppedPair] = []
    made = attempts = 0
    while made < options.pairs_per_image and attempts < options.max_attempts:
        order = _order(available, options, rng)
        if not order:
            break
        for editor in order[: options.max_attempts - attempts]:
            available.remove(editor)
            outcome = _attempt(editor, photo, np.random.default_rng(int(rng.integers(2**63))), options)
            attempts += 1
            outcomes.append(outcome)
            if isinstance(outcome, EditPair):
                made += 1
                outcomes += _further(outcome, options)
                if options.composed:
                    outcomes += _composed(outcome, available, photo.donors, options, rng)
                break
    return outcomes


def _further(pair: EditPair, options: EditOptions) -> list[EditPair | DroppedPair]:
    """Other results of a pair's instruction, and its way back."""
    found = [replace(pair, target=other, others=()) for other in pair.others]
    if options.inverse and pair.inverse:
        back = replace(pair, kind=f"undo_{pair.kind}", source=pair.target, target=pair.source, others=())
        found.append(replace(back, instruction=pair.inverse, inverse=pair.instruction))
    return [_judged(each, options) for each in found]


def _composed(
    first: EditPair,
    editors: Sequence[Editor],
    donors: Sequence[Donor],
    options: EditOptions,
    rng: np.random.Generator,
) -> list[EditPair | DroppedPair]:
    """The first edit and one more after it as one pair; nothing where no second edit of its result comes about."""
    photo = Photo(first.target, None, tuple(donors))
    for editor in _order([editor for editor in editors if editor.applicable(photo)], options, rng)[:SECOND_TRIES]:
        second = _attempt(editor, photo, np.random.default_rng(int(rng.integers(2**63))), options)
        if isinstance(second, EditPair) and np.array_equal(second.source, first.target):
            words = f"{first.instruction.rstrip('.')}. Then {second.instruction[0].lower()}{second.instruction[1:]}"
            both = EditPair(
                kind=f"{first.kind}+{second.kind}",
                family=second.family if first.family == "region" else first.family,
                source=first.source,
                target=second.target,
                mask=first.mask | second.mask,
                instruction=words,
                parameters={**first.parameters, **{f"then_{k}": v for k, v in second.parameters.items()}},
            )
            return [_judged(both, options)]
    return []


def _attempt(editor: Editor, photo: Photo, rng: np.random.Generator, options: EditOptions) -> EditPair | DroppedPair:
    """One editor's pair, judged."""
    outcome = editor.propose(photo, rng)
    return outcome if isinstance(outcome, DroppedPair) else _judged(outcome, options)


def _judged(pair: EditPair, options: EditOptions) -> EditPair | DroppedPair:
    quality, reason = check(pair, options)
    if reason:
        figures = ", ".join(f"{name} {value:g}" for name, value in quality.items())
        return DroppedPair(pair.kind, reason, figures)
    return replace(pair, quality=quality)
