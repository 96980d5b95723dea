"""The judge on the scenes world, held to makers whose pictures are known: the truth, the source, somebody else's."""

import json

import numpy as np
import pytest

from components.evaluation.editing import inside_residue, object_trace, outside_psnr
from components.scenes.edits import change_mask
from components.scenes.scene import Scene
from pipelines.config.compose import compose_config
from pipelines.stages.generator.judge import Judge, others, shares
from pipelines.stages.generator.judge_edits import EditJudge
from pipelines.stages.generator.judged_world import HELD_OUT
from pipelines.stages.generator.scene_world import SceneWorld

pytestmark = pytest.mark.unit
CONFIG = compose_config(
    [
        "preset=tiny",
        "image_size=64",
        "encoder.small.patch=16",
        "evaluate_generator.prompts=6",
        "evaluate_generator.edits=5",
        "source.scene.max_objects=2",
        "source.scene.fills=[solid]",
        "source.scene.sizes=[large]",
        "source.scene.placement=grid",
        "source.scene.graded=0",
        "source.scene.shapes=[circle,square,triangle]",
        "source.scene.colours=[red,green,blue]",
        "source.scene.backgrounds=[white,grey]",
        "synthesize_edits.scene_kinds=[recolour,remove,add,background]",
    ]
)


class Known:
    """Stands for a generator: gives back the pictures it is told to."""

    def __init__(self, pictures=None) -> None:
        self.pictures, self.made = pictures, 0

    def __call__(self, name, prompts, sources=None, guidance=None):
        return sources if self.pictures is None else self.pictures[: len(prompts)]

    def decoded(self, pictures):
        return pictures


def judge(maker) -> Judge:
    return Judge(maker, SceneWorld(None, CONFIG, {}, 0), CONFIG, 0, {})


def true_pictures(judged: Judge) -> np.ndarray:
    return np.stack([judged.world.picture(asked) for group in judged.prompts(6).values() for asked in group])


def test_true_pictures_are_right_in_every_category_and_each_judgement_is_kept():
    maker = Known()
    judged = judge(maker)
    flat = [asked for group in judged.prompts(6).values() for asked in group]
    maker.pictures = true_pictures(judged)
    values = judged.judge(HELD_OUT, judged.prompts(6)).figures()
    assert set(values) == {"overall", *judged.world.categories} and set(values.values()) == {1.0}
    assert [row["prompt"] for row in judged.rows] == [asked.text for asked in flat]
    assert all("aspects" not in row for row in judged.rows)
    assert Scene.from_dict(json.loads(json.dumps(judged.rows[0]))["read"]).objects

    maker.pictures = maker.pictures[::-1]
    assert judged.judge(HELD_OUT, judged.prompts(6)).figures()["overall"] < 0.3


def test_a_copied_source_is_no_edit_and_the_truth_is_one():
    maker = Known()
    judged = EditJudge(judge(maker))
    copied = judged.editing()
    assert copied["success"] == copied["copy_source"] == 0
    assert copied["preservation_psnr"] == 60 and copied["removal_ghosts"] == 1
    cases = judged.cases()
    assert len(cases) == 20
    maker.pictures = np.stack([case.target for case in cases])
    done = judged.editing()
    assert {done[k] for k in ("success", "recolour", "remove", "add", "background", "ceiling")} == {1.0}
    assert done["removal_residue"] == 0 and done["removal_ghosts"] == 0 and done["removal_trace"] == 0


def test_a_faint_ghost_of_a_removed_object_is_no_success():
    maker = Known()
    judged = EditJudge(judge(maker))
    cases = judged.cases()
    blended = [0.85 * case.target + 0.15 * case.source for case in cases]
    maker.pictures = np.stack(blended).round().astype(np.uint8)
    assert judged.editing()["remove"] == 0


def test_chance_is_judged_by_other_pictures_alone():
    for count in (2, 3, 50):
        found = others(count, np.random.default_rng(count))
        assert sorted(found) == list(range(count)) and all(i != j for i, j in enumerate(found))


def test_figures_by_guidance_are_of_the_same_prompts_with_the_same_noise_as_the_generators_own():
    asked = []

    class Asked(Known):
        def __call__(self, name, prompts, sources=None, guidance=None):
            asked.append((name, prompts, guidance))
            return super().__call__(name, prompts, sources, guidance)

    maker = Asked()
    judged = judge(maker)
    maker.pictures = true_pictures(judged)
    values = judged.text_to_image()
    own = f"{CONFIG.generator.guidance_scale:g}".replace(".", "_")
    assert (
        values["overall"]
        == values["by_guidance"][own]
        == values["ceiling"]["overall"]
        == 1
        > values["chance"]["overall"]
    )
    main, scaled = asked[0], next(call for call in asked if call[2] is not None)
    assert main[0] == scaled[0] and set(scaled[1]) < set(main[1])
    assert {row["guidance_scale"] for row in judged.rows} == {CONFIG.generator.guidance_scale, scaled[2]}


def test_overall_is_the_mean_over_categories():
    assert shares(["a", "a", "a", "b"], [True, True, False, False])["overall"] == pytest.approx(1 / 3)


def test_figures_of_an_edit_are_of_the_right_side_of_its_mask():
    case = judge(Known()).world.edits("remove", 1)[0]
    mask = case.mask
    assert np.array_equal(mask, change_mask(*case.about, 64))
    inside = case.source.copy()
    inside[mask] = 0
    assert outside_psnr(inside, case.source, mask) == 60
    assert inside_residue(inside, inside, mask) == 0 < inside_residue(case.source, case.target, mask)
    other = case.source.copy()
    other[~mask] ^= 16
    assert outside_psnr(other, case.source, mask) == pytest.approx(10 * np.log10(255**2 / 256), abs=0.01)
    assert outside_psnr(other, case.source, np.ones_like(mask)) is None
    with pytest.raises(ValueError, match="no pixel"):
        inside_residue(other, other, np.zeros_like(mask))


def test_the_trace_of_a_removed_object_is_its_own_share_and_not_a_colour_that_is_off_everywhere():
    case = judge(Known()).world.edits("remove", 1)[0]
    source, target, mask = case.source, case.target, case.mask
    trace = [object_trace(made, source, target, mask) for made in (source, target)]
    assert trace == [1, 0]
    faint = target + 0.1 * (source.astype(float) - target)
    assert object_trace(faint, source, target, mask) == pytest.approx(0.1)
    assert object_trace(2 * target.astype(float) - source, source, target, mask) == pytest.approx(-1)
    speckled = target + 8.0 * np.random.default_rng(0).choice([-1, 1], target.shape)
    assert abs(object_trace(speckled, source, target, mask)) < 0.02 and inside_residue(speckled, target, mask) == 8
    with pytest.raises(ValueError, match="no object"):
        object_trace(source, target, target, mask)
