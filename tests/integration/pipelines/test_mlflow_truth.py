"""MLflow tells the truth about runs whose driver was killed at any moment, and a killed judgement is made again."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
from contextlib import closing

import pytest

from components.registry.gates import Gate
from components.registry.tracking import Tracker
from pipelines.config.compose import compose_config, to_yaml
from pipelines.store.artifacts import Artifact, Manifest
from pipelines.store.files import Store
from pipelines.store.runs import Run, StageState, new_run, save_run
from pipelines.tracking.registering import Registrar
from pipelines.tracking.run_log import RunLog, settle_runs

pytestmark = pytest.mark.integration
CONFIG = compose_config(["preset=tiny"])


@pytest.fixture
def store(tmp_path) -> Store:
    made = Store(str(tmp_path / "store"))
    made.prepare()
    return made


@pytest.fixture
def tracker(empty_mlflow, store) -> Tracker:
    shutil.copy(empty_mlflow, store.local("mlflow.db"))
    return Tracker(f"sqlite:///{store.local('mlflow.db')}", str(store.local("mlartifacts")), "pixsem")


def begun(store: Store, state: str = "running") -> Run:
    """A run with one running stage; nobody holds its lease."""
    run = new_run(store, "tiny", to_yaml(CONFIG), None, [])
    run.state = state
    run.stages = {"ingest": StageState(state="running", fingerprint="f")}
    return run


def states(store: Store) -> dict[str, str]:
    with closing(sqlite3.connect(store.local("mlflow.db"))) as database:
        return dict(database.execute("select name, status from runs"))


@pytest.mark.parametrize("recorded", [True, False])
def test_runs_of_a_killed_driver_are_closed_even_where_it_had_not_written_their_ids_down(store, tracker, recorded):
    run = begun(store)
    save_run(store, run)
    RunLog(tracker, store, CONFIG, run).stage_changed(run, "ingest", None)
    if recorded:
        save_run(store, run)
    elsewhere = tracker.start_run("elsewhere", {"pixsem.run": run.id, "pixsem.store": "/another/store"}, {})
    settle_runs(store, tracker, None)
    found = states(store)
    assert found["ingest"] == "KILLED"
    assert found[run.id] == "KILLED"
    assert found["elsewhere"] == "RUNNING"
    assert tracker.open_runs("pixsem.run", run.id).keys() == {elsewhere}


def test_a_run_killed_after_its_end_was_written_and_before_mlflow_heard_of_it_ends_as_what_it_was(store, tracker):
    run = begun(store, "completed")
    log = RunLog(tracker, store, CONFIG, run)
    log.stage_changed(run, "ingest", None)
    run.stages["ingest"].state = "done"
    save_run(store, run)
    settle_runs(store, tracker, None)
    assert states(store) == {run.id: "FINISHED", "ingest": "FINISHED"}


def test_the_figures_of_a_stage_whose_driver_was_killed_after_the_commit_are_told_by_the_resumed_run(store, tracker):
    run = begun(store)
    log = RunLog(tracker, store, CONFIG, run)
    log.stage_changed(run, "ingest", None)
    manifest = Manifest("ingest", "1", "f", "d" * 64, {}, {}, {}, [], {"kept": 7}, {}, {}, run.id, "2026", 1.0)
    settle_runs(store, tracker, None)
    run.stages["ingest"] = dataclasses.replace(run.stages["ingest"], state="done", cached=True)
    for _ in range(2):  # a second time there is nothing to add
        log.stage_changed(run, "ingest", Artifact(store, manifest))
    with closing(sqlite3.connect(store.local("mlflow.db"))) as database:
        told = database.execute("select key, value from metrics where run_uuid = ?", (run.stages["ingest"].mlflow_run,))
        assert told.fetchall() == [("counts.kept", 7.0)]
    assert states(store)["ingest"] == "FINISHED"


def test_a_version_whose_maker_was_killed_before_it_was_judged_is_judged_by_the_next(store, tracker, monkeypatch):
    registrar = Registrar(tracker, store)
    run = tracker.start_run("r", {}, {})
    weights = store.local("weights")
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(b"w")
    logged = tracker.log_model(run, "m", {"pixsem.digest": "d"}, weights)
    inputs = {"index": {"fingerprint": "i", "digest": "x"}}
    judged = Manifest("evaluate_generator", "1", "f", "e", inputs, {}, {}, [], {}, {"score": 1.0}, {}, "r", "2026", 1.0)
    gates = (Gate(metric="score", limit=0.5, max_drop=None, higher_is_better=True),)

    def version() -> dict:
        return registrar._version("m", logged, run, {"pixsem.digest": "d"}, judged, gates, "champion")[1]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(registrar.registry, "settle", killed)
        version()
    assert registrar.registry.champion("m") is None
    assert version()["aliases"] == ["champion"]
    assert [v.version for v in registrar.registry.versions("m")] == ["1"]
