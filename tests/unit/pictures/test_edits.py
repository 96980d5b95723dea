"""Exact edits: every pair that differs in one factor and every kind of composition, to the pixel; and no test edit's
result is ever trained on.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from components.pictures.catalogue import ALIKE, HELD_OUT, RECONSTRUCTION, TRAIN, on_white
from components.pictures.composition import CELLS, DARK, PAIRS, THREE, Composition, cell_box, render
from components.pictures.drawing_edits import Edit, composition_edit, factor_edits, held_out_edits
from components.pictures.drawing_samples import sample
from components.pictures.options import BACKGROUNDS, COMPOSITION_EDITS, FACTORS, WHITE
from tests.unit.pictures.drawings import ALL, HEARTS, catalogue_of

pytestmark = pytest.mark.unit
KNOWN = catalogue_of(ALL)
SIZE = KNOWN.cutouts.shape[1]
VARIED = set(FACTORS) - {"style"}


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def made(kind: str, count: int = 40) -> Iterator[Edit]:
    """Yield edits of a kind, of drawings of both sides."""
    for n in range(count):
        entry = KNOWN.entries[(7 * n) % len(KNOWN.entries)]
        edit = composition_edit(KNOWN, entry, 3, rng(n), (kind,))
        if edit is not None:
            assert edit.kind == kind and edit.split == entry.split
            yield edit


def drawn(edit: Edit) -> tuple[np.ndarray, np.ndarray]:
    return render(edit.source, KNOWN), render(edit.target, KNOWN)


def cell(picture: np.ndarray, name: str) -> np.ndarray:
    return picture[cell_box(name, SIZE)]


def test_every_ordered_pair_that_differs_in_one_factor_is_an_edit():
    wanted = set()
    for a in KNOWN.entries:
        for b in KNOWN.concepts[a.concept]:
            differing = [name for name in FACTORS if a.factors.get(name) != b.factors.get(name)]
            if len(differing) == 1 and a.alike != b.alike:
                wanted.add((a.key, b.key, differing[0]))
    found = [edit for n, a in enumerate(KNOWN.entries) for edit in factor_edits(KNOWN, a, 2, rng(n), 64)]
    pairs = [(edit.source.keys[0], edit.target.keys[0], edit.kind) for edit in found]
    assert set(pairs) == wanted and len(pairs) == len(wanted)
    assert {kind for _, _, kind in pairs} == VARIED


def test_a_factor_edit_says_the_new_value_in_several_ways_and_shows_the_two_drawings():
    phrasings: dict[str, set[int]] = {}
    for n, entry in enumerate(KNOWN.entries):
        for edit in factor_edits(KNOWN, entry, 3, rng(n), 3):
            target = KNOWN[edit.target.keys[0]]
            assert 1 <= len(edit.instructions) <= 3 and len(set(edit.instructions)) == len(edit.instructions)
            value = target.hair if edit.kind == "hair" else target.factors[edit.kind]
            assert all(value in text or target.noun in text for text in edit.instructions)
            phrasings.setdefault(edit.kind, set()).add(len(edit.instructions))
            before, after = drawn(edit)
            whole = np.rint(on_white(KNOWN.cutout(target.key)[None])[0])
            assert np.array_equal(after, whole) and (before != after).any()
            assert (edit.split == HELD_OUT) == (HELD_OUT in (entry.split, target.split))
    assert all(max(counts) > 1 for counts in phrasings.values())


def test_factors_are_as_different_as_may_be_where_few_edits_are_asked_for():
    runner = KNOWN["openmoji-1F3C3-1F3FE-200D-2640"]
    for n in range(20):
        assert {e.kind for e in factor_edits(KNOWN, runner, 1, rng(n), 3)} == {"skin_tone", "gender", "direction"}
        assert len(factor_edits(KNOWN, runner, 1, rng(n), 2)) == 2
    assert factor_edits(KNOWN, runner, 1, rng(0), 0) == []


def test_edits_follow_from_their_generator_alone():
    for n, entry in enumerate(KNOWN.entries[::9]):
        assert factor_edits(KNOWN, entry, 3, rng(n), 3) == factor_edits(catalogue_of(ALL), entry, 3, rng(n), 3)
        assert composition_edit(KNOWN, entry, 3, rng(n)) == composition_edit(catalogue_of(ALL), entry, 3, rng(n))


@pytest.mark.parametrize("kind", COMPOSITION_EDITS)
def test_every_kind_of_composition_edit_can_be_made_and_changes_its_picture(kind):
    edits = list(made(kind))
    assert len(edits) > 10
    for edit in edits:
        assert 1 <= len(edit.instructions) == len(set(edit.instructions)) <= 3
        before, after = drawn(edit)
        assert before.shape == after.shape == (SIZE, SIZE, 3) and (before != after).any()
    assert len({text for edit in edits for text in edit.instructions}) >= 2


def test_a_new_background_changes_no_pixel_of_the_drawing_itself():
    for edit in made("background"):
        before, after = drawn(edit)
        alpha = KNOWN.cutout(edit.source.keys[0])[..., 3]
        assert edit.target.background != edit.source.background
        assert np.array_equal(before[alpha == 255], after[alpha == 255])
        assert (after[alpha == 0] == BACKGROUNDS[edit.target.background]).all()
        assert (before[alpha == 0] == BACKGROUNDS[edit.source.background]).all()
        assert all(edit.target.background in text for text in edit.instructions)


def test_an_added_picture_stands_in_its_cell_and_nothing_else_changes():
    cells = set()
    for edit in made("add"):
        before, after = drawn(edit)
        ((new, other),) = [item for item in edit.target.items if item not in edit.source.items]
        cells.add(new)
        mask = np.zeros((SIZE, SIZE), bool)
        mask[cell_box(new, SIZE)] = True
        assert np.array_equal(before[~mask], after[~mask]) and edit.target.layout in PAIRS
        assert np.array_equal(cell(after, new), cell(render(Composition.single(other, new), KNOWN), new))
        sides = {"left": "left", "right": "right", "top": ("above", "top"), "bottom": ("below", "bottom")}[new]
        assert all(any(side in text for side in np.atleast_1d(sides)) for text in edit.instructions)
        assert KNOWN[other].split == TRAIN
    assert cells == {"left", "right", "top", "bottom"}


def test_a_removed_picture_leaves_the_background_and_the_other_one():
    for edit in made("remove"):
        before, after = drawn(edit)
        ((gone, _),) = [item for item in edit.source.items if item not in edit.target.items]
        mask = np.zeros((SIZE, SIZE), bool)
        mask[cell_box(gone, SIZE)] = True
        assert (after[mask] == 255).all() and np.array_equal(before[~mask], after[~mask])


def test_swapped_pictures_change_places_and_nothing_else():
    for edit in made("swap"):
        before, after = drawn(edit)
        first, second = edit.source.layout
        assert np.array_equal(cell(before, first), cell(after, second))
        assert np.array_equal(cell(before, second), cell(after, first))


def test_a_multiplied_picture_stands_as_often_as_the_instruction_says():
    layouts = set()
    for edit in made("multiply"):
        before, after = drawn(edit)
        layouts.add(edit.target.layout)
        assert all(np.array_equal(cell(before, "centre"), cell(after, name)) for name in edit.target.layout)
        count = {2: "two", 3: "three"}[len(edit.target.items)]
        assert all(count in text for text in edit.instructions)
    assert layouts == {*PAIRS, THREE}


def test_a_resized_picture_is_the_same_drawing_in_a_cell_of_another_size():
    small = set()
    for edit in made("resize"):
        sizes = [CELLS[one.layout[0]][2] for one in (edit.source, edit.target)]
        small.add(sizes[0] > sizes[1])
        word = ("smaller", "shrink", "half") if sizes[0] > sizes[1] else ("larger", "enlarge", "twice")
        assert all(any(w in text for w in word) for text in edit.instructions)
        assert edit.source.keys == edit.target.keys
    assert small == {True, False}


def test_mirrored_grey_and_outlined_pictures_are_so_to_the_pixel():
    for edit in made("mirror"):
        before, after = drawn(edit)
        assert np.array_equal(after, before[:, ::-1])
    for edit in made("greyscale"):
        before, after = drawn(edit)
        luminance = before @ np.array([0.299, 0.587, 0.114])
        assert (after == after[..., :1]).all() and np.abs(after[..., 0] - luminance).max() <= 1
    for edit in made("outline"):
        before, after = drawn(edit)
        alpha = KNOWN.cutout(edit.source.keys[0])[..., 3]
        dark = before @ np.array([0.299, 0.587, 0.114]) < DARK - 1
        inside = cv2.erode(alpha, np.ones((3, 3), np.uint8)) == 255
        assert (after == after[..., :1]).all() and (after[alpha == 0] == 255).all()
        assert (after[dark & (alpha == 255)] == 0).all()
        assert (after[inside & (before.min(-1) > DARK + 1)] == 255).all()  # what the lines held is gone


def test_an_edit_that_would_change_nothing_is_not_offered():
    def offered(stem: str, kind: str) -> bool:
        return composition_edit(KNOWN, KNOWN[f"openmoji-{stem}"], 1, rng(0), (kind,)) is not None

    assert not offered("1F534", "mirror") and not offered("2764", "mirror")  # symmetric
    assert not offered("26AB", "greyscale") and not offered("26AA", "greyscale")  # black and white
    assert offered("1F44B", "mirror") and offered("2764", "greyscale")


def test_a_caption_of_a_result_is_there_where_words_can_say_it():
    for kind in COMPOSITION_EDITS:
        for edit in made(kind, 20):
            plain = len(edit.target.items) == 1 and not edit.target.treatment
            assert bool(edit.target_text) == plain
            if plain and edit.target.background != WHITE:
                assert edit.target.background in edit.target_text


def trained() -> Iterator[Composition]:
    """Yield everything that a model is trained on: drawings, compositions, and both sides of edits."""
    numbers = range(len(KNOWN.entries) + 200)
    yield from (one.composition for one in (sample(KNOWN, n, 1, rng(n)) for n in numbers) if one.split == TRAIN)
    for n, entry in enumerate(KNOWN.entries):
        edits = factor_edits(KNOWN, entry, 1, rng(n), 64)
        found = (composition_edit(KNOWN, entry, 1, rng(n), (kind,)) for kind in COMPOSITION_EDITS)
        for edit in (*edits, *(edit for edit in found if edit is not None)):
            if edit.split == TRAIN:
                yield from (edit.source, edit.target)


def judged() -> Iterator[Edit]:
    """Yield the edits that a judge asks for."""
    for name in FACTORS:
        yield from held_out_edits(KNOWN, name, 1000, rng(1))
    for n, entry in enumerate(KNOWN.by_split[HELD_OUT]):
        found = (composition_edit(KNOWN, entry, 1, rng(n, 1), (kind,)) for kind in COMPOSITION_EDITS)
        yield from (edit for edit in found if edit is not None)


def test_the_target_of_a_test_edit_is_never_trained_on():
    pictures = np.stack([render(one, KNOWN) for one in set(trained())])
    known = {one.tobytes() for one in pictures}
    edits = list(judged())
    assert {edit.kind for edit in edits} == VARIED - {"time", "phase"} | set(COMPOSITION_EDITS)
    assert not [edit.kind for edit in edits if render(edit.target, KNOWN).tobytes() in known]
    # Nor nearly: a mirrored runner is drawn alike the one that faces the other way.
    whole = pictures.astype(np.float32)
    for edit in edits:
        nearest = np.abs(whole - render(edit.target, KNOWN)).mean((1, 2, 3)).min()
        assert nearest >= ALIKE or edit.kind in ("add", "remove", "swap", "multiply", "resize"), edit


def test_a_held_out_edit_leads_from_a_taught_drawing_to_a_held_out_one():
    found = [edit for name in FACTORS for edit in held_out_edits(KNOWN, name, 10, rng(0))]
    assert found and all(edit.split == HELD_OUT and edit.source != edit.target for edit in found)
    assert {KNOWN[edit.source.keys[0]].split for edit in found} == {TRAIN}
    assert {KNOWN[edit.target.keys[0]].split for edit in found} == {HELD_OUT}
    assert len(held_out_edits(KNOWN, "skin_tone", 3, rng(0))) == 3


def test_a_concept_kept_for_reconstruction_is_in_no_edit():
    apart = KNOWN.by_split[RECONSTRUCTION]
    assert apart
    for entry in apart:
        assert factor_edits(KNOWN, entry, 1, rng(0), 3) == [] and composition_edit(KNOWN, entry, 1, rng(0)) is None
    keys = {entry.key for entry in apart}
    assert not [e for kind in ("add", "remove", "swap") for e in made(kind) if keys & {*e.source.keys, *e.target.keys}]


def test_a_set_of_one_concept_has_the_edits_that_one_concept_allows():
    hearts = catalogue_of(HEARTS)
    for kind in ("add", "remove", "swap"):
        assert composition_edit(hearts, hearts.entries[0], 1, rng(0), (kind,)) is None
    kinds = {composition_edit(hearts, hearts.entries[0], 1, rng(n)).kind for n in range(40)}
    assert kinds == {"background", "multiply", "resize", "greyscale", "outline"}
