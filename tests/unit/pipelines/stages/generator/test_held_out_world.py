"""A source whose pictures nothing reads back: a run still leaves prompts, edits and convergence to look at."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from components.curation.images import square
from pipelines.config.compose import compose_config
from pipelines.config.declared import declared
from pipelines.stage import ShardContext, ShardTask
from pipelines.stages.generator import evaluate_generator, sample_sets
from pipelines.stages.generator.held_out_world import HeldOutWorld
from pipelines.stages.generator.judged_world import find_world
from pipelines.store.artifacts import FileEntry, Manifest
from pipelines.workflow.graph import build_workflow
from tests.unit.pipelines.stages.generator.fake_world import Prepared
from tests.unit.pipelines.stages.tokenizer import test_picture_batches as shards

pytestmark = pytest.mark.unit
CONFIG = compose_config(["preset=tiny", "source=folder", "source.path=photos", "evaluate_generator.prompts=3"])
indexed = shards.indexed  # a fixture: 20 samples in one shard, every other one edited


class Grey(Prepared):
    """Makes a grey picture of any text."""

    def __call__(self, name, prompts, sources=None, guidance=None):
        return np.full((len(prompts), 32, 32, 3), 128, np.uint8)


def context(indexed, folder, args=None) -> ShardContext:
    return ShardContext(ShardTask("evaluation", args or {}), 0, folder, indexed[0], folder)


def test_prompts_are_held_out_captions_and_edits_held_out_pairs_with_their_true_pictures(indexed, tmp_path):
    world, again = (HeldOutWorld(context(indexed, tmp_path), CONFIG, {"index": indexed[1]}, n) for n in (0, 1))
    rows = world._pictures.rows
    asked = world.prompts("captions", 2)
    assert asked == again.prompts("captions", 2)
    for a in asked:
        number = int(a.text.removeprefix("caption "))
        assert f"k{number:03d}" in rows["group"]
        assert np.array_equal(world.picture(a), square(shards.picture(number), 32))
    assert len(world.prompts("captions", 100)) == rows["role"].count("picture")
    (first, *_) = cases = world.edits("edits", 100)
    assert len(cases) == rows["role"].count("target") and first.instruction == "do it" and first.mask is None
    number = int(first.row["source"].removeprefix("edits/k")[:3])
    assert np.array_equal(first.source, square(shards.picture(number), 32))
    assert np.array_equal(first.target, square(shards.picture(100 + number), 32))


def test_an_evaluation_of_a_folder_leaves_pictures_edits_convergence_and_rows_without_verdicts(
    indexed, tmp_path, monkeypatch
):
    monkeypatch.setattr(sample_sets, "Maker", lambda *_: Grey({}))
    monkeypatch.setattr(sample_sets, "generated_distances", lambda *_: {"retrieval": 0.5})
    (stage,) = [s for s in build_workflow() if s.name == "evaluate_generator"]
    files = [FileEntry(f"snapshots/step-{n:08d}/model.safetensors", 0, "") for n in (3, 6)]
    training = {"batch": 16, "steps": 6}
    manifests = {
        name: Manifest(
            name, "1", "f", "", {}, {}, {"generator.training": training, "generator.editing": training}, files, {}, {},
            {}, "", "", 0.0,
        ).to_json()
        for name in evaluate_generator.INPUTS
    } | {"index": indexed[1].manifest.to_json()}  # fmt: skip
    sent = SimpleNamespace(open=lambda: declared(CONFIG, stage.name, stage.config))
    out = tmp_path / "out"
    args = {"config": sent, "manifests": manifests, "run": "r"}
    made = evaluate_generator.evaluate(context(indexed, out, args))
    assert find_world(CONFIG) is HeldOutWorld
    sizes = {name: Image.open(out / f"{name}.png").size for name in ("generated", "edits", "convergence")}
    assert sizes["convergence"][1] > 5 * 96  # four snapshots above the truth
    rows = [json.loads(line) for line in (out / "judgements.jsonl").read_text().splitlines()]
    assert {row["right"] for row in rows} == {None} and all(row["prompt"] and row["truth"] for row in rows)
    splits = [row["split"] for row in rows]
    assert splits.count("held out prompts") == 3 and splits.count("edits") == 2
    assert splits.count("checkpoint at 192 samples") == 1
    assert made.metrics["text_to_image"] == {"retrieval": 0.5} and made.metrics["editing"] == {}
    assert set(made.metrics["absent"]) == {"text_to_image.overall", "text_to_image.checkpoints", "editing.success"}
