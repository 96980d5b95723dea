"""Quality checks drop what they must, and synthesis accounts for every attempt and repeats itself."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from components.curation.editing.base import DROP_REASONS, DroppedPair, EditPair, Family
from components.curation.editing.options import GEOMETRIC_KINDS, KINDS, REGION_KINDS, EditOptions, FamilyWeights
from components.curation.editing.photo import Donor, Photo
from components.curation.editing.quality import check
from components.curation.editing.synthesize import built_in_editors, fit_size, generator_for, synthesize

pytestmark = pytest.mark.unit

BOX = (slice(40, 90), slice(50, 110))


def picture(seed: int = 0, height: int = 160, width: int = 200) -> np.ndarray:
    """A graded ground with a few discs of sure colours."""
    rng = np.random.default_rng(seed)
    rgb = np.full((height, width, 3), (186, 190, 188), np.uint8)
    rgb = np.clip(rgb + np.linspace(-8, 8, width)[None, :, None], 0, 255).astype(np.uint8)
    for colour in ((200, 30, 35), (40, 80, 200), (40, 150, 60)):
        centre = (int(rng.integers(30, width - 30)), int(rng.integers(30, height - 30)))
        cv2.circle(rgb, centre, int(rng.integers(16, 28)), colour, -1, cv2.LINE_AA)
    return np.clip(rgb + rng.normal(0, 2, rgb.shape), 0, 255).astype(np.uint8)


def boxed_pair(inside: int = 0, outside: int = 0, peak: int = 0, feathered: bool = True) -> EditPair:
    """A pair of known change: `inside` levels in the box (soft rim), `outside` everywhere else, `peak` at one pixel."""
    source = np.full((160, 200, 3), 120, np.uint8)
    mask = np.zeros((160, 200), np.bool_)
    mask[BOX] = True
    amount = np.where(mask, float(inside), float(outside))
    if feathered:
        distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
        amount = np.where(mask, inside * np.clip(distance / 6, 0, 1), amount)
    target = np.clip(source + amount[..., None], 0, 255).astype(np.uint8)
    target[5, 5] += np.uint8(peak)
    return EditPair("recolour_region", "region", source, target, mask, "Make it so.", {})


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (boxed_pair(inside=60), ""),
        (boxed_pair(inside=0), "invisible_change"),
        (boxed_pair(inside=4), "invisible_change"),
        (boxed_pair(inside=60, outside=6), "spills_outside_mask"),
        (boxed_pair(inside=60, peak=80), "spills_outside_mask"),
        (boxed_pair(inside=0, outside=60), "spills_outside_mask"),
        (boxed_pair(inside=90, feathered=False), "seam_shows"),
    ],
)
def test_planted_faults_are_dropped_for_their_own_reason(pair: EditPair, reason: str) -> None:
    quality, found = check(pair, EditOptions())
    assert found == reason
    assert quality["mask_share"] == pytest.approx(50 * 60 / (160 * 200), abs=1e-4)


def test_masks_too_small_and_too_large_are_dropped_for_regions_only() -> None:
    pair = boxed_pair(inside=60)
    assert check(pair, EditOptions(min_mask_share=0.2))[1] == "mask_too_small"
    assert check(pair, EditOptions(max_mask_share=0.05))[1] == "mask_too_large"
    assert check(replace(pair, mask=np.zeros_like(pair.mask)), EditOptions())[1] == "mask_too_small"
    whole = EditPair(
        "darken", "photometric", pair.source, pair.source // 2, np.ones_like(pair.mask), "Darken.", {"stops": -2.0}
    )
    assert check(whole, EditOptions(max_mask_share=0.05))[1] == ""


def test_burnt_pictures_are_dropped() -> None:
    source = np.full((160, 200, 3), 200, np.uint8)
    burnt = source.copy()
    burnt[:80] = 255
    mask = np.ones((160, 200), np.bool_)
    assert (
        check(EditPair("brighten", "photometric", source, burnt, mask, "Brighten.", {}), EditOptions())[1] == "clipped"
    )


def test_pictures_of_different_sizes_are_refused() -> None:
    pair = boxed_pair(inside=60)
    with pytest.raises(ValueError, match="one size"):
        check(replace(pair, target=pair.target[:-1]), EditOptions())


@dataclass(frozen=True)
class Planted:
    """An editor with a fixed result, as an outside one would be plugged in."""

    pair: EditPair
    kind: str = "planted"
    family: Family = "region"

    def applicable(self, photo: Photo) -> bool:
        return True

    def propose(self, photo: Photo, rng: np.random.Generator) -> EditPair:
        return self.pair


def test_an_outside_editor_is_judged_like_the_others() -> None:
    good, spilling = boxed_pair(inside=60), boxed_pair(inside=60, outside=9)
    kept = synthesize(picture(), np.random.default_rng(0), EditOptions(), editors=[Planted(good)])
    assert len(kept) == 1 and isinstance(kept[0], EditPair) and kept[0].quality["change"] > 3
    dropped = synthesize(picture(), np.random.default_rng(0), EditOptions(), editors=[Planted(spilling)])
    assert [outcome.reason for outcome in dropped if isinstance(outcome, DroppedPair)] == ["spills_outside_mask"]


def test_every_attempt_is_a_pair_or_a_drop_and_the_limits_hold() -> None:
    options = EditOptions(pairs_per_image=3, max_attempts=7)
    donors = (Donor("other", picture(7)),)
    for seed in range(4):
        rgb = picture(seed)
        outcomes = synthesize(rgb, generator_for(rgb, 0), options, donors)
        kept = [outcome for outcome in outcomes if isinstance(outcome, EditPair)]
        assert 1 <= len(kept) <= 3 and len(outcomes) <= 7
        assert len({outcome.kind for outcome in outcomes}) == len(outcomes)
        for outcome in outcomes:
            if isinstance(outcome, EditPair):
                assert outcome.source.shape == outcome.target.shape and outcome.instruction
                assert outcome.quality["spill"] == 0.0 and outcome.quality["change"] >= options.min_change
            else:
                assert outcome.reason in DROP_REASONS and outcome.detail


def test_the_same_picture_and_seed_give_the_same_bytes_and_another_seed_does_not() -> None:
    options = EditOptions(pairs_per_image=4, max_attempts=8)
    rgb, donors = picture(1), (picture(8), picture(9))

    def run(seed: int) -> list[tuple[object, ...]]:
        made = synthesize(rgb, generator_for(rgb, seed), options, [Donor(str(i), d) for i, d in enumerate(donors)])
        return [
            (o.kind, o.instruction, o.source.tobytes(), o.target.tobytes(), o.mask.tobytes(), sorted(o.quality.items()))
            if isinstance(o, EditPair)
            else (o.kind, o.reason, o.detail)
            for o in made
        ]

    first = run(0)
    np.random.default_rng(5)
    cv2.setRNGSeed(1234)  # what others did with OpenCV's own generator must not matter
    assert run(0) == first
    assert run(1) != first


def test_kinds_and_weights_are_obeyed() -> None:
    only = EditOptions(kinds=("sepia", "flip_horizontal"), pairs_per_image=2)
    rgb = picture(2)
    assert {o.kind for o in synthesize(rgb, generator_for(rgb, 0), only)} == {"sepia", "flip_horizontal"}
    weights = EditOptions(family_weights=FamilyWeights(0.75, 0.25, 0.0), pairs_per_image=1)
    families = Counter(
        o.family for s in range(60) for o in synthesize(rgb, generator_for(rgb, s), weights) if isinstance(o, EditPair)
    )
    assert families["region"] == 0 and families["photometric"] > families["geometric"] > 0


def test_a_share_of_the_photos_has_pairs_the_same_ones_every_time() -> None:
    rgb = picture(2)
    some = EditOptions(kinds=("sepia", "flip_horizontal"), share=0.25)
    whole = EditOptions(kinds=("sepia", "flip_horizontal"))
    chosen = [seed for seed in range(400) if synthesize(rgb, generator_for(rgb, seed), some)]
    assert len(chosen) == pytest.approx(100, abs=30)
    assert chosen == [seed for seed in range(400) if synthesize(rgb, generator_for(rgb, seed), some)]
    assert len(synthesize(rgb, generator_for(rgb, chosen[0]), some)) == 2
    assert all(synthesize(rgb, generator_for(rgb, seed), whole) for seed in range(20))


def test_small_pictures_are_dropped_and_large_ones_shrunk() -> None:
    tiny = synthesize(picture()[:50], np.random.default_rng(0), EditOptions())
    assert [o.reason for o in tiny if isinstance(o, DroppedPair)] == ["picture_too_small"] and len(tiny) == 1
    options = EditOptions(kinds=GEOMETRIC_KINDS, pairs_per_image=1, max_side=128, min_side=64)
    (pair,) = synthesize(picture(), np.random.default_rng(0), options)
    assert isinstance(pair, EditPair) and pair.source.shape == (102, 128, 3)
    with pytest.raises(ValueError, match="RGB"):
        synthesize(picture()[..., 0], np.random.default_rng(0), options)


def test_every_kind_has_its_editor() -> None:
    assert [editor.kind for editor in built_in_editors(KINDS)] == list(KINDS)


@pytest.mark.skipif("PIXSEM_ASSETS" not in os.environ, reason="PIXSEM_ASSETS is not set: no real photos here")
def test_real_photos_give_pairs_of_each_region_kind() -> None:
    from PIL import Image

    folder = Path(os.environ["PIXSEM_ASSETS"]) / "photos"
    names = ["dreambooth/red_cartoon__01.jpg", "dreambooth/can__02.jpg", "dreambooth/duck_toy__03.jpg"]
    photos = [fit_size(np.asarray(Image.open(folder / name).convert("RGB")), 512) for name in names]
    options = EditOptions(kinds=REGION_KINDS, pairs_per_image=7, max_attempts=7)
    kept: Counter[str] = Counter()
    for index, rgb in enumerate(photos):
        donors = [Donor(names[i], other) for i, other in enumerate(photos) if i != index]
        outcomes = synthesize(rgb, generator_for(rgb, 0), options, donors)
        assert len(outcomes) == len(REGION_KINDS)
        kept.update(outcome.kind for outcome in outcomes if isinstance(outcome, EditPair))
    assert set(kept) >= {"recolour_region", "greyscale_background", "add_object", "remove_object"}


def test_the_way_back_of_a_pair_is_the_pair_turned_around_with_words_that_undo_it():
    kinds = ("flip_horizontal", "rotate_half", "add_object", "remove_object", "brighten")
    donors = [Donor(str(n), picture(n)) for n in range(40, 44)]
    options = EditOptions(kinds=kinds, pairs_per_image=5, inverse=True)
    backs = Counter()
    for seed in range(4):
        found = synthesize(picture(seed), np.random.default_rng(seed), options, donors)
        for first, second in itertools.pairwise(found):
            if not second.kind.startswith("undo_"):
                continue
            assert isinstance(first, EditPair) and second.kind == f"undo_{first.kind}"
            if isinstance(second, EditPair):
                backs[first.kind] += 1
                assert np.array_equal(second.source, first.target) and np.array_equal(second.target, first.source)
                assert second.instruction == first.inverse and second.inverse == first.instruction
                assert second.instruction and np.array_equal(second.mask, first.mask)
        assert not any(one.kind == "undo_brighten" for one in found)
    assert backs["flip_horizontal"] == backs["rotate_half"] == 4
    plain = synthesize(picture(1), np.random.default_rng(1), replace(options, inverse=False), donors)
    same = [one for one in synthesize(picture(1), np.random.default_rng(1), options, donors) if "undo" not in one.kind]
    assert [one.kind for one in plain] == [one.kind for one in same]


def test_a_composed_pair_leads_from_the_source_over_both_edits():
    options = EditOptions(pairs_per_image=2, composed=True)
    seen = 0
    for seed in range(4):
        found = synthesize(picture(seed), np.random.default_rng(seed), options)
        for first, both in itertools.pairwise(found):
            if isinstance(both, EditPair) and "+" in both.kind and isinstance(first, EditPair):
                seen += 1
                assert both.kind.split("+")[0] == first.kind and np.array_equal(both.source, first.source)
                assert both.instruction.startswith(first.instruction.rstrip(".") + ". Then ")
                assert (both.mask | first.mask == both.mask).all() and both.quality
                assert (both.source != both.target).any(-1)[~both.mask].sum() == 0
    assert seen >= 3
