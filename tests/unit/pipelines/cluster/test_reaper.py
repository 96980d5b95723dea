"""Processes of a local Ray are ended where their driver is gone, and no others."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

from pipelines.cluster.reaper import clear

pytestmark = pytest.mark.unit
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
# What it starts starts another, as a raylet does its agents; and one is started after the watched block.
DRIVER = """
import subprocess, sys, time
from pipelines.cluster.reaper import watched
with watched():
    sleep = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    child = f"import subprocess, sys, time; print({sleep}.pid, flush=True); time.sleep(2)"
    left = subprocess.Popen([sys.executable, "-c", child])
    time.sleep(1)
time.sleep(0.5)
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(left.pid, other.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def sleeper():
    started = []

    def start() -> psutil.Process:
        started.append(subprocess.Popen(SLEEP))
        return psutil.Process(started[-1].pid)

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_only_what_is_named_is_killed_and_only_after_the_grace(sleeper):
    ours, other = sleeper(), sleeper()
    started = time.monotonic()
    assert clear({ours}, 0.5) == 1 and time.monotonic() - started >= 0.5
    assert ours.wait(5) == -9 and other.is_running()


def test_what_ends_by_itself_is_waited_for(sleeper):
    ours = sleeper()
    ours.terminate()
    assert clear({ours}, 60.0) == 0


def test_what_was_started_inside_is_ended_with_a_killed_driver_and_the_watcher_last():
    driver = subprocess.Popen([sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    grandchild = psutil.Process(int(driver.stdout.readline()))
    left, other = (psutil.Process(int(pid)) for pid in driver.stdout.readline().split())
    try:
        watcher = next(p for p in psutil.Process(driver.pid).children() if "reaper.py" in " ".join(p.cmdline()))
        driver.kill()
        driver.wait()
        time.sleep(0.5)
        assert watcher.is_running() and grandchild.is_running()  # the driver's end is not theirs
        psutil.wait_procs([left, grandchild, watcher], 25)
        assert not any(p.is_running() for p in (left, grandchild, watcher)) and other.is_running()
    finally:
        for process in (other, grandchild):
            if process.is_running():
                process.kill()
