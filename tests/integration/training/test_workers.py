"""Two real workers: killed with no chance to tidy up, they go on from their checkpoint and end with the same bits."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]
WORKER = Path(__file__).with_name("worker.py")


def start(folder: Path, world: int, pause: float, zero: int) -> list[subprocess.Popen[str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(folder), str(rank), str(world), port, str(pause), str(zero)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(world)
    ]  # fmt: skip


def finish(workers: list[subprocess.Popen[str]]) -> str:
    said = [worker.communicate(timeout=120) for worker in workers]
    assert all(worker.returncode == 0 for worker in workers), said[0][1][-2000:] + said[-1][1][-2000:]
    return next(line for line in said[0][0].splitlines() if line.startswith("weights"))


@pytest.mark.parametrize("zero", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_two_killed_workers_resume_to_the_weights_of_a_run_that_was_not_killed(tmp_path, zero):
    workers = start(tmp_path / "cut", 2, 0.3, zero)
    end = time.monotonic() + 100
    while not list((tmp_path / "cut").glob("step-*/state.json")):
        assert time.monotonic() < end and all(w.poll() is None for w in workers), "no checkpoint came about"
        time.sleep(0.02)
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
    for worker in workers:
        worker.communicate()
    assert not (tmp_path / "cut" / "step-00000030").exists(), "it was not killed in time"
    whole, cut = start(tmp_path / "whole", 2, 0.0, zero), start(tmp_path / "cut", 2, 0.0, zero)
    assert finish(cut) == finish(whole)
    # One worker cannot take over two workers' state, and says so.
    (alone,) = start(tmp_path / "cut", 1, 0.0, zero)
    _, said = alone.communicate(timeout=120)
    assert alone.returncode != 0 and "written by 2 workers, and there are 1 now. Resume with 2 workers" in said
