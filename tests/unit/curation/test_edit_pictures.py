"""Edits of the whole picture: results follow from the written parameters. Region edits are tested beside this file."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from components.curation.editing import geometric, photometric
from components.curation.editing.base import EditPair
from components.curation.editing.geometric import GeometricEditor
from components.curation.editing.instructions import instruct, phrasings, with_article
from components.curation.editing.options import (
    GEOMETRIC_KINDS,
    KINDS,
    PHOTOMETRIC_KINDS,
    EditOptions,
    FamilyWeights,
)
from components.curation.editing.photo import Photo
from components.curation.editing.photometric import PhotometricEditor

pytestmark = pytest.mark.unit


def noisy(height: int = 120, width: int = 160, seed: int = 0) -> np.ndarray:
    import cv2

    rough = np.random.default_rng(seed).integers(0, 256, (9, 12, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def test_importing_the_editors_loads_no_image_library() -> None:
    code = (
        "import sys, components.curation.editing.synthesize, components.curation.editing.options;"
        "print(sorted({'cv2', 'PIL', 'scipy', 'torch', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"kinds": ()}, "empty"),
        ({"kinds": ("brightn",)}, "brightn"),
        ({"kinds": ("blur", "blur")}, "twice"),
        ({"kinds": ("zoom",), "family_weights": FamilyWeights(geometric=0.0)}, "weight"),
        ({"pairs_per_image": 9, "max_attempts": 3}, "max_attempts"),
        ({"share": 0.0}, "share"),
        ({"min_side": 600}, "max_side"),
        ({"min_mask_share": 0.5, "max_mask_share": 0.4}, "mask"),
        ({"max_spill": -1.0}, "max_spill"),
    ],
)
def test_impossible_options_are_refused_by_name(changes: dict, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        EditOptions(**changes)


def test_weights_that_switch_everything_off_are_refused() -> None:
    with pytest.raises(ValueError, match="weight"):
        FamilyWeights(0.0, 0.0, 0.0)


def test_every_kind_has_several_phrasings_and_the_generator_reaches_them() -> None:
    slots = {
        "colour": "red",
        "part": "centre",
        "region": "red area",
        "new_colour": "blue",
        "a_thing": "a red object",
        "thing": "red object",
        "place": "on the left",
    }
    for kind in KINDS:
        assert phrasings(kind) >= 3
        rng = np.random.default_rng(1)
        seen = {instruct(kind, rng, strong=bool(i % 2), **slots) for i in range(60)}
        assert len(seen) >= 3
        assert all("{" not in words and "  " not in words and words.endswith(".") for words in seen)
    assert with_article("orange object") == "an orange object"


@pytest.mark.parametrize("kind", PHOTOMETRIC_KINDS + GEOMETRIC_KINDS)
def test_the_same_generator_state_gives_the_same_pair_and_the_source_is_untouched(kind: str) -> None:
    rgb = noisy(260, 260)
    before = rgb.copy()
    editor = PhotometricEditor(kind) if kind in PHOTOMETRIC_KINDS else GeometricEditor(kind)
    first, second = (editor.propose(Photo(rgb), np.random.default_rng(3)) for _ in range(2))
    assert isinstance(first, EditPair) and isinstance(second, EditPair)
    assert (first.instruction, first.parameters) == (second.instruction, second.parameters)
    assert np.array_equal(first.target, second.target)
    assert np.array_equal(rgb, before)
    assert first.mask.all() and first.target.shape == rgb.shape


def test_exposure_doubles_linear_light() -> None:
    grey = np.full((4, 4, 3), 100, np.uint8)
    linear = ((100 / 255 + 0.055) / 1.055) ** 2.4
    expected = round((1.055 * (2 * linear) ** (1 / 2.4) - 0.055) * 255)
    assert set(photometric.expose(grey, 1.0).ravel().tolist()) == {expected}


def test_photometric_results_follow_from_the_written_parameters() -> None:
    rgb = noisy()
    for kind, function, name in [
        ("brighten", photometric.expose, "stops"),
        ("lower_contrast", photometric.contrast, "factor"),
        ("saturate", photometric.saturate, "factor"),
        ("cool", photometric.warm, "stops"),
        ("blur", photometric.blur, "sigma"),
    ]:
        pair = PhotometricEditor(kind).propose(Photo(rgb), np.random.default_rng(5))
        assert np.array_equal(pair.target, function(rgb, float(pair.parameters[name]))), kind


def test_words_agree_with_the_direction_of_the_change() -> None:
    rgb = noisy()
    mean = rgb.astype(float).mean()
    for seed in range(5):

        def edited(kind: str, seed: int = seed) -> np.ndarray:
            return PhotometricEditor(kind).propose(Photo(rgb), np.random.default_rng(seed)).target.astype(float)

        assert edited("brighten").mean() > mean > edited("darken").mean()
        assert edited("raise_contrast").std() > rgb.astype(float).std() > edited("lower_contrast").std()
        redness = rgb[..., 0].astype(float).mean() - rgb[..., 2].astype(float).mean()
        warm, cool = edited("warm"), edited("cool")
        assert (warm[..., 0] - warm[..., 2]).mean() > redness > (cool[..., 0] - cool[..., 2]).mean()
        grey = edited("greyscale")
        assert np.array_equal(grey[..., 0], grey[..., 1]) and np.array_equal(grey[..., 1], grey[..., 2])


def test_flips_and_turns_are_exact() -> None:
    rgb = noisy(50, 50)
    assert np.array_equal(geometric.transform(rgb, "flip_horizontal")[:, 0], rgb[:, -1])
    assert np.array_equal(geometric.transform(rgb, "flip_vertical")[0], rgb[-1])
    assert np.array_equal(geometric.transform(rgb, "rotate_half")[0, 0], rgb[-1, -1])
    # Clockwise: what was the upper left corner is now the upper right one.
    assert np.array_equal(geometric.transform(rgb, "rotate_right")[0, -1], rgb[0, 0])
    assert np.array_equal(geometric.transform(rgb, "rotate_left")[-1, 0], rgb[0, 0])


def test_quarter_turns_are_for_square_pictures_and_zoom_for_large_ones() -> None:
    assert not GeometricEditor("rotate_left").applicable(Photo(noisy(100, 120)))
    assert GeometricEditor("rotate_left").applicable(Photo(noisy(100, 100)))
    assert not GeometricEditor("zoom").applicable(Photo(noisy(100, 120)))
    assert GeometricEditor("zoom").applicable(Photo(noisy(256, 300)))


@pytest.mark.parametrize("part", tuple(geometric.ZOOM_PARTS))
def test_zoom_shows_the_part_it_names(part: str) -> None:
    # Four quarters of plain colours; the centre shows all four.
    rgb = np.zeros((200, 200, 3), np.uint8)
    colours = {
        "upper left quarter": (0, 0),
        "upper right quarter": (0, 1),
        "lower left quarter": (1, 0),
        "lower right quarter": (1, 1),
    }
    for level, (down, right) in enumerate(colours.values(), start=1):
        rgb[down * 100 : down * 100 + 100, right * 100 : right * 100 + 100] = 50 * level
    shown = set(geometric.zoom(rgb, part)[::198, ::198, 0].ravel().tolist())
    expected = {50, 100, 150, 200} if part == "centre" else {50 * (1 + list(colours).index(part))}
    assert shown == expected
