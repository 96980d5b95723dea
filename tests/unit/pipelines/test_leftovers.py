"""Processes of a local Ray are ended where their driver is gone, and no others."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from pipelines.leftovers import MARK, clear, marked

pytestmark = pytest.mark.unit
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
DRIVER = """
import subprocess, sys
from pipelines.leftovers import watched
with watched():
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3)"])
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(left.pid, other.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def sleeper(monkeypatch):
    started = []

    def start(mark: str) -> subprocess.Popen[bytes]:
        monkeypatch.setenv(MARK, mark)
        started.append(subprocess.Popen(SLEEP))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_only_what_carries_the_mark_is_killed_and_only_after_the_grace(sleeper):
    ours, other = sleeper("a"), sleeper("b")
    started = time.monotonic()
    assert clear("a", 0.5) == 1 and time.monotonic() - started >= 0.5
    assert ours.wait(5) == -9 and other.poll() is None


def test_what_ends_by_itself_is_waited_for(sleeper):
    ours = sleeper("a")
    ours.terminate()
    assert clear("a", 60.0) == 0
    assert not marked("a")


def test_the_mark_is_on_what_is_started_inside_and_the_watcher_ends_when_it_is_gone():
    import psutil

    driver = subprocess.Popen([sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    left, other = (psutil.Process(int(pid)) for pid in driver.stdout.readline().split())
    try:
        assert MARK in left.environ() and MARK not in other.environ()
        watcher = next(p for p in psutil.Process(driver.pid).children() if left.environ()[MARK] in p.cmdline())
        driver.kill()
        driver.wait()
        time.sleep(0.5)
        assert watcher.is_running()  # the driver's end is not its own
        psutil.wait_procs([left, watcher], 20)
        assert not watcher.is_running() and not left.is_running() and other.is_running()
    finally:
        other.kill()
