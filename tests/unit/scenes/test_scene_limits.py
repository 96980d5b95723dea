"""The scenes world at its limits: nothing hangs, nothing impossible is accepted, and every word said is true."""

from __future__ import annotations

import re

import numpy as np
import pytest

from components.scenes.describe import SIZES, describe, reference
from components.scenes.edits import change_mask, sample_edit
from components.scenes.inspect import inspect
from components.scenes.options import BACKGROUNDS, COLOURS, FILLS, SHAPES, SceneOptions, distinguishable
from components.scenes.render import coverage, fill_coverage, pixel_centres, render, signed_distance
from components.scenes.scene import Scene, SceneObject, fits, sample_scene

pytestmark = pytest.mark.unit

HARD = SceneOptions(max_objects=3, graded=0.5)
RED = {"shape": "circle", "colour": "red", "size": "small", "fill": "solid", "x": 0.5, "y": 0.5}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"placement": "grid", "grid": 0, "min_objects": 0, "max_objects": 0}, "at least 1 cell"),
        ({"placement": "grid", "jitter": -0.2}, "share of a cell"),
        ({"max_objects": 5, "sizes": ("large",)}, "at most 4 large"),
        (
            {"colours": ("pink", "red"), "shapes": ("circle",), "fills": ("striped",), "backgrounds": ("grey",),
             "held_out": ("red circle",)},
            "held_out leaves no colour and shape",
        ),
    ],
)  # fmt: skip
def test_options_no_scene_can_fulfil_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        SceneOptions(**values)


@pytest.mark.parametrize(
    "values",
    [{"colours": ("red",), "held_out": ("blue square",)},
     {"min_objects": 0, "max_objects": 0, "held_out": ("red circle",)}],
)  # fmt: skip
def test_held_out_scenes_that_cannot_be_drawn_are_an_error_and_no_endless_search(values):
    with pytest.raises(ValueError, match="none of the held-out combinations"):
        sample_scene(SceneOptions(**values), np.random.default_rng(0), held_out=True)


def test_a_scene_asked_for_with_a_held_out_combination_always_has_one():
    options = SceneOptions(min_objects=0, held_out=("blue square",))
    for seed in range(40):
        scene = sample_scene(options, np.random.default_rng(seed), held_out=True)
        assert any((o.colour, o.shape) == ("blue", "square") for o in scene.objects)


def test_the_fullest_grid_is_sampled_and_counted_in_words():
    options = SceneOptions(
        min_objects=9, max_objects=9, sizes=("small",), shapes=("circle",), colours=("red",), backgrounds=("white",),
        placement="grid", grid=3, jitter=0.0,
    )  # fmt: skip
    scene = sample_scene(options, np.random.default_rng(0))
    captions = [describe(scene, np.random.default_rng(seed)) for seed in range(20)]
    assert any("nine red circles" in caption for caption in captions)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"objects": [RED | {"x": float("nan")}]}, "outside the picture"),
        ({"objects": [RED | {"y": 7}]}, "outside the picture"),
        ({"objects": [RED | {"shape": []}]}, "unknown shape"),
        ({"background": ["white"]}, "unknown background"),
        ({"graded": "no"}, "not true or false"),
    ],
)
def test_a_scene_with_an_impossible_value_is_refused(change, words):
    good = Scene((SceneObject(**RED),), "white").to_dict()
    assert Scene.from_dict(good).to_dict() == good
    with pytest.raises(ValueError, match=f"this is no scene.*{words}"):
        Scene.from_dict(good | change)


def test_edits_give_possible_scenes_and_their_mask_is_the_difference_of_the_pictures():
    rng = np.random.default_rng(4)
    for _ in range(300):
        scene = sample_scene(HARD, rng)
        edit = sample_edit(scene, HARD, rng)
        assert edit is not None
        items = edit.target.objects
        assert all(fits(o, items[:i] + items[i + 1 :]) for i, o in enumerate(items))
        assert all(distinguishable(o.colour, o.fill, edit.target.background) for o in items)
        difference = np.abs(render(scene).astype(int) - render(edit.target)).max(-1)
        assert np.array_equal(change_mask(scene, edit.target), difference > 0)
        assert (difference > 10).sum() >= 20


def test_a_reference_means_one_object_only():
    rng = np.random.default_rng(6)
    crowded = SceneOptions(min_objects=3, max_objects=3, colours=("red", "blue"), shapes=("circle", "square"))
    for _ in range(300):
        scene = sample_scene(crowded, rng)
        for index in range(3):
            words = reference(scene, index, rng)
            assert words is None or [o for o in scene.objects if matches(words, o)] == [scene.objects[index]]


def matches(words: str, item: SceneObject) -> bool:
    """Read a phrase word by word: does everything it says hold of the object? Written apart from the captions' code."""
    said = set(words.split())
    sizes = {word: size for size, all_words in SIZES.items() for word in all_words}
    where = {"left": item.x < 0.4, "right": item.x > 0.6, "upper": item.y < 0.4, "lower": item.y > 0.6,
             "top": item.y < 0.4, "bottom": item.y > 0.6,
             "middle": 0.4 <= item.x <= 0.6 and 0.4 <= item.y <= 0.6}  # fmt: skip
    return (
        item.shape in said
        and all(word == item.colour for word in said & set(COLOURS))
        and all(word == item.fill for word in said & set(FILLS))
        and all(sizes[word] == item.size for word in said & set(sizes))
        and all(where[word] for word in said & set(where))
    )


def test_sizes_fills_places_and_backgrounds_in_captions_are_true():
    rng = np.random.default_rng(8)
    phrase = re.compile(
        rf"((?:(?:small|little|large|big|outlined|striped) )*(?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})"
        r"(?: (?:in the (?:(?:upper|lower) (?:left|right)|middle)|on the (?:left|right)|"
        r"at the (?:top|bottom)))?)(?![\w])"
    )
    places = grounds = 0
    for _ in range(1000):
        scene = sample_scene(HARD, rng)
        caption = describe(scene, rng)
        for words in phrase.findall(caption):
            assert any(matches(words, item) for item in scene.objects), caption
            places += " the " in words
        ground = re.search(rf"(plain |graded )?({'|'.join(BACKGROUNDS)}|light blue) background", caption)
        if ground:
            grounds += 1
            assert ground[2].replace("light blue", "sky") == scene.background, caption
            assert ground[1] is None or (ground[1] == "graded ") == scene.graded, caption
    assert places > 300
    assert grounds > 300


def test_shapes_drawn_many_at_a_time_are_the_ones_drawn_alone():
    px, py = pixel_centres(64)
    xs, ys = np.array([0.3, 0.52, 0.61], np.float32), np.array([0.4, 0.33, 0.7], np.float32)
    for shape in SHAPES:
        for fill in FILLS:
            x, y = px[None] - xs[:, None, None], py[None] - ys[:, None, None]
            own, second = fill_coverage(fill, signed_distance(shape, x, y, 0.18), y, 64)
            for index in range(3):
                alone = coverage(SceneObject(shape, "red", "large", fill, float(xs[index]), float(ys[index])), 64)
                assert np.array_equal(own[index], alone[0])
                assert np.array_equal(second[index], alone[1])


def test_the_inspector_reads_the_same_picture_the_same_way_and_touches_nothing():
    rng = np.random.default_rng(12)
    for _ in range(20):
        picture = render(sample_scene(HARD, rng))
        before = picture.copy()
        assert inspect(picture, HARD) == inspect(picture, HARD)
        assert np.array_equal(picture, before)
