"""Two drivers on one run: one drives, the other is told who does, and touches nothing."""

from __future__ import annotations

import dataclasses

import pytest
from conftest import SMALL, kill, processes, wait_for

from pipelines.config.compose import compose_config, to_yaml
from pipelines.errors import UserError
from pipelines.store.files import Store
from pipelines.store.leases import Leases
from pipelines.store.runs import new_run, save_run
from pipelines.workflow.launch import resume_run

pytestmark = pytest.mark.integration


def test_a_resume_that_comes_second_is_told_who_drives_and_changes_nothing(tmp_path):
    store = Store(str(tmp_path / "store"))
    store.prepare()
    config = compose_config(["preset=tiny", f"store={store.url}"])
    run = new_run(store, "tiny", to_yaml(config), None, [])
    run.state = "interrupted"
    save_run(store, run)
    before = store.read_bytes(f"{run.path}/run.json")
    with Leases(store, run.id) as first:
        assert first.acquire(run.lease) is None
        # It read the record before the first had taken the lease.
        with pytest.raises(UserError, match=rf"being driven already, by process \d+.*pixsem status {run.id}"):
            resume_run(store, dataclasses.replace(run), config, None, quiet=True)
        assert first.acquire(run.lease) is None, "the lease is still the first one's"
    assert store.read_bytes(f"{run.path}/run.json") == before
    assert not store.exists("mlflow.db")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_of_two_resumes_at_once_one_completes_the_run_and_both_end_well_or_are_told(fresh, finished):
    fresh.patience = 600.0
    driver = fresh.start("run", *SMALL)
    wait_for(lambda: list(fresh.store.glob("work/*/*/records/*.json")) or fresh.digests(), 600.0)
    kill([driver.pid, *processes(str(fresh.folder))])
    driver.wait()
    resumes = [fresh.start("resume") for _ in range(2)]
    ended = [(r.communicate(timeout=600)[1], r.returncode) for r in resumes]
    assert 0 in [code for _, code in ended], ended
    for said, code in ended:
        assert code == 0 or ("being driven already" in said or "still running" in said), said
        assert "Traceback" not in said, said
    assert fresh.digests() == finished.digests()
    assert fresh.json("status")["state"] == "completed"
    assert list(fresh.store.glob("leases/*.json")) == []
