"""Prompts hold of the scenes they were made from, as the inspector reads them, and of no others."""

from dataclasses import replace

import numpy as np
import pytest

from components.scenes.inspect import inspect
from components.scenes.options import SceneOptions
from components.scenes.prompts import CATEGORIES, Claim, Prompt, holds, sample_prompt, sample_prompts
from components.scenes.render import render
from components.scenes.scene import Scene, SceneObject

pytestmark = pytest.mark.unit
WORLD = SceneOptions(
    shapes=("circle", "square", "triangle"), colours=("red", "green", "blue"), sizes=("large",), fills=("solid",),
    backgrounds=("white", "grey"), graded=0, placement="grid", held_out=("red circle",),
)  # fmt: skip


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_true_picture_of_a_prompt_is_right_and_others_are_not(category):
    prompts = sample_prompts(WORLD, category, 40, np.random.default_rng(0))
    read = [inspect(render(prompt.scene, 64), WORLD).scene for prompt in prompts]
    assert all(holds(prompt, scene) for prompt, scene in zip(prompts, read, strict=True))
    assert sum(holds(prompt, scene) for prompt, scene in zip(prompts, read[1:] + read[:1], strict=True)) <= 6
    for prompt in prompts:
        scene = prompt.scene
        assert not holds(prompt, replace(scene, objects=scene.objects[:-1]))
        assert not holds(prompt, replace(scene, objects=(*scene.objects, scene.objects[0])))
        wrong = "green" if scene.objects[0].colour != "green" else "blue"
        assert not holds(prompt, replace(scene, objects=(replace(scene.objects[0], colour=wrong), *scene.objects[1:])))
        assert all(claim.colour in prompt.text and claim.shape in prompt.text for claim in prompt.claims)


def test_attributes_bound_to_the_wrong_objects_and_turned_relations_are_wrong():
    left, right = (
        SceneObject(s, c, "large", "solid", x, 0.5) for s, c, x in (("circle", "red", 0.25), ("square", "blue", 0.75))
    )
    scene = Scene((left, right), "white")
    prompt = Prompt("", "position", scene, (Claim("red", "circle"), Claim("blue", "square")), "white", "left")
    assert holds(prompt, scene) and holds(prompt, replace(scene, objects=(right, left)))
    assert not holds(replace(prompt, relation="right"), scene)
    swapped = (replace(left, colour="blue"), replace(right, colour="red"))
    assert not holds(prompt, replace(scene, objects=swapped))
    assert not holds(prompt, replace(scene, background="grey"))
    assert holds(replace(prompt, background=""), replace(scene, background="grey"))


@pytest.mark.parametrize("category", CATEGORIES)
def test_held_out_prompts_name_a_combination_that_training_never_shows(category):
    for prompt in sample_prompts(WORLD, category, 10, np.random.default_rng(1), held_out=True):
        assert "red circle" in prompt.text
    for prompt in sample_prompts(WORLD, category, 10, np.random.default_rng(1)):
        assert "red circle" not in prompt.text


def test_what_the_world_has_no_scenes_for_gives_no_prompt():
    alone = replace(WORLD, max_objects=1)
    assert sample_prompt(alone, "counting", np.random.default_rng(0)) is None
    assert sample_prompt(alone, "single_object", np.random.default_rng(0)) is not None
    with pytest.raises(ValueError, match="no category 'sizes'"):
        sample_prompt(WORLD, "sizes", np.random.default_rng(0))
