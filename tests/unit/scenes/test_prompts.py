"""Prompts hold of the scenes they were made from, as the inspector reads them, and of no others."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from components.scenes.caption_claims import read_caption
from components.scenes.inspect import inspect
from components.scenes.options import CATEGORIES, SceneOptions, distinguishable
from components.scenes.prompts import holds, sample_prompt, sample_prompts
from components.scenes.render import render

pytestmark = pytest.mark.unit
WORLD = SceneOptions(
    shapes=("circle", "square", "triangle"), colours=("red", "green", "blue"), sizes=("large",), fills=("solid",),
    backgrounds=("white", "grey"), graded=0, placement="grid", held_out=("red circle",),
)  # fmt: skip
HARD = SceneOptions(max_objects=3, graded=0.5)


@pytest.mark.parametrize("world", [WORLD, HARD], ids=["simple", "everything"])
@pytest.mark.parametrize("category", CATEGORIES)
def test_the_true_picture_of_a_prompt_is_right_and_others_are_not(category, world):
    prompts = sample_prompts(world, category, 60, np.random.default_rng(0))
    read = [inspect(render(prompt.scene, 64), world).scene for prompt in prompts]
    right = sum(holds(prompt, scene) for prompt, scene in zip(prompts, read, strict=True))
    assert right >= (60 if world is WORLD else 59)  # the inspector may misread one of the harder pictures
    assert sum(holds(prompt, scene) for prompt, scene in zip(prompts, read[1:] + read[:1], strict=True)) <= 9
    for prompt in prompts:
        scene = prompt.scene
        assert holds(prompt, scene) and prompt.caption == read_caption(prompt.text)
        assert all(distinguishable(o.colour, o.fill, scene.background) for o in scene.objects)
        assert not holds(prompt, replace(scene, objects=scene.objects[:-1]))
        assert not holds(prompt, replace(scene, objects=(*scene.objects, scene.objects[0])))


def test_each_category_asks_for_what_its_name_says():
    made = {name: sample_prompts(HARD, name, 40, np.random.default_rng(1)) for name in CATEGORIES}
    for prompt in made["single_object"] + made["colours"]:
        assert len(prompt.caption.objects) == 1
    assert all(not (o.size or o.fill) for prompt in made["colours"] for o in prompt.caption.objects)
    assert min(Counter(p.scene.objects[0].colour for p in made["colours"]).values()) >= 1
    assert len({p.scene.objects[0].colour for p in made["colours"]}) == len(HARD.colours)
    for prompt in made["two_objects"]:
        assert not prompt.caption.relation and not any(o.place for o in prompt.caption.objects)
    words = {word for prompt in made["counting"] for word in prompt.text.split()}
    assert {"two", "three"} <= words
    for prompt in made["position"]:
        assert prompt.caption.relation or any(o.place for o in prompt.caption.objects)
    for prompt in made["attribute_binding"]:
        first, second = prompt.caption.objects
        assert first.colour != second.colour and first.shape != second.shape


@pytest.mark.parametrize("category", CATEGORIES)
def test_held_out_prompts_name_a_combination_that_training_never_shows(category):
    held = sample_prompts(WORLD, category, 10, np.random.default_rng(1), held_out=True)
    assert len(held) == 10 and all("red circle" in prompt.text for prompt in held)
    for prompt in sample_prompts(WORLD, category, 10, np.random.default_rng(1)):
        assert "red circle" not in prompt.text


def test_what_the_world_has_no_scenes_for_gives_no_prompt():
    rng = np.random.default_rng(0)
    alone = replace(WORLD, max_objects=1)
    made = {name: sample_prompt(alone, name, rng) is not None for name in CATEGORIES}
    assert [name for name, there in made.items() if there] == ["single_object", "colours"]
    crowd = replace(WORLD, min_objects=3, max_objects=3, held_out=())
    made = {name: sample_prompt(crowd, name, rng) is not None for name in CATEGORIES}
    assert [name for name, there in made.items() if there] == ["counting", "position"]
    assert sample_prompt(replace(WORLD, shapes=("square",), held_out=()), "attribute_binding", rng) is None
    with pytest.raises(ValueError, match="no category 'sizes'"):
        sample_prompt(WORLD, "sizes", rng)
    with pytest.raises(ValueError, match="no combination is held out"):
        sample_prompt(replace(WORLD, held_out=()), "counting", rng, held_out=True)
