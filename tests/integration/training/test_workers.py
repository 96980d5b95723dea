"""Two real workers over gloo: killed with no chance to tidy up, they go on from their checkpoint and end with the same
bits; they learn as one worker does; what one finds wrong, both say.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from components.training.checkpoints import STATE, parse_state
from pipelines.store.files import Store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(900),
]  # a machine with other work is slow to start six workers

ROOT = Path(__file__).resolve().parents[3]
WORKER = Path(__file__).with_name("worker.py")


def start(folder: Path, world: int, **asked: Any) -> list[subprocess.Popen[str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(folder), str(rank), str(world), port, json.dumps(asked)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(world)
    ]  # fmt: skip


def finish(workers: list[subprocess.Popen[str]]) -> tuple[list[float], str]:
    """Return rank 0's losses, and its weights' hash."""
    said = [worker.communicate(timeout=280) for worker in workers]
    assert all(worker.returncode == 0 for worker in workers), said[0][1][-2000:] + said[-1][1][-2000:]
    lines = dict(line.split(" ", 1) for line in said[0][0].splitlines() if line.startswith(("losses", "weights")))
    return json.loads(lines["losses"]), lines["weights"]


@pytest.mark.parametrize("zero", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_two_killed_workers_resume_to_the_weights_of_a_run_that_was_not_killed(tmp_path, zero):
    workers = start(tmp_path / "cut", 2, pause=0.3, zero=zero)
    end = time.monotonic() + 250
    while not list((tmp_path / "cut").glob("step-*/state.json")):
        assert time.monotonic() < end and all(w.poll() is None for w in workers), "no checkpoint came about"
        time.sleep(0.02)
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
    for worker in workers:
        worker.communicate()
    assert not (tmp_path / "cut" / "step-00000030").exists(), "it was not killed in time"
    whole, cut = start(tmp_path / "whole", 2, zero=zero), start(tmp_path / "cut", 2, zero=zero)
    assert finish(cut)[1] == finish(whole)[1]
    # One worker cannot take over two workers' state, and says so.
    (alone,) = start(tmp_path / "cut", 1, zero=zero)
    _, said = alone.communicate(timeout=280)
    assert alone.returncode != 0 and "written by 2 workers, and there are 1 now. Resume with 2 workers" in said


@pytest.mark.parametrize("zero", [pytest.param(0, marks=pytest.mark.slow), 1, 2])
def test_two_workers_with_accumulation_give_the_loss_curve_of_one(tmp_path, zero):
    one, _ = finish(start(tmp_path / "one", 1, noise=0.0))
    two, _ = finish(start(tmp_path / "two", 2, noise=0.0, zero=zero, accumulate=2))
    assert two == pytest.approx(one, rel=1e-5)
    assert len(one) == 3 and one[-1] < 0.9 * one[0], "nothing was learnt"


def test_both_workers_name_the_rank_and_samples_of_a_loss_that_is_no_number(tmp_path):
    workers = start(tmp_path, 2, zero=1, bad=[1, 6])
    for worker in workers:
        _, said = worker.communicate(timeout=280)
        assert worker.returncode != 0
        assert "the loss is nan at step 7 on rank 1, in the batch of 6-of-1. The last checkpoint is" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000005"]


@pytest.mark.slow
def test_each_worker_puts_its_own_files_into_a_remote_store_and_fetches_what_it_reads(tmp_path, monkeypatch):
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        stores = {name: Store(f"s3://checkpoints-{name}") for name in ("whole", "cut")}
        for store in stores.values():
            store.prepare()
        workers = start(tmp_path / "cut", 2, pause=0.3, zero=1, store=stores["cut"].absolute_url)
        end = time.monotonic() + 250
        while not stores["cut"].exists(f"checkpoints/step-00000005/{STATE}"):
            assert time.monotonic() < end and all(w.poll() is None for w in workers), "no checkpoint came about"
            time.sleep(0.1)
        for worker in workers:
            worker.send_signal(signal.SIGKILL)
            worker.communicate()
        state = parse_state(stores["cut"].read_bytes(f"checkpoints/step-00000005/{STATE}"), "state")
        found = stores["cut"].files("checkpoints/step-00000005")
        assert {name: size for name, (size, _) in state["files"].items()} == {n: found[n] for n in found if n != STATE}
        assert {f"model/zero_pp_rank_{rank}_mp_rank_00_optim_states.pt" for rank in (0, 1)} <= set(found)
        newest = stores["cut"].folders("checkpoints")[-1]
        own = "model/zero_pp_rank_1_mp_rank_00_optim_states.pt"
        stores["cut"].write_bytes(f"checkpoints/{newest}/{own}", b"damaged")  # for the second worker alone
        ends = [finish(start(tmp_path / f"{name}-2", 2, zero=1, store=stores[name].absolute_url)) for name in stores]
        assert ends[0][1] == ends[1][1]
        assert stores["cut"].folders("checkpoints") == ["step-00000025", "step-00000030"]
        fetched = {path.name for path in (tmp_path / "cut-2" / "1").rglob("*") if path.is_file()}
        assert Path(own).name in fetched and STATE in fetched
        assert not fetched & {"average.safetensors", Path(own).name.replace("rank_1", "rank_0")}
    finally:
        server.stop()
