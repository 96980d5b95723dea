"""What a caption claims is read from its words: true of its own scene, false of a wrong caption's."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from components.scenes.caption_claims import Caption, Claim, read_caption
from components.scenes.describe import describe, describe_wrong
from components.scenes.edits import sample_edit
from components.scenes.instruction_claims import follows
from components.scenes.options import EDIT_KINDS, SceneOptions
from components.scenes.scene import Scene, SceneObject, sample_scene

pytestmark = pytest.mark.unit
CROWDED = SceneOptions(
    min_objects=6, max_objects=9, placement="grid", grid=3, jitter=0, sizes=("small",), colours=("red", "blue"),
    shapes=("circle", "square"),
)  # fmt: skip
LEFT = SceneObject("circle", "red", "large", "striped", 0.25, 0.5)
RIGHT = SceneObject("square", "blue", "small", "solid", 0.75, 0.5)
SCENE = Scene((LEFT, RIGHT), "sky", graded=True)


@pytest.mark.parametrize(
    "options", [SceneOptions(min_objects=0, max_objects=5), CROWDED], ids=["none to five", "six to nine"]
)
def test_every_caption_is_understood_and_holds_of_its_scene_and_no_wrong_one_does(options):
    rng = np.random.default_rng(0)
    for _ in range(400):
        scene = sample_scene(options, rng)
        assert read_caption(describe(scene, rng)).holds(scene)
        if scene.objects:
            assert not read_caption(describe_wrong(scene, options, rng)).holds(scene)


def test_all_that_is_said_is_read():
    assert read_caption(
        "a picture of a little blue square to the right of a big striped red circle in front of a graded light "
        "blue background"
    ) == Caption((Claim("blue", "square", "small"), Claim("red", "circle", "large", "striped")), "sky", True, "right")
    assert read_caption("there are two red circles and an orange diamond") == Caption(
        (Claim("red", "circle"), Claim("red", "circle"), Claim("orange", "diamond"))
    )
    assert read_caption("we see a red circle in the upper left of the picture").objects[0].place == "in the upper left"
    for text in ("a dog on a white background", "a red circle near a blue square", "a red circle, a picture", ""):
        with pytest.raises(ValueError, match="is no caption of the scenes world"):
            read_caption(text)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("a red circle and a blue square", {"objects": (replace(LEFT, colour="blue"), replace(RIGHT, colour="red"))}),
        ("a red circle and a blue square", {"objects": (LEFT, RIGHT, replace(RIGHT, y=0.8))}),
        ("a red circle and a blue square", {"objects": (LEFT,)}),
        ("a large red circle and a blue square", {"objects": (replace(LEFT, size="small"), RIGHT)}),
        ("a striped red circle and a blue square", {"objects": (replace(LEFT, fill="solid"), RIGHT)}),
        ("a red circle left of a blue square", {"objects": (replace(LEFT, x=0.75), replace(RIGHT, x=0.25))}),
        ("a red circle on the left and a blue square on the right", {"objects": (replace(LEFT, x=0.5), RIGHT)}),
        ("a red circle and a blue square on a light blue background", {"background": "white"}),
        ("a red circle and a blue square on a graded light blue background", {"graded": False}),
    ],
)
def test_each_thing_said_can_be_wrong(text, wrong):
    caption = read_caption(text)
    assert caption.holds(SCENE) and caption.holds(replace(SCENE, objects=(RIGHT, LEFT)))
    assert not caption.holds(replace(SCENE, **wrong))


def test_what_is_not_said_is_free_and_a_place_may_be_a_pixel_off():
    caption = read_caption("a red circle on the left and a blue square on the right")
    other = Scene((replace(LEFT, size="small", fill="solid", x=0.41), RIGHT), "black")
    assert caption.holds(other)
    assert not caption.holds(replace(other, objects=(replace(LEFT, x=0.43), RIGHT)))


def test_one_object_is_not_counted_for_two_claims():
    caption = read_caption("a red circle on the left and a red circle in the lower left")
    low, high = replace(LEFT, y=0.8), replace(LEFT, y=0.2)
    assert caption.holds(Scene((low, high), "white")) and caption.holds(Scene((high, low), "white"))
    assert not caption.holds(Scene((high, replace(high, y=0.5)), "white"))


def test_every_instruction_follows_its_own_edit_and_hardly_another():
    rng, options = np.random.default_rng(5), SceneOptions()
    made = []
    while len(made) < 400:
        scene = sample_scene(options, rng)
        edit = sample_edit(scene, options, rng)
        if edit is not None:
            made.append((scene, edit))
    assert {edit.kind for _, edit in made} == set(EDIT_KINDS)
    assert all(follows(edit.instruction, scene, edit.target) for scene, edit in made)
    assert not any(follows(edit.instruction, scene, scene) for scene, edit in made)
    others = [follows(other.instruction, scene, edit.target) for (scene, edit), (_, other) in itertools.pairwise(made)]
    assert sum(others) < 0.05 * len(others), "only words such as 'darken the image' hold of more than one"
    assert not follows("make it nicer", *([made[0][0]] * 2)) and not follows("", *([made[0][0]] * 2))
