"""Ending what is left of a local Ray whose driver was killed.

Ray's own processes end with their driver, but not all at once: its agents try for a minute to report their raylet's
death to a server that is dead too. So a process beside the driver, which outlives it, notes what a Ray consists of
while it starts, waits for the driver's end, then for theirs, and ends the rest.

Run as a program by its path, so that it loads nothing else, with a pipe from the driver as its input.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

GRACE = 10.0  # seconds that they have to end by themselves once their driver is gone
POLL = 0.1

_watcher: subprocess.Popen[bytes] | None = None


@contextmanager
def watched() -> Iterator[None]:
    """Have all processes that are started inside, and those that they start, ended where this process ends without
    them.
    """
    global _watcher
    # A session of its own: Ctrl-C and a closed terminal are for the driver. The pipe closes with this process, however
    # it ends.
    watcher = subprocess.Popen(
        [sys.executable, "-I", __file__], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, bufsize=0,
    )  # fmt: skip
    assert watcher.stdin is not None
    yield
    # Killed itself, it costs no more than its service: Ray's agents stay for their minute.
    with suppress(BrokenPipeError):
        watcher.stdin.write(b"started")
    if _watcher is not None and _watcher.stdin is not None:
        _watcher.stdin.close()  # that of an earlier Ray, which is gone where another could be started
    _watcher = watcher


def watch(driver: psutil.Process, pipe: int) -> set[psutil.Process]:
    """Return what the driver has started since this process was, until it said that all had been, once it has ended."""
    me = psutil.Process()
    seen: set[psutil.Process] = set()
    while not select.select([pipe], [], [], POLL)[0]:
        seen.update(_started_by(driver))
    seen.update(_started_by(driver))
    while os.read(pipe, 1024):
        pass
    return {process for process in seen - {me} if process.create_time() >= me.create_time()}


def _started_by(driver: psutil.Process) -> list[psutil.Process]:
    try:
        return driver.children(recursive=True)
    except psutil.NoSuchProcess:
        return []  # it has ended, and the pipe says so


def clear(processes: set[psutil.Process], grace: float) -> int:
    """Wait until the processes have ended; after `grace` seconds kill those that have not. Return how many were
    killed.
    """
    ends = time.monotonic() + grace
    while left := [process for process in processes if _works(process)]:
        if time.monotonic() >= ends:
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            return len(left)
        time.sleep(POLL)
    return 0


def _works(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    clear(watch(psutil.Process(os.getppid()), sys.stdin.fileno()), GRACE)
