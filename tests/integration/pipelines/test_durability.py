"""Nothing committed is lost, whatever is killed, and an interrupted run ends as an uninterrupted one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3

import pytest
from conftest import SMALL, Pixsem, kill, processes, wait_for, workers

pytestmark = pytest.mark.integration


def records(pixsem: Pixsem) -> list:
    return list(pixsem.store.glob("work/*/*/records/*.json"))


@pytest.mark.parametrize(
    ("victims", "moment"),
    [
        ("driver", "first shard"),
        pytest.param("all", "first shard", marks=pytest.mark.slow),  # test_several_sources.py kills all, too
        pytest.param("all", "first artifact", marks=pytest.mark.slow),
    ],
)
def test_after_kill_9_nothing_stays_and_the_run_resumes_to_the_same_bytes(fresh, finished, victims, moment):
    driver = fresh.start("run", *SMALL)
    if moment == "first shard":
        wait_for(lambda: records(fresh) or fresh.digests())
    else:
        wait_for(fresh.digests)
    before = fresh.digests()
    if victims == "all":
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
        # Ray's own processes leave the driver's group and end when they find it gone; kill what is left.
        kill(processes(str(fresh.folder)))
    else:
        kill([driver.pid])
        driver.communicate()
        assert processes(str(fresh.folder))
        wait_for(lambda: not processes(str(fresh.folder)), 25.0)  # Ray's agents alone would stay for a minute
    assert set(before.items()) <= set(fresh.digests().items())
    assert fresh.json("verify")["damaged"] == []
    status = fresh.json("status")
    assert status["state"] == "interrupted"
    fresh("resume", status["id"])
    assert fresh.digests() == finished.digests()
    assert fresh.json("status")["state"] == "completed"
    assert list(fresh.store.glob("leases/*.json")) == []
    states = {
        s
        for (s,) in sqlite3.connect(fresh.store / "mlflow.db").execute(
            "select status from runs where name = ?", (status["id"],)
        )
    }
    assert states == {"FINISHED"}


@pytest.mark.parametrize("title", ["ray::make_shard", pytest.param("ray::stage-", marks=pytest.mark.slow)])
def test_a_killed_worker_is_replaced_and_the_run_completes(fresh, finished, title):
    driver = fresh.start("run", *SMALL)
    wait_for(lambda: workers(fresh, title))
    kill(workers(fresh, title)[:1])
    out, err = driver.communicate(timeout=500)
    assert driver.returncode == 0, out + err
    assert fresh.digests() == finished.digests()


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_stopped_run_says_so_and_resumes(fresh, finished, number):
    driver = fresh.start("run", *SMALL)
    wait_for(lambda: records(fresh) or fresh.digests())
    driver.send_signal(number)
    _, err = driver.communicate(timeout=200)
    assert driver.returncode == 128 + number
    assert "pixsem resume" in err
    assert fresh.json("status")["state"] == "interrupted"
    assert list(fresh.store.glob("leases/*.json")) == []
    fresh("resume")
    assert fresh.digests() == finished.digests()


def test_damage_is_named_and_only_what_is_hurt_or_gone_is_made_again(copy, finished):
    (tar,) = copy.store.glob("artifacts/curate/*/shards/00003.tar")
    data = bytearray(tar.read_bytes())
    data[5000] ^= 1
    tar.write_bytes(data)
    found = copy.json("verify", code=1)["damaged"]
    assert [d["file"] for d in found] == ["shards/00003.tar"]
    for path in copy.store.glob("artifacts/measure/*"):
        shutil.rmtree(path)
    rows = {r["stage"]: r for r in copy.json("run", *SMALL, "--dry-run")}
    assert rows["ingest"]["cached"] and not rows["measure"]["cached"]
    copy("resume")
    log = "".join(path.read_text() for path in copy.store.glob("runs/*/logs/curate.log"))
    assert "8 shards, 7 of them made before" in log
    assert {s["name"]: s["cached"] for s in copy.json("report")["stages"]} == {
        "ingest": True, "measure": False, "curate": False, "synthesize_edits": True
    }  # fmt: skip
    assert copy.digests() == finished.digests()
    assert copy.json("verify")["damaged"] == []


@pytest.mark.slow
def test_a_failed_stage_says_what_and_where_and_the_next_run_goes_on(copy):
    # A full disk for one stage: its work folder is a file.
    shutil.rmtree(copy.store / "work" / "curate", ignore_errors=True)
    (copy.store / "work").mkdir(exist_ok=True)
    (copy.store / "work" / "curate").write_text("in the way")
    done = copy("run", *SMALL, "curate.min_words=4", code=1)
    assert "curate: failed" in done.stderr
    report = copy.json("report")
    states = {s["name"]: s["state"] for s in report["stages"]}
    assert states == {"ingest": "done", "measure": "done", "curate": "failed", "synthesize_edits": "skipped"}
    failed = next(s for s in report["stages"] if s["name"] == "curate")
    assert failed["error"]
    (copy.store / "work" / "curate").unlink()
    copy("resume")
    assert copy.json("status")["state"] == "completed"


@pytest.mark.slow
def test_two_drivers_on_one_store_share_the_work(fresh, finished):
    drivers = [fresh.start("run", *SMALL) for _ in range(2)]
    for driver in drivers:
        out, err = driver.communicate(timeout=240)
        assert driver.returncode == 0, out + err
    assert fresh.digests() == finished.digests()
    runs = fresh.json("status", "--all")
    assert [r["state"] for r in runs] == ["completed", "completed"]
    made = [
        name
        for run in runs
        for name, state in json.loads((fresh.store / "runs" / run["id"] / "run.json").read_text())["stages"].items()
        if not state["cached"]
    ]
    assert sorted(made) == ["curate", "ingest", "measure", "synthesize_edits"]
