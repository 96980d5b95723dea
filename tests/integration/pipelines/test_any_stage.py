"""Whatever is asked for or missing, exactly the stages run that must, as the dry run said."""

from __future__ import annotations

import shutil

import pytest
from conftest import SMALL, TRAINED

pytestmark = [pytest.mark.integration, pytest.mark.slow]
DATA_STAGES = ["ingest", "measure", "curate", "synthesize_edits"]
MODEL_STAGES = [
    "index",
    "train_encoder",
    "train_semantic",
    "train_tokenizer",
    "encode_latents",
    "index_latents",
    "evaluate_tokenizer",
    "train_generator",
    "train_editor",
    "evaluate_generator",
    "register",
]
ACTIONS = ["deleted", "force", "until", "from"]


def foretold(rows: list[dict]) -> set[str]:
    """The stages that run where what is made again comes out with the same content, as all of ours does."""
    return {row["stage"] for row in rows if not row["cached"] and not row["conditional"]}


def check(pixsem, settings: list[str], stage: str, action: str) -> None:
    before = pixsem.digests()
    if action == "deleted":
        shutil.rmtree(pixsem.store / "artifacts" / stage)
    command = {
        "deleted": ["run", *settings],
        "force": ["run", *settings, "--force", stage],
        "from": ["resume", "--from", stage],
        "until": ["run", *[s for s in settings if s not in ("--until", "synthesize_edits")], "--until", stage],
    }[action]
    rows = pixsem.json(*command, "--dry-run")
    report = pixsem.json(*command)
    assert [s["name"] for s in report["stages"]] == [row["stage"] for row in rows]
    assert {s["name"] for s in report["stages"] if not s["cached"]} == foretold(rows)
    assert (stage in foretold(rows)) == (action != "until")
    assert pixsem.digests() == before
    assert foretold(pixsem.json("resume", "--dry-run")) == set()


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("stage", DATA_STAGES)
def test_of_the_data_half_the_stages_run_that_must_as_foretold(copy, stage, action):
    check(copy, SMALL, stage, action)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("stage", MODEL_STAGES)
def test_of_the_model_half_the_stages_run_that_must_as_foretold(trained, tmp_path, stage, action):
    shutil.copytree(trained.store, tmp_path / "store")
    pixsem = type(trained)(tmp_path)
    pixsem.patience = 900.0
    check(pixsem, TRAINED, stage, action)


def test_a_changed_key_runs_its_stage_and_those_after_it_as_foretold(copy):
    settings = [*SMALL, "curate.min_words=4"]
    rows = copy.json("run", *settings, "--dry-run")
    report = copy.json("run", *settings)
    assert {s["name"] for s in report["stages"] if not s["cached"]} == foretold(rows) == {"curate", "synthesize_edits"}
