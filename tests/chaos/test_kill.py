"""The trials of `kill.py`: their checks see what they look for, and a few trials of the real chain find nothing."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter

import pytest

from tests.chaos.checks import (
    artifact_digests,
    lease_problems,
    missing,
    mlflow_problems,
    registry_problems,
    run_problems,
)
from tests.chaos.kill import STAGES, VICTIMS, Trials, draw_plan, summary
from tests.unit.pipelines.stages.data.test_published_layouts import omniedit

pytestmark = pytest.mark.integration


def test_plans_follow_from_the_seed_and_reach_every_stage_and_victim():
    plans = [draw_plan(0, number) for number in range(50)]
    assert plans == [draw_plan(0, number) for number in range(50)]
    assert plans != [draw_plan(1, number) for number in range(50)]
    assert {plan.removed[0] for plan in plans} == set(STAGES)
    assert set(Counter(plan.victims[0] for plan in plans)) == set(VICTIMS)


def test_the_checks_see_what_they_look_for(tmp_path):
    for name, digest in (("ingest/a", "1"), ("measure/b", "2")):
        path = tmp_path / "artifacts" / name / "manifest.json"
        path.parent.mkdir(parents=True)
        stage, fingerprint = name.split("/")
        path.write_text(json.dumps({"stage": stage, "fingerprint": fingerprint, "digest": digest, "run": "r"}))
    assert missing({"ingest/a": "1", "measure/b": "3", "curate/c": "4"}, artifact_digests(tmp_path)) == [
        "curate/c", "measure/b"
    ]  # fmt: skip
    (tmp_path / "leases").mkdir()
    (tmp_path / "leases" / "run-r.json").touch()
    assert lease_problems(tmp_path) == ["lease run-r was left"]
    (tmp_path / "runs" / "r").mkdir(parents=True)
    stages = {"ingest": {"state": "running", "mlflow_run": "2", "fingerprint": "a"}}
    (tmp_path / "runs" / "r" / "run.json").write_text(json.dumps({"state": "completed", "stages": stages}))
    assert "stage ingest is running" in run_problems(tmp_path, "r")
    weights = tmp_path / "weights"
    weights.mkdir()
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("create table runs (run_uuid, name, status)")
        database.executemany("insert into runs values (?, ?, ?)", [("1", "r", "KILLED"), ("2", "ingest", "RUNNING")])
        database.execute("create table latest_metrics (run_uuid)")
        database.execute("create table model_versions (name, version, status, source)")
        database.execute("insert into model_versions values ('m', 1, 'READY', ?)", (str(weights),))
        database.execute("create table model_version_tags (name, version, key, value)")
        database.execute("insert into model_version_tags values ('m', 1, 'pixsem.digest', 'd')")
        database.execute("create table registered_model_aliases (name, version)")
    database.close()
    found = "; ".join(mlflow_problems(tmp_path, "r"))
    for words in ("shows ingest as RUNNING", "run as ['KILLED']", "stage ingest as ('RUNNING',)", "no figures"):
        assert words in found
    found = "; ".join(registry_problems(tmp_path, {"d", "e"}))
    for words in (
        "its weights at",
        "neither given an alias nor refused",
        "no evaluation",
        "where ['d', 'e'] were made",
    ):
        assert words in found
    (weights / "model.safetensors").touch()
    assert "its weights at" not in "; ".join(registry_problems(tmp_path, {"d"}))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_killed_at_random_moments_the_chain_ends_as_if_nothing_had_happened(tmp_path):
    trials = Trials(tmp_path, patience=900.0)
    rows = [trials.run(draw_plan(seed=5, number=number)) for number in range(5)]
    found = summary(rows)
    assert found["killed"], found
    assert not (found["lost"] or found["mismatches"] or found["problems"]), json.dumps(found, indent=1)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_killed_among_pairs_and_scores_the_data_half_ends_as_if_nothing_had_happened(tmp_path):
    """Of two sources, one of given pairs, and with a model that is trained and judges pictures."""
    (tmp_path / "set").mkdir()
    chain = (
        "preset=tiny", "signals=[matcher]", "source@sources.drawn=scenes_tiny", "sources.drawn.count=80",
        "sources.drawn.samples_per_shard=20", "source@sources.given=omniedit",
        f"sources.given.path={omniedit(tmp_path / 'set')}", "--until", "index",
    )  # fmt: skip
    stages = (
        "ingest@given", "measure_pairs@given", "train_matcher", "score@drawn.matcher", "synthesize_edits",
        "measure_pairs", "curate_pairs",
    )  # fmt: skip
    trials = Trials(tmp_path, patience=900.0, chain=chain)
    found = summary([trials.run(draw_plan(11, number, stages)) for number in range(10)])
    assert found["killed"], found
    assert not (found["lost"] or found["mismatches"] or found["problems"]), json.dumps(found, indent=1)
