"""The scenes world: what is drawn is what is said, edits are exact, and pictures are read back."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image, ImageFilter

from components.scenes.describe import describe, describe_wrong
from components.scenes.edits import change_mask, sample_edit
from components.scenes.inspect import inspect
from components.scenes.options import COLOURS, EDIT_KINDS, SHAPES, SceneOptions
from components.scenes.render import coverage, render
from components.scenes.scene import TONES, Scene, SceneObject, same_scene, sample_scene

pytestmark = pytest.mark.unit

HARD = SceneOptions(max_objects=3, graded=0.5)
GRID = SceneOptions(max_objects=3, graded=0.5, placement="grid")


def scenes(options: SceneOptions, count: int, seed: int = 0) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [sample_scene(options, rng) for _ in range(count)]


def jpeg(picture: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=75)
    return np.array(Image.open(io.BytesIO(buffer.getvalue())))


def blur(picture: np.ndarray) -> np.ndarray:
    return np.array(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(0.7)))


@pytest.mark.parametrize(
    ("change", "least"), [(None, 0.99), (jpeg, 0.97), (blur, 0.97)], ids=["as drawn", "after JPEG 75", "after blur 0.7"]
)
def test_the_inspector_reads_1000_pictures_back_exactly(change, least):
    exact = 0
    for options in (HARD, GRID):
        for scene in scenes(options, 500, seed=7):
            picture = render(scene, 64)
            exact += same_scene(scene, inspect(change(picture) if change else picture, options).scene)
    assert exact / 1000 >= least


def test_the_inspector_reads_small_simple_pictures():
    options = SceneOptions(size=32, fills=("solid",), graded=0.0, placement="grid")
    exact = [same_scene(s, inspect(render(s, 32), options).scene) for s in scenes(options, 300)]
    assert np.mean(exact) >= 0.97


def test_the_inspector_finds_the_tone():
    rng = np.random.default_rng(3)
    found = 0
    for scene in scenes(SceneOptions(graded=0.0), 60):
        edit = sample_edit(scene, SceneOptions(), rng, ("tone",))
        found += same_scene(edit.target, inspect(render(edit.target), SceneOptions(graded=0.0), tuple(TONES)).scene)
    assert found / 60 >= 0.95


def test_a_faint_ghost_is_no_object_and_is_counted():
    scene = Scene((SceneObject("circle", "blue", "large", "solid", 0.5, 0.5),), "white")
    empty = Scene((), "white")
    ghost = (0.75 * render(empty).astype(float) + 0.25 * render(scene)).astype(np.uint8)
    read = inspect(ghost, SceneOptions())
    assert read.scene.objects == ()
    assert read.ghosts == 1
    assert read.residue > 0.05


def test_noise_and_emptiness_have_defined_answers():
    assert inspect(render(Scene((), "grey")), SceneOptions()).scene == Scene((), "grey")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert inspect(noise, SceneOptions()).residue > 0.3
    with pytest.raises(ValueError, match="square uint8"):
        inspect(np.zeros((64, 32, 3), np.uint8))


def test_the_same_seed_gives_the_same_bytes():
    first, again, other = ([render(scene).tobytes() for scene in scenes(HARD, 20, seed=s)] for s in (0, 0, 1))
    assert first == again != other


def test_objects_do_not_overlap_and_are_seen_whole():
    for scene in scenes(HARD, 200):
        masks = [sum(coverage(item, 64)) > 0.5 for item in scene.objects]
        assert sum(m.astype(int) for m in masks).max(initial=0) <= 1 if masks else True
        for mask in masks:
            assert mask.any()
            assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def test_a_scene_survives_json():
    import json

    for scene in scenes(HARD, 50):
        assert Scene.from_dict(json.loads(json.dumps(scene.to_dict()))) == scene


@pytest.mark.parametrize(
    "value", [None, [], {}, {"objects": [{}]}, {"objects": [], "background": "lava", "graded": False, "tone": "none"}]
)
def test_what_is_no_scene_is_refused(value):
    with pytest.raises(ValueError, match="this is no scene"):
        Scene.from_dict(value)


def holds(caption: str, scene: Scene) -> bool:
    """Check a caption's objects, counts and first relation against the scene by reading its words."""
    colour_shape = rf"({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
    said = []
    for number, colour, shape in re.findall(rf"(two |three |four |five )?{colour_shape}", caption):
        said += [(colour, shape)] * {"two ": 2, "three ": 3, "four ": 4, "five ": 5}.get(number, 1)
    if sorted(said) != sorted((o.colour, o.shape) for o in scene.objects):
        return False
    for words, true in (("left of", lambda a, b: a.x < b.x), ("right of", lambda a, b: a.x > b.x),
                        ("above", lambda a, b: a.y < b.y), ("below", lambda a, b: a.y > b.y)):  # fmt: skip
        match = re.search(rf"{colour_shape} (?:to the )?{words} a(?:n|) (?:\w+ )*?{colour_shape}", caption)
        if match:
            pairs = [(a, b) for a in scene.objects for b in scene.objects if a is not b
                     and (a.colour, a.shape, b.colour, b.shape) == match.groups()]  # fmt: skip
            if not any(true(a, b) for a, b in pairs):
                return False
    return True


def test_captions_are_true_and_wrong_ones_are_false():
    rng = np.random.default_rng(5)
    for options in (HARD, GRID):
        for scene in scenes(options, 400):
            assert holds(describe(scene, rng), scene)
            assert not holds(describe_wrong(scene, options, rng), scene)


def test_captions_vary_and_are_sentences():
    rng = np.random.default_rng(5)
    captions = [describe(scene, rng) for scene in scenes(SceneOptions(), 1000)]
    assert len(set(captions)) > 950
    assert all(4 <= len(c.split()) <= 30 for c in captions)


@pytest.mark.parametrize("kind", EDIT_KINDS)
def test_every_kind_of_edit_changes_what_its_mask_says_and_only_that(kind):
    rng = np.random.default_rng(2)
    made = 0
    for scene in scenes(HARD, 60):
        edit = sample_edit(scene, HARD, rng, (kind,))
        if edit is None:
            continue
        made += 1
        mask = change_mask(scene, edit.target)
        before, after = render(scene), render(edit.target)
        assert edit.kind == kind
        assert not same_scene(scene, edit.target)
        assert mask.sum() >= 20
        assert (before[~mask] == after[~mask]).all()
        assert (
            same_scene(edit.target, inspect(after, HARD, tuple(TONES) if kind == "tone" else ("none",)).scene)
            or kind == "tone"
        )
    assert made >= 30


def test_held_out_combinations_are_sampled_only_when_asked_for():
    options = SceneOptions(held_out=("red circle", "blue square"))
    rng = np.random.default_rng(0)
    for scene in scenes(options, 200):
        assert all(options.allowed(o.colour, o.shape) for o in scene.objects)
        edit = sample_edit(scene, options, rng)
        assert edit is None or all(options.allowed(o.colour, o.shape) for o in edit.target.objects)
    asked = sample_scene(options, rng, held_out=True)
    assert any(not options.allowed(o.colour, o.shape) for o in asked.objects)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"colours": ("red", "gren")}, "did you mean 'green'"),
        ({"placement": "grid", "grid": 1, "max_objects": 2}, "only 1 cells"),
        ({"placement": "grid", "grid": 4, "max_objects": 2}, "do not fit"),
        ({"colours": ("pink",), "fills": ("striped",), "backgrounds": ("grey",)}, "stands out"),
        ({"min_objects": 3, "max_objects": 2}, "min <= max"),
        ({"shapes": ("circle",), "colours": ("red",), "held_out": ("red circle",)}, "leaves no combination"),
    ],
)
def test_impossible_options_are_refused_with_what_to_do(values, words):
    with pytest.raises(ValueError, match=words):
        SceneOptions(**values)
