"""The judge on a small world of its own: aspects of single objects, groups of edit kinds, pictures over training."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from PIL import Image

from pipelines.config.compose import compose_config
from pipelines.stages.generator.judge import Judge
from pipelines.stages.generator.judge_edits import EditJudge
from tests.unit.pipelines.stages.generator.fake_world import FakeWorld, Prepared, plain

pytestmark = pytest.mark.unit
CONFIG = compose_config(["preset=tiny", "evaluate_generator.prompts=4", "evaluate_generator.edits=3"])


def judge(change=lambda asked, true: true) -> Judge:
    world = FakeWorld()
    asked = [a for name in world.categories for split in ("", "seen") for a in world.prompts(name, 4, split)]
    pictures = {a.text: change(a, world.picture(a)) for a in asked}
    pictures |= {c.instruction: c.target for kind in world.edit_kinds for c in world.edits(kind, 3)}
    return Judge(Prepared(pictures), world, CONFIG, 0, {})


def test_an_aspect_is_counted_over_the_single_objects_whose_prompt_says_it():
    def wrong_tone_once(asked, true):
        return plain(true[0, 0, 0], 77) if asked.text == "single_object 0" else true

    judged = judge(wrong_tone_once)
    figures = judged.text_to_image()
    assert {name: figures[name] for name in ("exact", "concept", "tone")} == {"exact": 0.75, "concept": 1, "tone": 0.5}
    assert figures["single_object"] == 0.75 and figures["two_objects"] == 1 and figures["overall"] == 0.875
    assert figures["ceiling"]["tone"] == figures["seen"]["tone"] == 1
    assert figures["chance"]["concept"] < 0.5
    first = judged.rows[0]
    assert (
        first["right"] is False and first["aspects"] == {"concept": True, "tone": False} and first["read"] == [10, 77]
    )
    assert {row["split"] for row in judged.rows} == {"held out prompts", "taught pictures", "guidance 1"}


def test_what_a_world_does_not_have_is_absent_with_the_worlds_reason():
    judged = judge()
    figures = judged.text_to_image() | EditJudge(judged).editing()
    assert judged.absent == {
        "text_to_image.counting": "there are none",
        "text_to_image.unseen": "nothing is kept out",
        "editing.swap": "no such edit",
        "editing.by_composition": "no such edit",
    }
    assert not {"counting", "unseen", "swap", "by_composition"} & set(figures)


def test_a_group_of_edit_kinds_is_the_share_over_its_cases():
    judged = judge()
    judged.maker.pictures |= {"tone 0": plain(1, 1), "tone 1": plain(10, 90), "concept 0": plain(90, 20)}
    edits = EditJudge(judged)
    figures = edits.editing()
    assert figures["tone"] == pytest.approx(1 / 3) and figures["concept"] == 1
    assert figures["by_factor"] == pytest.approx(4 / 6)
    assert figures["ceiling"] == 1 and figures["copy_source"] == 0
    assert [row["right"] for row in judged.rows] == [False, False, True, True, True, True]


def test_without_known_masks_nothing_is_said_of_preservation():
    assert not {"preservation_psnr", "removal_residue"} & set(EditJudge(judge()).editing())


def test_the_same_few_prompts_are_drawn_at_every_snapshot_beside_the_curve(tmp_path):
    judged = judge()
    trained = SimpleNamespace(
        path="t", files=lambda pattern: [f"t/snapshots/step-{n:08d}/model.safetensors" for n in (3, 6)]
    )
    found = judged.convergence([(trained, {"batch": 16, "steps": 6})], lambda name: tmp_path / name)
    assert found == {"checkpoints": {"48": 1.0, "96": 1.0}} and judged.maker.used == ["step-00000003", "step-00000006"]
    rows = Image.open(tmp_path / "convergence_pictures.png").height
    assert (tmp_path / "convergence.png").exists() and rows > 3 * 96  # two snapshots above the truth
