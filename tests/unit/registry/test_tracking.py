"""MLflow: runs are nested and end as what they were, secrets stay out, errors are sentences."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from components.registry.tracking import MAX_PARAM, Tracker, TrackingError, default_tracking_uri

pytestmark = pytest.mark.unit
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    """An empty database: making one takes seconds, so it is made once."""
    folder = tmp_path_factory.mktemp("mlflow")
    Tracker(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"), "pixsem")
    return folder / "mlflow.db"


@pytest.fixture
def database(template, tmp_path) -> Path:
    shutil.copy(template, tmp_path / "mlflow.db")
    return tmp_path / "mlflow.db"


@pytest.fixture
def tracker(database, tmp_path) -> Tracker:
    return Tracker(f"sqlite:///{database}", str(tmp_path / "artifacts"), "pixsem")


def query(database: Path, sql: str, *values) -> list:
    return sqlite3.connect(database).execute(sql, values).fetchall()


def test_a_stage_is_nested_in_its_run_and_both_end_as_told(tracker, database):
    run = tracker.start_run("r", {"pixsem.run": "r"}, {"seed": "0"})
    stage = tracker.start_stage(run, "measure", {"pixsem.fingerprint": "f"}, {})
    tracker.finish(stage, "FAILED", "shard 3: disk full")
    tracker.finish(run, "FINISHED", None)
    assert query(database, "select value from tags where run_uuid = ? and key = 'mlflow.parentRunId'", stage) == [
        (run,)
    ]
    assert dict(query(database, "select run_uuid, status from runs")) == {stage: "FAILED", run: "FINISHED"}
    assert query(database, "select value from tags where key = 'pixsem.error'") == [("shard 3: disk full",)]


def test_many_and_long_parameters_are_kept_and_cut_where_mlflow_ends(tracker, database):
    run = tracker.start_run("r", {}, {f"k{i}": "v" for i in range(250)} | {"long": "x" * 9000})
    assert query(database, "select count(*) from params where run_uuid = ?", run) == [(251,)]
    ((value,),) = query(database, "select value from params where key = 'long'")
    assert len(value) == MAX_PARAM
    assert value.endswith("…")


def test_data_sets_carry_the_manifests_digest(tracker, database):
    run = tracker.start_run("r", {}, {})
    tracker.log_dataset(run, "ingest", "d" * 64, "/store/artifacts/ingest/f", "input", {"kept": 3})
    ((digest, profile),) = query(database, "select digest, dataset_profile from datasets")
    assert digest == "d" * 36
    assert "d" * 64 in profile


def test_nested_numbers_become_dotted_metrics_and_words_none(tracker, database):
    run = tracker.start_run("r", {}, {})
    tracker.log_metrics(run, {"curation": {"kept": 3, "spam": {"recall": 0.5}}, "absent": {"x": "needs a model"}})
    assert query(database, "select key, value from metrics order by key") == [
        ("curation.kept", 3.0),
        ("curation.spam.recall", 0.5),
    ]


def test_dead_runs_are_closed_and_finished_ones_left(tracker, database):
    dead, done = tracker.start_run("dead", {}, {}), tracker.start_run("done", {}, {})
    tracker.finish(done, "FINISHED", None)
    tracker.close_dead([dead, done])
    assert dict(query(database, "select name, status from runs")) == {"dead": "KILLED", "done": "FINISHED"}


def test_a_run_written_down_afterwards_keeps_its_own_times(tracker, database):
    run = tracker.start_run("r", {}, {}, start_ms=1_000)
    tracker.finish(run, "FINISHED", None, end_ms=2_000)
    assert query(database, "select start_time, end_time from runs") == [(1_000, 2_000)]


def test_a_damaged_database_is_named_without_a_traceback(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 500)
    with pytest.raises(TrackingError, match="no readable database"):
        Tracker(f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path), "pixsem")


def test_a_remote_store_asks_for_a_server_and_the_environment_is_heeded(tmp_path):
    with pytest.raises(ValueError, match="MLFLOW_TRACKING_URI"):
        default_tracking_uri("s3://bucket/x", {})
    assert default_tracking_uri("s3://bucket/x", {"MLFLOW_TRACKING_URI": "http://host:5000"}) == "http://host:5000"
    assert default_tracking_uri(str(tmp_path), {}) == f"sqlite:///{tmp_path}/mlflow.db"


def test_writing_runs_loads_no_torch(database):
    code = (
        "import sys; from components.registry.tracking import Tracker\n"
        f"t = Tracker('sqlite:///{database}', '{database.parent}', 'pixsem'); t.finish(t.start_run('r', {{}}, {{}}), 'FINISHED', None)\n"
        "assert 'torch' not in sys.modules and 'mlflow' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_a_process_killed_in_mid_write_leaves_a_readable_database(database):
    code = (
        "from components.registry.tracking import Tracker\n"
        f"t = Tracker('sqlite:///{database}', '{database.parent}', 'pixsem'); print('go', flush=True)\n"
        "while True: t.start_run('r', {}, {'a': 'b'})"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "go\n"
    import time

    time.sleep(0.5)
    child.kill()
    child.wait()
    assert query(database, "pragma integrity_check") == [("ok",)]
    assert query(database, "select count(*) from runs")[0][0] > 0
