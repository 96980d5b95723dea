"""The generator's half of the pipeline, on real workers at the smallest size: trained, judged, registered, used."""

from __future__ import annotations

import hashlib
import io
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import TRAINED, Pixsem, artifact, kill, processes, wait_for
from PIL import Image

import pixsem
from pipelines.config.compose import compose_config, flatten
from pipelines.tracking.figures import figure_name, generator_figures

pytestmark = pytest.mark.integration


def test_the_report_names_every_figure_beside_its_chance_and_ceiling(trained):
    value = trained.json("report")
    metrics = value["metrics"]
    categories = {"single_object", "two_objects", "counting", "colours", "position", "attribute_binding", "overall"}
    figures = metrics["text_to_image"]
    assert categories <= set(figures) and categories <= set(figures["chance"]) and categories <= set(figures["ceiling"])
    assert categories <= set(figures["unseen"])
    assert {"frechet_trained_encoder", "frechet_trained_encoder_of_reconstructions", "seconds_per_image"} <= set(
        figures
    )
    # Samples seen: 6 steps of 16 for text-to-image, then 6 with edits.
    assert list(figures["checkpoints"]) == ["48", "96", "144", "192"]
    editing = metrics["editing"]
    assert {"success", "copy_source", "chance", "ceiling", "preservation_psnr", "recolour", "removal_residue"} <= set(
        editing
    )
    assert editing["copy_source"] == 0 and 0 <= editing["success"] <= 1
    assert {row["name"] for row in value["stages"]} >= {
        "train_generator",
        "train_editor",
        "evaluate_generator",
        "register",
    }
    judged = (artifact(trained, "evaluate_generator") / "judgements.jsonl").read_text().splitlines()
    right = [row["right"] for row in map(json.loads, judged) if row["split"] == "edits"]
    assert len(right) == 10 and sum(right) / 10 == pytest.approx(editing["success"])


def test_figures_of_any_data_stand_beside_those_of_the_reader_with_intervals_protocol_and_reasons(trained):
    metrics = trained.json("report")["metrics"]
    images, editing = metrics["text_to_image"], metrics["editing"]
    names = {f"{name}_trained_encoder" for name in ("similarity", "kernel", "coverage", "instance_retrieval")}
    assert all(names <= group.keys() for group in (images, images["chance"], images["ceiling"]))
    names = {"psnr", "ssim", "nearer_target_trained_encoder", "direction_trained_encoder"}
    groups = [editing, *(editing[name] for name in ("of_source", "of_reconstructions", "of_others"))]
    assert all(names <= group.keys() for group in (*groups, *editing["by_kind"].values()))
    assert editing["of_source"]["direction_trained_encoder"] == 0
    low, high = metrics["intervals"]["text_to_image.similarity_trained_encoder"]
    assert low <= images["similarity_trained_encoder"] <= high
    assert set(metrics["protocol"]["text_to_image"]["judges"]) == {"inspector", "trained_encoder"}
    assert "lpips_weights" in metrics["absent"]["editing.lpips"]
    known = generator_figures(compose_config(TRAINED))
    measured = flatten({group: metrics[group] for group in ("text_to_image", "editing")})
    assert {name for name in measured if figure_name(name) not in known} == set()


def test_an_evaluation_keeps_a_row_of_every_picture_with_the_picture_and_what_each_judge_said(trained):
    paths = sorted((artifact(trained, "evaluate_generator") / "pictures").glob("*.parquet"))
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    assert {row["split"] for row in rows} >= {"held out prompts", "held out captions", "edits", "guidance 1"}
    edits = [row for row in rows if row["kind"] == "edit"]
    assert len(edits) == 10 and all(row["source"] and row["truth"] for row in edits)
    sides = {Image.open(io.BytesIO(row["picture"])).size for row in rows}
    assert sides == {(32, 32)}
    said = [json.loads(row["rows"]) for row in edits]
    assert all({"inspector", "reference"} <= row.keys() and row["reference"]["psnr"] > 0 for row in said)


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_with_the_shards_that_lack_and_ends_in_the_same_bytes(trained, tmp_path):
    stores = []
    for name in ("whole", "killed"):
        shutil.copytree(trained.store, tmp_path / name / "store")
        stores.append(Pixsem(tmp_path / name))
    whole, killed = stores
    args = ("run", *TRAINED, "evaluate_generator.prompts=3", "--until", "evaluate_generator")
    whole(*args)
    two = (*args, "execution.resources.evaluate_generator.actors=2")
    driver = killed.start(*two)

    def made():
        return list(killed.store.glob("work/evaluate_generator/*/records/*.json"))

    wait_for(lambda: len(made()) >= 2, 240)
    kill([driver.pid, *processes(str(killed.folder))])
    driver.communicate()
    before = {path.name for path in made()}
    assert before and "figures.json" not in before
    killed(*two)
    assert killed.digests() == whole.digests()


def test_training_logs_validation_losses_against_samples_seen_and_keeps_snapshots(trained):
    for stage, losses in (
        ("train_generator", {"validation_loss"}),
        ("train_editor", {"validation_loss", "validation_loss_edits"}),
    ):
        folder = artifact(trained, stage)
        rows = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
        seen = {row["step"]: {key for key in row if key.startswith("validation")} for row in rows}
        assert seen[3] == seen[6] == losses
        assert [row["samples"] for row in rows] == [row["step"] * 16 for row in rows]
        assert sorted(p.name for p in folder.glob("snapshots/*")) == ["step-00000003", "step-00000006"]
        assert len(list(folder.glob("samples/*.png"))) == 2


def test_versions_are_registered_once_with_their_gates_verdicts(trained):
    models = {row["name"]: row for row in trained.json("models")}
    told = {row["name"]: row for row in trained.json("report")["models"]}
    assert set(models) == set(told) == {"pixsem-tokenizer", "pixsem-generator"}
    generator = models["pixsem-generator"]
    assert generator["tokenizer_version"] == models["pixsem-tokenizer"]["version"] == "1"
    assert "text_to_image.overall is" in generator["refused"] and "below the limit 0.3" in generator["refused"]
    assert told["pixsem-generator"]["refused"] == generator["refused"] and generator["aliases"] == []
    asked = trained("generate", "a red circle", code=2)
    assert "no version of pixsem-generator is its champion yet" in asked.stderr


def test_lineage_leads_from_a_version_to_the_hashes_of_its_input_shards(trained):
    found = trained.json("lineage", "models:/pixsem-generator/1")
    assert next(row["stage"] for row in found["stages"]) == "register"
    assert {"ingest", "curate", "train_encoder", "train_tokenizer", "encode_latents", "train_generator"} <= {
        row["stage"] for row in found["stages"]
    }
    assert not any(row["missing"] for row in found["stages"])
    shards = sorted(artifact(trained, "ingest").glob("shards/*.tar"))
    assert {row["sha256"] for row in found["shards"]} == {hashlib.sha256(p.read_bytes()).hexdigest() for p in shards}
    assert found["tags"]["tokenizer_version"] == "1"


def test_a_refused_version_is_promoted_only_by_force_and_makes_pictures_like_its_folder(trained, tmp_path):
    refused = trained("promote", "models:/pixsem-generator/1", code=2)
    assert "was refused by its gates" in refused.stderr and "--force" in refused.stderr
    trained("promote", "models:/pixsem-generator/1", "--force")
    folder = artifact(trained, "register") / "pipeline"
    paths = {name: tmp_path / f"{name}.png" for name in ("registry", "folder", "edited", "again")}
    trained("generate", "a red circle on a white background", "--seed", "3", "--out", str(paths["registry"]))
    trained(
        "generate",
        "a red circle on a white background",
        "--seed",
        "3",
        "--model",
        str(folder),
        "--out",
        str(paths["folder"]),
    )
    with Image.open(paths["registry"]) as one, Image.open(paths["folder"]) as other:
        assert np.array_equal(np.asarray(one), np.asarray(other))
        assert (one.text["model"], other.text["model"]) == ("pixsem-generator/1", "pipeline")
    trained("edit", str(paths["folder"]), "make the circle blue", "--model", str(folder), "--out", str(paths["edited"]))
    assert Image.open(paths["edited"]).size == (32, 32)
    assert not np.array_equal(np.asarray(Image.open(paths["edited"])), np.asarray(Image.open(paths["folder"])))
    assert "nothing to roll back to" in trained("rollback", "pixsem-generator", code=2).stderr


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("generate", "a", "--model", "here"), "neither a folder nor models:/"),
        (("generate", "a", "--model", "models:/pixsem-generater@champion"), "did you mean pixsem-generator?"),
        (("generate", "a", "--model", "."), "holds no pipeline"),
        (("edit", "nothing.png", "a"), "there is no picture at nothing.png"),
        (("lineage", "models:/pixsem-generator/7"), "has no version 7"),
    ],
)
def test_mistakes_with_models_are_answered_in_one_message(trained, command, words):
    done = trained(*command, code=2)
    assert words in done.stderr and "Traceback" not in done.stderr


def test_a_second_run_is_cached_whole_and_guidance_changes_only_what_depends_on_it(trained):
    assert all(row["cached"] for row in trained.json("run", *TRAINED, "--dry-run"))
    for change in ("generator.guidance_scale=1.5", "generator.guidance_above=0.6"):
        rows = trained.json("run", *TRAINED, change, "--dry-run")
        assert [row["stage"] for row in rows if not row["cached"]] == ["evaluate_generator", "register"]


def test_a_run_from_python_tells_what_the_report_says(trained, tmp_path):
    shutil.copytree(trained.store, tmp_path / "store")
    done = pixsem.run(*TRAINED, "evaluate_tokenizer.probe_steps=3", f"store={tmp_path / 'store'}", quiet=True)
    assert done.state == "completed" and done.metrics["tokenizer"]["psnr"] > 0
    assert {stage["name"] for stage in done.stages} >= {"ingest", "train_editor", "register"}
    made = {stage["name"] for stage in done.stages if not stage["cached"]}
    assert "evaluate_tokenizer" in made and not made & {"ingest", "train_tokenizer", "train_editor"}
