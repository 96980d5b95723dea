"""Regions, the words that point at them, and the edits of regions and objects, on pictures whose truth is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from components.curation.editing.base import DroppedPair, EditPair
from components.curation.editing.colours import delta_e, name_area, name_colour, to_lab, to_rgb
from components.curation.editing.naming import references
from components.curation.editing.options import EditOptions
from components.curation.editing.paste_edits import PasteEditor
from components.curation.editing.photo import Donor, Photo
from components.curation.editing.quality import check
from components.curation.editing.region_edits import BackgroundEditor, BlurRegionEditor, RecolourEditor
from components.curation.editing.removal import RemoveRegionEditor

pytestmark = pytest.mark.unit

RED, BLUE, GREEN, YELLOW = (200, 30, 35), (40, 80, 200), (40, 150, 60), (235, 200, 30)
GROUND = (190, 188, 186)


def canvas(height: int = 240, width: int = 320) -> np.ndarray:
    """A light, slightly graded and slightly grainy ground."""
    rng = np.random.default_rng(0)
    shade = np.linspace(-6, 6, width)[None, :, None] + rng.normal(0, 1.0, (height, width, 1))
    return np.clip(np.array(GROUND) + shade, 0, 255).astype(np.uint8)


def disc(rgb: np.ndarray, x: int, y: int, radius: int, colour: tuple[int, int, int]) -> np.ndarray:
    """The picture with one smooth-edged disc, and grain on it."""
    painted = rgb.copy()
    cv2.circle(painted, (x, y), radius, colour, -1, cv2.LINE_AA)
    grain = np.random.default_rng(x + y).normal(0, 4.0, rgb.shape[:2])[..., None]
    inside = (painted.astype(int) != rgb.astype(int)).any(axis=-1, keepdims=True)
    return np.clip(painted + grain * inside, 0, 255).astype(np.uint8)


def disc_mask(rgb: np.ndarray, x: int, y: int, radius: int) -> np.ndarray:
    rows, columns = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


@pytest.mark.parametrize(
    ("rgb", "word"),
    [
        ((255, 0, 0), "red"),
        ((255, 128, 0), "orange"),
        ((255, 230, 0), "yellow"),
        ((0, 140, 0), "green"),
        ((64, 200, 200), "turquoise"),
        ((30, 60, 200), "blue"),
        ((130, 40, 170), "purple"),
        ((250, 150, 190), "pink"),
        ((110, 70, 35), "brown"),
        ((10, 10, 10), "black"),
        ((128, 128, 128), "grey"),
        ((250, 250, 250), "white"),
        ((225, 205, 170), "beige"),
        ((0, 200, 172), ""),  # between green and turquoise: no word is safe
    ],
)
def test_plain_colours_get_their_word(rgb: tuple[int, int, int], word: str) -> None:
    assert name_colour(to_lab(np.array([[rgb]], np.uint8))[0, 0]) == word


def test_a_patchwork_has_no_single_word() -> None:
    halves = np.array([[RED] * 10, [BLUE] * 10], np.uint8)
    assert name_area(to_lab(halves).reshape(-1, 3)) == ""


def test_lab_comes_back_as_the_same_colour() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    assert np.abs(to_rgb(to_lab(rgb)).astype(int) - rgb.astype(int)).max() <= 1


def test_a_region_is_found_and_pointed_at_by_colour_and_true_place() -> None:
    photo = Photo(disc(disc(canvas(), 70, 60, 34, RED), 250, 180, 34, BLUE))
    by_colour = {region.colour: region for region in photo.segmentation.regions if region.share < 0.2}
    assert {"red", "blue"} <= set(by_colour)
    red = {(wording.colour, wording.place) for wording in references(photo.segmentation, by_colour["red"])}
    assert ("red", "") in red and ("red", "in the upper left") in red
    assert not any("right" in place or "lower" in place or "bottom" in place for _, place in red)


def test_two_of_one_colour_are_told_apart_by_place_and_only_where_the_place_does_it() -> None:
    apart = Photo(disc(disc(canvas(), 60, 120, 34, RED), 260, 120, 34, RED))
    left = min(
        apart.segmentation.regions, key=lambda region: (region.colour != "red", np.nonzero(region.mask)[1].mean())
    )
    assert {wording.place for wording in references(apart.segmentation, left)} == {"on the left"}
    together = Photo(disc(disc(canvas(), 45, 50, 22, RED), 110, 80, 22, RED))
    assert all(not references(together.segmentation, r) for r in together.segmentation.regions if r.colour == "red")


def test_recolour_keeps_lightness_reaches_the_named_colour_and_stays_in_its_mask() -> None:
    rgb = disc(canvas(), 80, 70, 40, RED)
    for seed in range(6):
        pair = RecolourEditor(share=(0.01, 0.3)).propose(Photo(rgb), np.random.default_rng(seed))
        assert isinstance(pair, EditPair)
        new = str(pair.parameters["new_colour"])
        assert pair.parameters["colour"] == "red" and new != "red"
        assert new in pair.instruction and "red" in pair.instruction
        assert overlap(pair.mask, disc_mask(rgb, 80, 70, 40)) > 0.85
        assert np.array_equal(pair.source[~pair.mask], pair.target[~pair.mask])
        inside = disc_mask(rgb, 80, 70, 34)
        assert name_area(to_lab(pair.target)[inside]) == new
        before, after = to_lab(pair.source)[inside][:, 0], to_lab(pair.target)[inside][:, 0]
        assert abs(float(before.mean() - after.mean())) < 4.0
        assert check(pair, EditOptions())[1] == ""


def test_no_words_no_pair() -> None:
    spots = canvas()
    for x in range(40, 320, 60):
        for y in range(40, 240, 60):
            spots = disc(spots, x, y, 20, RED)
    outcome = RecolourEditor(share=(0.005, 0.2)).propose(Photo(spots), np.random.default_rng(0))
    assert isinstance(outcome, DroppedPair) and outcome.reason == "ambiguous_region"
    flat = RecolourEditor().propose(Photo(canvas()), np.random.default_rng(0))
    assert isinstance(flat, DroppedPair) and flat.reason == "no_region"


def test_blurring_a_region_changes_only_that_region() -> None:
    rng = np.random.default_rng(0)
    rgb = disc(canvas(), 90, 130, 60, GREEN)
    rough = disc_mask(rgb, 90, 130, 58)[..., None] * rng.normal(0, 18, (*rgb.shape[:2], 1))
    rgb = np.clip(rgb + rough, 0, 255).astype(np.uint8)
    pair = BlurRegionEditor(share=(0.02, 0.4)).propose(Photo(rgb), np.random.default_rng(2))
    assert isinstance(pair, EditPair) and "green" in pair.instruction
    assert np.array_equal(pair.source[~pair.mask], pair.target[~pair.mask])
    inner = disc_mask(rgb, 90, 130, 40)
    assert pair.target[inner].std(axis=0).max() < 0.4 * pair.source[inner].std(axis=0).min()


def test_removal_on_smooth_ground_gives_back_the_ground() -> None:
    ground = canvas()
    rgb = disc(ground, 240, 60, 14, BLUE)
    pair = RemoveRegionEditor().propose(Photo(rgb), np.random.default_rng(0))
    assert isinstance(pair, EditPair)
    assert disc_mask(rgb, 240, 60, 14)[pair.mask].sum() == disc_mask(rgb, 240, 60, 14).sum()
    assert float(delta_e(pair.target, ground)[pair.mask].mean()) < 4.0
    assert np.array_equal(pair.source[~pair.mask], pair.target[~pair.mask])
    assert "blue" in pair.instruction
    assert check(pair, EditOptions())[1] == ""


def test_removal_on_rough_ground_is_refused() -> None:
    rng = np.random.default_rng(0)
    coarse = cv2.resize(rng.normal(0, 40, (60, 80)).astype(np.float32), (320, 240))[..., None]
    rgb = np.clip(canvas().astype(float) + coarse, 0, 255).astype(np.uint8)
    outcome = RemoveRegionEditor().propose(Photo(disc(rgb, 240, 60, 14, BLUE)), np.random.default_rng(0))
    assert isinstance(outcome, DroppedPair)
    assert outcome.reason in {"rough_surroundings", "no_region", "ambiguous_region"}


def test_adding_and_removing_an_object_are_each_others_reverse() -> None:
    donor = Donor("d", disc(canvas(), 160, 120, 60, YELLOW))
    assert donor.cutout is not None and donor.cutout.colour == "yellow"
    assert overlap(donor.cutout.full_alpha > 0.5, disc_mask(donor.rgb, 160, 120, 60)) > 0.95
    photo = Photo(disc(canvas(), 60, 60, 30, BLUE), donors=(donor,))
    added = PasteEditor("add_object").propose(photo, np.random.default_rng(4))
    removed = PasteEditor("remove_object").propose(photo, np.random.default_rng(4))
    assert isinstance(added, EditPair) and isinstance(removed, EditPair)
    assert np.array_equal(added.source, photo.rgb) and np.array_equal(removed.target, photo.rgb)
    assert np.array_equal(added.target, removed.source) and np.array_equal(added.mask, removed.mask)
    assert np.array_equal(added.source[~added.mask], added.target[~added.mask])
    assert "yellow object" in added.instruction and str(added.parameters["place"]) in added.instruction
    rows, columns = np.nonzero(added.mask)
    place = str(added.parameters["place"])
    assert ("left" not in place or columns.mean() < 160) and ("right" not in place or columns.mean() > 160)
    assert ("upper" not in place or rows.mean() < 120) and ("lower" not in place or rows.mean() > 120)
    assert check(added, EditOptions())[1] == "" and check(removed, EditOptions())[1] == ""


def test_a_named_object_is_called_by_its_name_unless_the_caption_speaks_of_one() -> None:
    donor = Donor("d", disc(canvas(), 160, 120, 60, YELLOW), name="ball")
    pair = PasteEditor("add_object").propose(Photo(canvas(), donors=(donor,)), np.random.default_rng(0))
    assert isinstance(pair, EditPair) and "a ball" in pair.instruction
    again = Photo(canvas(), caption="A ball on a table", donors=(donor,))
    outcome = PasteEditor("add_object").propose(again, np.random.default_rng(0))
    assert isinstance(outcome, DroppedPair) and outcome.reason == "no_place"


def test_a_donor_without_a_clear_object_gives_nothing() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    photo = Photo(canvas(), donors=(Donor("noise", noise), Donor("flat", canvas())))
    outcome = PasteEditor("add_object").propose(photo, np.random.default_rng(0))
    assert isinstance(outcome, DroppedPair) and outcome.reason == "no_object"
    assert not PasteEditor("add_object").applicable(Photo(canvas()))


@pytest.mark.parametrize("kind", ["blur_background", "greyscale_background"])
def test_background_edits_leave_the_main_object_alone(kind: str) -> None:
    rng = np.random.default_rng(0)
    coarse = cv2.resize(rng.normal(0, 25, (60, 80)).astype(np.float32), (320, 240))[..., None]
    ground = np.clip(np.array((90, 140, 80)) + coarse, 0, 255).astype(np.uint8)
    rgb = disc(ground, 160, 120, 60, (220, 60, 180))
    pair = BackgroundEditor(kind).propose(Photo(rgb), np.random.default_rng(0))
    assert isinstance(pair, EditPair)
    core = disc_mask(rgb, 160, 120, 50)
    assert not pair.mask[core].any() and np.array_equal(pair.source[core], pair.target[core])
    assert pair.mask[:40].all()
    assert check(pair, EditOptions())[1] == ""
