"""Scheduling: independent stages run at the same time, and one's failure stops only what depends on it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = pytest.mark.integration


def run_toy(fresh, second: str) -> dict:
    environment = {**fresh.environment, "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}"}
    code = f"import toy_stages; toy_stages.main({second!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=fresh.folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def times(fresh, stage: str) -> list[float]:
    return [float(v) for v in next(fresh.store.glob(f"artifacts/{stage}/*/times.txt")).read_text().split()]


@pytest.mark.slow
def test_independent_stages_run_at_the_same_time(fresh):
    report = run_toy(fresh, "slow")
    assert [s["state"] for s in report["stages"]] == ["done"] * 4
    first, second = times(fresh, "ingest"), times(fresh, "measure")
    assert max(first[0], second[0]) < min(first[1], second[1])
    assert times(fresh, "curate")[0] > first[1]


def test_a_failed_stage_stops_only_what_depends_on_it_and_names_its_shard_and_log(fresh):
    report = run_toy(fresh, "failing")
    stages = {s["name"]: s for s in report["stages"]}
    assert {n: s["state"] for n, s in stages.items()} == {
        "ingest": "done", "measure": "failed", "curate": "done", "synthesize_edits": "skipped"
    }  # fmt: skip
    assert "shard bad" in stages["measure"]["error"]
    assert "mend it" in stages["measure"]["error"]
    assert "the bad shard is bad" in Path(stages["measure"]["log"]).read_text()
    # The good shard is kept for the next attempt.
    assert list(fresh.store.glob("work/measure/*/records/good.json"))


@pytest.mark.slow
def test_a_stage_that_loses_a_sample_is_not_committed(fresh):
    report = run_toy(fresh, "losing")
    stages = {s["name"]: s for s in report["stages"]}
    assert stages["measure"]["state"] == "failed"
    assert "does not add up" in stages["measure"]["error"]
    assert not list(fresh.store.glob("artifacts/measure/*/manifest.json"))
