"""Figures of a small world of its own: aspects of single objects, groups of edit kinds, pictures over training."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from pipelines.config.compose import compose_config
from pipelines.stages.generator.evaluation_figures import judgement
from tests.unit.pipelines.stages.generator.evaluated import evaluate
from tests.unit.pipelines.stages.generator.fake_world import FakeWorld, Prepared, key_of, plain

pytestmark = pytest.mark.unit
CONFIG = compose_config(["preset=tiny", "evaluate_generator.prompts=4", "evaluate_generator.edits=3"])


def maker(change=lambda asked, true: true, results=None) -> Prepared:
    world = FakeWorld()
    asked = [a for name in world.categories for split in ("", "seen") for a in world.prompts(name, 4, split)]
    pictures = {a.text: change(a, world.picture(a)) for a in asked}
    edits = {key_of(c): c.target for kind in world.edit_kinds for c in world.edits(kind, 3)}
    return Prepared(pictures | {key: (results or {}).get(key[0], target) for key, target in edits.items()})


def test_an_aspect_is_counted_over_the_single_objects_whose_prompt_says_it(tmp_path):
    def wrong_tone_once(asked, true):
        return plain(true[0, 0, 0], 77) if asked.text == "single_object 0" else true

    found = evaluate(tmp_path, CONFIG, FakeWorld(), maker(wrong_tone_once))
    figures = found.metrics()["text_to_image"]
    assert {name: figures[name] for name in ("exact", "concept", "tone")} == {"exact": 0.75, "concept": 1, "tone": 0.5}
    assert figures["single_object"] == 0.75 and figures["two_objects"] == 1 and figures["overall"] == 0.875
    assert figures["ceiling"]["tone"] == figures["seen"]["tone"] == 1
    assert figures["chance"]["concept"] < 0.5
    rows = [judgement(row) for own in found.rows.values() for row in own]
    first = json.loads(json.dumps(rows[0]))
    assert first["right"] is False and first["aspects"] == {"concept": True, "tone": False}
    assert first["read"] == [10, 77]
    assert {row["split"] for row in rows} == {"held out prompts", "taught pictures", "guidance 1", "edits"}


def test_what_a_world_does_not_have_is_absent_with_the_worlds_reason(tmp_path):
    found = evaluate(tmp_path, CONFIG, FakeWorld(), maker()).metrics()
    assert {
        "text_to_image.counting": "there are none",
        "text_to_image.unseen": "nothing is kept out",
        "editing.swap": "no such edit",
        "editing.by_composition": "no such edit",
    }.items() <= found["absent"].items()
    assert not {"counting", "unseen"} & set(found["text_to_image"])
    assert not {"swap", "by_composition"} & set(found["editing"])


def test_a_group_of_edit_kinds_is_the_share_over_its_cases(tmp_path):
    changed = {"tone 0": plain(1, 1), "tone 1": plain(10, 90), "concept 0": plain(90, 20)}
    found = evaluate(tmp_path, CONFIG, FakeWorld(), maker(results=changed))
    figures = found.metrics()["editing"]
    assert figures["tone"] == pytest.approx(1 / 3) and figures["concept"] == 1
    assert figures["by_factor"] == pytest.approx(4 / 6)
    assert figures["ceiling"] == 1 and figures["copy_source"] == 0
    assert [row["right"] for row in found.rows["edits"]] == [False, False, True, True, True, True]


def test_without_known_masks_nothing_is_said_of_preservation(tmp_path):
    figures = evaluate(tmp_path, CONFIG, FakeWorld(), maker()).metrics()
    assert not {"preservation_psnr", "removal_residue"} & set(figures["editing"])
    assert "mask" in figures["absent"]["editing.preservation_psnr"]


def test_the_same_few_prompts_are_drawn_at_every_snapshot_beside_the_curve(tmp_path):
    made, snapshots = maker(), {48: ("train_generator", "step-3"), 96: ("train_generator", "step-6")}
    found = evaluate(tmp_path, CONFIG, FakeWorld(), made, snapshots=snapshots)
    assert found.metrics()["text_to_image"]["checkpoints"] == {"48": 1.0, "96": 1.0}
    assert made.used == list(snapshots.values())
    found.grids(lambda name: tmp_path / name)
    rows = Image.open(tmp_path / "convergence_pictures.png").height
    assert (tmp_path / "convergence.png").exists() and rows > 3 * 96  # two snapshots above the truth
