"""MLflow: runs are nested and end as what they were, secrets stay out, errors are sentences."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from components.registry.database import database_path
from components.registry.registry_trial import try_tracking
from components.registry.tracking import MAX_PARAM, Tracker, TrackingError, default_tracking_uri
from pipelines.store.files import Store
from pipelines.tracking.run_log import artifact_root

pytestmark = pytest.mark.unit
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def database(empty_mlflow, tmp_path) -> Path:
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
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


def test_numbers_of_numpy_are_numbers_and_truth_values_are_not(tracker, database):
    run = tracker.start_run("r", {}, {})
    tracker.log_metrics(run, {"f": np.float32(0.5), "i": np.int64(3), "b": np.bool_(True), "t": True})
    assert query(database, "select key, value from metrics order by key") == [("f", 0.5), ("i", 3.0)]


def test_more_metrics_than_one_request_takes_are_all_kept(tracker, database):
    tracker.log_metrics(tracker.start_run("r", {}, {}), {f"m{i}": i for i in range(1001)})
    assert query(database, "select count(*) from metrics") == [(1001,)]


def test_nested_parameters_become_dotted(tracker, database):
    tracker.start_run("r", {}, {"curate": {"min": 3, "languages": ("en", "de")}})
    assert query(database, "select key, value from params order by key") == [
        ("curate.languages", "('en', 'de')"),
        ("curate.min", "3"),
    ]


def test_the_newest_run_with_a_tag_is_found(tracker):
    tracker.start_run("old", {"pixsem.run": "a"}, {}, start_ms=1_000)
    new = tracker.start_run("new", {"pixsem.run": "a"}, {}, start_ms=2_000)
    tracker.start_run("other", {"pixsem.run": "b"}, {})
    assert tracker.find_run("pixsem.run", "a") == new
    assert tracker.find_run("pixsem.run", "c") is None
    with pytest.raises(ValueError, match="apostrophe"):
        tracker.find_run("pixsem.run", "a' or 'b")


def test_the_newest_run_with_several_tags_is_found(tracker):
    made = tracker.start_run("made it", {"f": "1", "cached": "false"}, {}, start_ms=1_000)
    tracker.start_run("took it", {"f": "1", "cached": "true"}, {}, start_ms=2_000)
    assert tracker.find_run("f", "1", {"cached": "false"}) == made
    assert tracker.find_run("f", "1", {"cached": "maybe"}) is None


def test_the_experiment_says_that_it_trains_models_also_where_an_older_pixsem_made_it(tracker, database, tmp_path):
    asked = "select value from experiment_tags where key = 'mlflow.experimentKind'"
    assert query(database, asked) == [("custom_model_development",)]
    with sqlite3.connect(database) as connection:
        connection.execute("delete from experiment_tags")
    Tracker(tracker.uri, str(tmp_path / "artifacts"), "pixsem")
    assert query(database, asked) == [("custom_model_development",)]


def test_a_note_is_cut_where_the_smallest_server_cuts(tracker, database):
    tracker.note(tracker.start_run("r", {}, {}), "x" * 9000)
    assert query(database, "select length(value) from tags where key = 'mlflow.note.content'") == [(5000,)]


def test_a_resumed_run_no_longer_shows_the_error_it_failed_with(tracker, database):
    run = tracker.start_run("r", {}, {})
    tracker.finish(run, "FAILED", "disk full")
    tracker.resume(run)
    assert query(database, "select status from runs") == [("RUNNING",)]
    tracker.finish(run, "FINISHED", None)
    assert query(database, "select count(*) from tags where key = 'pixsem.error'") == [(0,)]


def test_open_runs_are_found_by_tag_and_finished_ones_left_out(tracker):
    dead = tracker.start_run("dead", {"pixsem.run": "r"}, {})
    tracker.start_run("another", {"pixsem.run": "other"}, {})
    done = tracker.start_run("done", {"pixsem.run": "r"}, {})
    tracker.finish(done, "FINISHED", None)
    assert tracker.is_finished(done)
    assert not tracker.is_finished(dead)
    found = tracker.open_runs("pixsem.run", "r")
    assert {run: tags["pixsem.run"] for run, tags in found.items()} == {dead: "r"}


def test_a_logged_model_whose_maker_was_killed_before_its_files_were_whole_is_not_found(tracker, tmp_path):
    run = tracker.start_run("r", {}, {})
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model.safetensors").write_bytes(b"w")

    def killed() -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tracker.client, "log_model_artifacts", lambda *_: killed())
        tracker.log_model(run, "m", {"pixsem.digest": "d"}, tmp_path / "weights")
    assert tracker.find_model("pixsem.digest", "d") is None
    whole = tracker.log_model(run, "m", {"pixsem.digest": "d"}, tmp_path / "weights")
    assert tracker.find_model("pixsem.digest", "d") == whole


def test_what_the_trial_writes_is_deleted_again(tracker):
    assert "registered and found its version" in try_tracking(tracker)
    assert list(tracker.client.search_registered_models()) == []
    assert tracker.open_runs("pixsem.doctor", "true") == {}
    assert tracker.find_run("pixsem.doctor", "true") is None


def test_a_run_written_down_afterwards_keeps_its_own_times(tracker, database):
    run = tracker.start_run("r", {}, {}, start_ms=1_000)
    tracker.finish(run, "FINISHED", None, end_ms=2_000)
    assert query(database, "select start_time, end_time from runs") == [(1_000, 2_000)]


def test_a_damaged_database_is_named_without_a_traceback(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 500)
    with pytest.raises(TrackingError, match="no readable database"):
        Tracker(f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path), "pixsem")


def test_the_database_of_a_newer_mlflow_is_named_with_what_to_do(database):
    with sqlite3.connect(database) as connection:
        connection.execute("update alembic_version set version_num = 'ffffffffffff'")
    connection.close()
    with pytest.raises(TrackingError, match=r"another MLflow version.*mlflow db upgrade"):
        Tracker(f"sqlite:///{database}", str(database.parent), "pixsem")


def test_a_folder_in_the_databases_place_is_refused(tmp_path):
    with pytest.raises(TrackingError, match="cannot be opened for writing"):
        Tracker(f"sqlite:///{tmp_path}", str(tmp_path), "pixsem")


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        with pytest.raises(TrackingError, match="does not answer") as caught:
            Tracker(f"http://user:secret@127.0.0.1:{silent.getsockname()[1]}", str(tmp_path), "pixsem")
    assert "secret" not in str(caught.value)


def test_a_lock_between_two_requests_makes_no_second_run(tracker, database, monkeypatch):
    """The parameters meet a locked database once; the run that they belong to was already made."""
    batch, failed = tracker._client.log_batch, []

    def locked_once(*args, **kwargs):
        if not failed:
            failed.append(True)
            raise sqlite3.OperationalError("database is locked")
        return batch(*args, **kwargs)

    monkeypatch.setattr(tracker._client, "log_batch", locked_once)
    run = tracker.start_run("r", {}, {"a": "b"})
    assert failed
    assert query(database, "select run_uuid from runs") == [(run,)]
    assert query(database, "select run_uuid, key from params") == [(run, "a")]


def test_a_write_waits_while_another_process_holds_the_database(tracker, database):
    holder = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    holder.execute("begin immediate")
    release = threading.Timer(1.0, lambda: holder.execute("rollback"))
    release.start()
    run = tracker.start_run("r", {}, {"a": "b"})
    release.join()
    holder.close()
    assert query(database, "select run_uuid from runs") == [(run,)]


def test_a_remote_store_asks_for_a_server_and_the_environment_is_heeded(tmp_path):
    with pytest.raises(ValueError, match="MLFLOW_TRACKING_URI"):
        default_tracking_uri("s3://bucket/x", {})
    assert default_tracking_uri("s3://bucket/x", {"MLFLOW_TRACKING_URI": "http://host:5000"}) == "http://host:5000"
    assert default_tracking_uri(str(tmp_path), {}) == f"sqlite:///{tmp_path}/mlflow.db"


NO_NETWORK = """
import sys, threading
reached = []
def refuse(name, args):
    if name in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        reached.append((name, str(args)))
        raise OSError("no network in this test")
sys.addaudithook(refuse)
from components.registry.tracking import Tracker
assert "mlflow" not in sys.modules, "loaded before it was needed"
tracker = Tracker(sys.argv[1], sys.argv[2], "pixsem")
tracker.finish(tracker.start_run("r", {}, {}), "FINISHED", None)
assert "torch" not in sys.modules and "mlflow" in sys.modules
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join(5)
assert reached == [], reached
"""


def test_writing_runs_loads_no_torch_and_reaches_for_no_network(database):
    # MLflow is quiet by itself where it sees a test or a CI service: neither is visible here.
    bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = [sys.executable, "-c", NO_NETWORK, f"sqlite:///{database}", str(database.parent)]
    done = subprocess.run(command, cwd=ROOT, env=bare, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_a_process_killed_in_mid_write_leaves_a_readable_database(database):
    code = (
        "from components.registry.tracking import Tracker\n"
        f"t = Tracker('sqlite:///{database}', '{database.parent}', 'pixsem')\n"
        "while True: print('go', t.start_run('r', {}, {'a': 'b'}), flush=True)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline().startswith("go ")
    time.sleep(0.5)
    child.kill()
    child.wait()
    assert query(database, "pragma integrity_check") == [("ok",)]
    assert query(database, "select count(*) from runs")[0][0] > 0


@pytest.mark.parametrize("name", ["what?x", "100%41", "a#b é 'q' (1)"])
def test_a_store_with_any_name_keeps_its_database_and_files_inside(empty_mlflow, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(empty_mlflow, folder / "mlflow.db")
    (tmp_path / "x.txt").write_text("x")
    store = Store(str(folder))
    uri = default_tracking_uri(str(folder), {})
    assert database_path(uri) == folder / "mlflow.db"
    tracker = Tracker(uri, artifact_root(store), "new here")
    tracker.log_artifact(tracker.start_run("r", {}, {}), str(tmp_path / "x.txt"), "")
    assert query(folder / "mlflow.db", "select name from runs") == [("r",)]
    assert list((folder / "mlartifacts").rglob("x.txt"))
    assert {path.name for path in tmp_path.iterdir()} == {name, "x.txt"}
