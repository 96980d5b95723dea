"""A new database appears whole: whatever starts or dies while it is made."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.registry.database import STALE_SECONDS, database_path, prepare_database

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[3]
WRITE = """
import sys
from components.registry.tracking import Tracker
tracker = Tracker(sys.argv[1], sys.argv[2], "pixsem")
for number in range(20):
    run = tracker.start_run(f"{sys.argv[3]}-{number}", {}, {"a": "b"})
    tracker.finish(run, "FINISHED", None)
"""


def start(folder: Path, name: str) -> subprocess.Popen:
    command = [sys.executable, "-c", WRITE, f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"), name]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_two_drivers_may_start_on_no_database_and_both_are_recorded(tmp_path):
    drivers = [start(tmp_path, name) for name in ("a", "b")]
    for driver in drivers:
        _, errors = driver.communicate(timeout=120)
        assert driver.returncode == 0, errors
    connection = sqlite3.connect(tmp_path / "mlflow.db")
    assert connection.execute(
        "select count(*), count(distinct name) from runs where status = 'FINISHED'"
    ).fetchall() == [(40, 40)]
    assert connection.execute("select count(*) from experiments where name = 'pixsem'").fetchall() == [(1,)]
    connection.close()
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_a_process_killed_while_it_makes_the_database_leaves_none_in_place(tmp_path):
    driver = start(tmp_path, "killed")
    end = time.monotonic() + 120
    while not list(tmp_path.glob("mlflow.db.new-*")):
        assert time.monotonic() < end and driver.poll() is None, "no database was begun"
        time.sleep(0.01)
    driver.kill()
    driver.communicate()
    assert not (tmp_path / "mlflow.db").exists()
    for left in tmp_path.glob("mlflow.db.new-*"):  # as if it had lain there for long
        os.utime(left, (0, time.time() - STALE_SECONDS - 1))
    path = database_path(f"sqlite:///{tmp_path}/mlflow.db")
    assert path is not None
    prepare_database(path, str(tmp_path / "artifacts"))
    assert [left.name for left in tmp_path.iterdir()] == ["mlflow.db"]
