"""The judge on the scenes world, held to makers whose pictures are known: the truth, the source, somebody else's."""

import functools
import json

import numpy as np
import pytest

from components.evaluation.editing import inside_residue, object_trace, outside_psnr
from components.scenes.edits import change_mask
from components.scenes.scene import Scene
from pipelines.config.compose import compose_config
from pipelines.stages.generator.evaluation_figures import judgement
from pipelines.stages.generator.judged_world import HELD_OUT
from pipelines.stages.generator.picture_sheet import others
from pipelines.stages.generator.scene_world import SceneWorld
from pipelines.stages.generator.world_figures import shares
from tests.unit.pipelines.stages.generator.evaluated import evaluate, pieces
from tests.unit.pipelines.stages.generator.fake_world import Prepared, key_of

pytestmark = pytest.mark.unit
EDITS = ("edits",)
CONFIG = compose_config(
    [
        "preset=tiny",
        "image_size=64",
        "encoder.small.patch=16",
        "evaluate_generator.prompts=4",
        "evaluate_generator.edits=2",
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


def world() -> SceneWorld:
    return SceneWorld(None, CONFIG, {}, 0)


def sheet_cases(split: str) -> list:
    studio, sections = pieces(CONFIG, world(), Prepared({}))
    (section,) = [s for s in sections if s.split == split]
    return studio.sheet.cases(section)


@functools.cache
def true_pictures() -> dict:
    """The true picture of every prompt, and of every edit."""
    studio, sections = pieces(CONFIG, world(), Prepared({}))
    return {
        key_of(case) if section.of_edits else case.text: studio.sheet.truth(section, case)
        for section in sections
        for case in studio.sheet.cases(section)
    }


def test_true_pictures_are_right_in_every_category_and_each_judgement_is_kept(tmp_path):
    found = evaluate(tmp_path, CONFIG, world(), Prepared(true_pictures()), only=(HELD_OUT,), size=16)
    values = found.metrics()["text_to_image"]
    names = {"overall", *SceneWorld.categories}
    assert {values[name] for name in names} == {1.0} and names <= values["ceiling"].keys()
    rows = [judgement(row) for row in found.rows[HELD_OUT]]
    assert [row["prompt"] for row in rows] == [asked.text for asked in sheet_cases(HELD_OUT)]
    assert all("aspects" not in row for row in rows)
    assert Scene.from_dict(json.loads(json.dumps(rows[0]))["read"]).objects
    assert found.intervals["text_to_image.overall"] == pytest.approx([1, 1])


def test_shuffled_prompts_score_as_chance_says(tmp_path):
    truth = dict(true_pictures())
    asked = [a.text for a in sheet_cases(HELD_OUT)]
    ring = others(len(asked), np.random.default_rng(7))
    truth |= {asked[i]: truth[asked[j]] for i, j in enumerate(ring)}
    values = evaluate(tmp_path, CONFIG, world(), Prepared(truth), only=(HELD_OUT,)).metrics()["text_to_image"]
    assert values["overall"] < 0.3 and values["chance"]["overall"] < 0.3
    assert values["ceiling"]["overall"] == 1


def test_a_copied_source_is_no_edit_and_the_truth_is_one(tmp_path):
    truth = true_pictures()
    cases = sheet_cases("edits")
    assert len(cases) == 8
    copied = evaluate(tmp_path, CONFIG, world(), Prepared(truth | {key_of(c): c.source for c in cases}), only=EDITS)
    figures = copied.metrics()["editing"]
    assert figures["success"] == figures["copy_source"] == 0
    assert figures["preservation_psnr"] == 60 and figures["removal_ghosts"] == 1
    assert {name: figures[name] for name in ("psnr", "ssim")} == pytest.approx(
        {name: figures["of_source"][name] for name in ("psnr", "ssim")}
    )
    assert figures["of_others"]["psnr"] < figures["psnr"] < figures["of_reconstructions"]["psnr"] == 100
    (tmp_path / "done").mkdir()
    done = evaluate(tmp_path / "done", CONFIG, world(), Prepared(truth), only=EDITS).metrics()["editing"]
    assert {done[k] for k in ("success", "recolour", "remove", "add", "background", "ceiling")} == {1.0}
    assert done["ssim"] == pytest.approx(1)
    assert done["removal_residue"] == 0 and done["removal_ghosts"] == 0 and done["removal_trace"] == 0
    assert set(done["by_kind"]) == {"recolour", "remove", "add", "background"}


def test_a_faint_ghost_of_a_removed_object_is_no_success(tmp_path):
    truth = true_pictures()
    cases = [case for case in sheet_cases("edits") if case.kind == "remove"]
    blended = {key_of(c): (0.85 * c.target + 0.15 * c.source).round().astype(np.uint8) for c in cases}
    found = evaluate(tmp_path, CONFIG, world(), Prepared(truth | blended), only=EDITS)
    figures = found.metrics()["editing"]
    assert figures["remove"] == 0 and figures["recolour"] == 1 and figures["removal_ghosts"] == 1
    assert not any(row["right"] for row in found.rows["edits"] if row["category"] == "remove")


def test_chance_is_judged_by_other_pictures_alone():
    for count in (2, 3, 50):
        found = others(count, np.random.default_rng(count))
        assert sorted(found) == list(range(count)) and all(i != j for i, j in enumerate(found))


def test_figures_by_guidance_are_of_the_same_prompts_with_the_same_noise_as_the_generators_own(tmp_path):
    maker = Prepared(true_pictures())
    found = evaluate(tmp_path, CONFIG, world(), maker, size=1000, only=(HELD_OUT, "guidance 1"))
    values = found.metrics()["text_to_image"]
    own = f"{CONFIG.generator.guidance_scale:g}".replace(".", "_")
    assert values["overall"] == values["by_guidance"][own] == values["ceiling"]["overall"] == 1
    assert values["chance"]["overall"] < 1
    main, scaled = maker.asked[0], next(call for call in maker.asked if call[2] is not None)
    noise = dict(zip(main[0], main[1], strict=True))
    assert set(scaled[0]) < set(main[0]) and all(noise[t] == s for t, s in zip(scaled[0], scaled[1], strict=True))
    rows = [row for own in found.rows.values() for row in own]
    assert {row["guidance_scale"] for row in rows} == {CONFIG.generator.guidance_scale, scaled[2]}


def test_overall_is_the_mean_over_categories():
    assert shares(["a", "a", "a", "b"], [True, True, False, False])["overall"] == pytest.approx(1 / 3)


def test_figures_of_an_edit_are_of_the_right_side_of_its_mask():
    case = world().edits("remove", 1)[0]
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
    case = world().edits("remove", 1)[0]
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
