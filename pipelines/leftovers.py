"""Ending what is left of a local Ray whose driver was killed.

Ray's own processes end with their driver, but not all at once: its agents try for a minute to report their raylet's death to a
server that is dead too. So a process beside the driver, which outlives it, waits for its end, then for theirs, and ends the rest.

Run as a program by its path, so that it loads nothing else: `leftovers.py MARK`, with a pipe from the driver as its input.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

MARK = "PIXSEM_LOCAL_RAY"  # in the environment of every process of a local Ray
GRACE = 10.0  # seconds that they have to end by themselves once their driver is gone
POLL = 0.2

_watcher: tuple[str, subprocess.Popen[bytes]] | None = None


@contextmanager
def watched() -> Iterator[None]:
    """Mark all processes that are started inside, and have them ended where this process ends without them."""
    global _watcher
    if _watcher is None or _watcher[1].poll() is not None:
        mark = uuid.uuid4().hex
        # A session of its own: Ctrl-C and a closed terminal are for the driver. The pipe closes with this process, however it ends.
        process = subprocess.Popen(
            [sys.executable, "-I", __file__, mark], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        _watcher = mark, process
    os.environ[MARK] = _watcher[0]
    try:
        yield
    finally:
        del os.environ[MARK]


def marked(mark: str) -> list[psutil.Process]:
    """Return the processes that carry a mark and are still at work."""
    found = []
    for process in psutil.process_iter():
        try:
            if _carries(process, mark) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # another user's, or gone meanwhile
    return found


def _carries(process: psutil.Process, mark: str) -> bool:
    """True where a process' environment has the mark."""
    if not sys.platform.startswith("linux"):
        return process.environ().get(MARK) == mark
    # Ray's agents give themselves a title, which runs over the start of their environment: psutil reads no further than that.
    return f"{MARK}={mark}\0".encode() in Path(f"/proc/{process.pid}/environ").read_bytes()


def clear(mark: str, grace: float) -> int:
    """Wait until no process carries a mark; after `grace` seconds kill those that do. Return how many were killed."""
    ends = time.monotonic() + grace
    while left := marked(mark):
        if time.monotonic() >= ends:
            for process in left:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
            return len(left)
        time.sleep(POLL)
    return 0


if __name__ == "__main__":
    sys.stdin.buffer.read()  # to the driver's end
    clear(sys.argv[1], GRACE)
