"""Ending what is left of a local Ray whose driver was killed.

Ray's own processes end with their driver, but not all at once: its agents try for a minute to report their raylet's death to a
server that is dead too. So a process beside the driver, which outlives it, notes what a Ray consists of while it starts, waits for the
driver's end, then for theirs, and ends the rest.

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

STARTING, STARTED = b"+", b"-"
GRACE = 10.0  # seconds that they have to end by themselves once their driver is gone
POLL = 0.1

_watcher: subprocess.Popen[bytes] | None = None


@contextmanager
def watched() -> Iterator[None]:
    """Have all processes that are started inside, and those that they start, ended where this process ends without them."""
    global _watcher
    if _watcher is None or _watcher.poll() is not None:
        # A session of its own: Ctrl-C and a closed terminal are for the driver. The pipe closes with this process, however it ends.
        _watcher = subprocess.Popen(
            [sys.executable, "-I", __file__], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, bufsize=0,
        )  # fmt: skip
    _tell(STARTING)
    try:
        yield
    finally:
        _tell(STARTED)


def _tell(word: bytes) -> None:
    assert _watcher is not None and _watcher.stdin is not None
    with suppress(
        BrokenPipeError
    ):  # killed itself: then Ray's agents stay for their minute, and the run is none the worse
        _watcher.stdin.write(word)


def watch(driver: psutil.Process, pipe: int) -> set[psutil.Process]:
    """Return what the driver started while it said so, once it has ended."""
    seen: set[psutil.Process] = set()
    starting = True
    while True:
        told = bool(select.select([pipe], [], [], POLL if starting else None)[0])
        with suppress(psutil.NoSuchProcess):  # where it has ended, the pipe says so next
            seen.update(driver.children(recursive=True) if starting else ())
        if told:
            words = os.read(pipe, 1024)
            if not words:
                return seen - {psutil.Process()}
            starting = words.endswith(STARTING)


def clear(processes: set[psutil.Process], grace: float) -> int:
    """Wait until the processes have ended; after `grace` seconds kill those that have not. Return how many were killed."""
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
