"""Leases: at most one live driver works on a stage of a store, and a dead driver's lease is taken over.

A holder rewrites its lease every `BEAT` seconds with a higher count. Whether a holder elsewhere lives is judged by the
count standing still on the reader's own clock, never by comparing times of day, so wrong clocks do no harm.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from pipelines.store.files import Store

BEAT = 3.0
TTL = 30.0
SETTLE = 2.0
WATCH = 3 * BEAT
DAY = 86400.0


def process_started(pid: int) -> str | None:
    """Return an identity of a live process on this machine (boot id and start tick), or None where there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as handle:
            fields = handle.read().rpartition(")")[2].split()
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as handle:
            boot = handle.read().strip()
    except OSError:
        return _process_started_elsewhere(pid)
    return None if fields[0] in ("Z", "X") else f"{boot}-{fields[19]}"


def _process_started_elsewhere(pid: int) -> str | None:
    # Not Linux: psutil (a dependency of Ray's) knows, but costs an import.
    import psutil

    try:
        return f"{psutil.boot_time():.0f}-{psutil.Process(pid).create_time():.3f}"
    except psutil.NoSuchProcess:
        return None


def holder_is_dead(holder: dict[str, Any]) -> bool | None:
    """True or False where the holder was a process of this machine; None where only its heartbeat can tell."""
    if holder.get("host") != socket.gethostname():
        return None
    return process_started(int(holder["pid"])) != holder["process"]


class Leases:
    """The leases of one driver. Use as a context manager: leaving it releases all that is held."""

    def __init__(self, store: Store, run: str, beat: float = BEAT, ttl: float = TTL) -> None:
        self.store = store
        self.ttl = ttl
        self._interval = beat
        pid = os.getpid()
        self._me = {
            "owner": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "pid": pid,
            "process": process_started(pid),
            "run": run,
        }
        self._held: set[str] = set()
        self._seen: dict[str, tuple[str, float]] = {}
        self._count = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Leases:
        self._sweep()
        self._thread = threading.Thread(target=self._beat, name="lease-heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join()
        for key in sorted(self._held):
            self.release(key)

    def _sweep(self) -> None:
        """Remove what killed drivers of this machine left behind; those of other machines are judged when wanted."""
        with self._exclusively():
            for name in self.store.names("leases"):
                holder = read_lease(self.store, name.removesuffix(".json"))
                if holder is not None and holder_is_dead(holder):
                    self.store.remove_tree(f"leases/{name}")

    def acquire(self, key: str) -> dict[str, Any] | None:
        """Try to take a lease; return None when it is ours now, else what its living holder wrote."""
        with self._exclusively():
            if self.store.create(_path(key), self._content()):
                self._mine(key)
                return None
            holder = read_lease(self.store, key)
            if holder is not None and holder["owner"] == self._me["owner"]:
                # Written by a request whose answer was lost on the way back, and which was then sent again.
                self._mine(key)
                return None
            if holder is not None and not self._dead(key, holder):
                return holder
            self.store.write_bytes(_path(key), self._content(), durable=False)
            if not self.store.is_local:
                # An object store has no lock: the last of several writers wins, and all find out after a pause.
                time.sleep(SETTLE)
                holder = read_lease(self.store, key)
                if holder is None or holder["owner"] != self._me["owner"]:
                    return holder or {"owner": "", "host": "?", "pid": 0, "run": "?"}
            self._mine(key)
            return None

    def release(self, key: str) -> None:
        """Give a lease back, where it is still ours."""
        with self._lock:
            self._held.discard(key)
        with self._exclusively():
            holder = read_lease(self.store, key)
            if holder is not None and holder["owner"] == self._me["owner"]:
                self.store.remove_tree(_path(key))

    def _mine(self, key: str) -> None:
        with self._lock:
            self._held.add(key)

    def _dead(self, key: str, holder: dict[str, Any]) -> bool:
        known = holder_is_dead(holder)
        if known is not None:
            return known
        mark = f"{holder['owner']}:{holder['beat']}"
        now = time.monotonic()
        before = self._seen.get(key)
        if before is None or before[0] != mark:
            self._seen[key] = (mark, now)
            return False
        return now - before[1] > self.ttl

    def _content(self) -> bytes:
        return json.dumps({**self._me, "beat": self._count, "time": time.time()}).encode()

    def _beat(self) -> None:
        while not self._stop.wait(self._interval):
            self._count += 1
            with self._lock:
                held = sorted(self._held)
            for key in held:
                # A missed beat only brings the lease's end nearer; the next beat tries again.
                with contextlib.suppress(OSError):
                    self._renew(key)

    def _renew(self, key: str) -> None:
        with self._exclusively(), self._lock:
            if key in self._held:
                self.store.write_bytes(_path(key), self._content(), durable=False)

    @contextlib.contextmanager
    def _exclusively(self) -> Iterator[None]:
        if not self.store.is_local:
            yield
            return
        self.store.make_folder("leases/.lock")
        lock = self.store.local("leases/.lock")
        with lock.open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _path(key: str) -> str:
    return f"leases/{key}.json"


def read_lease(store: Store, key: str) -> dict[str, Any] | None:
    """Return what the holder of a lease wrote, or None where it is free."""
    try:
        return dict(store.read_json(_path(key)))
    except FileNotFoundError:
        return None


def holder_text(holder: dict[str, Any]) -> str:
    """Say who holds a lease."""
    return f"run {holder['run']} (process {holder['pid']} on {holder['host']})"


def is_live(store: Store, key: str, watch: float = WATCH) -> bool:
    """True where a lease is held by a process that lives: on this machine exactly, elsewhere by its beats.

    A last beat of within a minute is taken as it is. One that is older, or of the future, may come from a clock that is
    wrong by hours: then the count is watched for `watch` seconds. One of another day is not waited for.
    """
    holder = read_lease(store, key)
    if holder is None:
        return False
    dead = holder_is_dead(holder)
    if dead is not None:
        return not dead
    age = abs(time.time() - holder["time"])
    if age < 2 * TTL:
        return True
    until = time.monotonic() + (watch if age < DAY else 0.0)
    while time.monotonic() < until:
        time.sleep(min(1.0, watch / 10))
        seen = read_lease(store, key)
        if seen is None:
            return False
        if (seen["owner"], seen["beat"]) != (holder["owner"], holder["beat"]):
            return True
    return False
