"""Reading what was committed: a file of an artifact is compared with its manifest before its bytes are used.

Most formats cannot tell that a bit of them flipped. Damage found here is noted as `pixsem verify` notes it, so that the
next run makes the hurt parts again.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from pathlib import Path
from typing import NoReturn

from components.data.shard_index import digest_of
from pipelines.errors import StoreError
from pipelines.store.artifacts import find_artifact, note_damage
from pipelines.store.files import Store, sha256_file

# Local path -> the state of the file that was compared: a process hashes a file again only where it was written anew.
_COMPARED: dict[str, tuple[int, ...]] = {}


def fetch_checked(store: Store, path: str, scratch: Path) -> Path:
    """Return a local path of a store file, as `Store.fetch`; a file of an artifact is whole, or `StoreError` says what
    is wrong with it.
    """
    if path.split("/", 1)[0] != "artifacts":
        return store.fetch(path, scratch)
    local = _fetched(store, path, scratch)
    state = state_of(local)
    if state is not None and _COMPARED.get(str(local)) == state:
        return local
    wanted = wanted_digest(store, path)
    if state is None or sha256_file(local) != wanted:
        refuse(store, path, "missing" if state is None else "content changed (sha256 differs)")
    assert state is not None
    _COMPARED[str(local)] = state
    return local


class Fetched:
    """Local paths of a store's files, each fetched and compared once, whichever threads ask for it."""

    def __init__(self, store: Store, scratch: Path) -> None:
        self._store, self._scratch = store, scratch
        self._locks: dict[str, threading.Lock] = {}
        self._found: dict[str, Path] = {}

    def __call__(self, path: str) -> Path:
        """Return the local path, as `fetch_checked`."""
        with self._locks.setdefault(path, threading.Lock()):
            if path not in self._found:
                self._found[path] = fetch_checked(self._store, path, self._scratch)
            return self._found[path]


def read_checked(store: Store, path: str, offset: int, size: int, digest: int) -> bytes:
    """Return `size` bytes at `offset` of an artifact's file, without the rest of it, where `digest` is that of them.
    `StoreError` says what is wrong with them elsewhere.
    """
    problem = "missing"
    with contextlib.suppress(FileNotFoundError):
        data = store.read_bytes(path, offset, offset + size)
        if digest_of(data) == digest:
            return data
        problem = f"content changed at byte {offset} (sha256 differs)"
    refuse(store, path, problem)


def wanted_digest(store: Store, path: str) -> str:
    """Return the sha256 that an artifact's manifest gives a file of it. `StoreError` where it knows none."""
    kind, stage, fingerprint, name = path.split("/", 3)
    manifest = f"{kind}/{stage}/{fingerprint}/manifest.json"
    if not store.exists(manifest):
        raise StoreError(f"{store.path(path)}: its artifact is not there any more. It is made again by: pixsem resume")
    digests = _digests(store.absolute_url, stage, fingerprint, str(store.fs.ukey(store.path(manifest))))
    if name not in digests:
        raise StoreError(f"{store.path(path)} is no file of its artifact")
    return digests[name]


def refuse(store: Store, path: str, problem: str) -> NoReturn:
    """Note damage to an artifact's file, as `pixsem verify` does, and raise `StoreError`."""
    _, stage, fingerprint, name = path.split("/", 3)
    note_damage(store, stage, fingerprint, {name: problem})
    raise StoreError(f"{store.path(path)}: {problem}. It is noted, and what is hurt is made again by: pixsem resume")


def _fetched(store: Store, path: str, scratch: Path) -> Path:
    try:
        return store.fetch(path, scratch)
    except FileNotFoundError:  # of a remote store; what is missing is told below, for both
        (scratch / path).unlink(missing_ok=True)
        return scratch / path


def state_of(path: Path) -> tuple[int, ...] | None:
    """Return what changes when a file is written anew; None where there is none."""
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


@functools.lru_cache(maxsize=32)
def _digests(url: str, stage: str, fingerprint: str, _state: str) -> dict[str, str]:
    """Return {file: sha256} of an artifact; `_state` is its manifest's, so that one made anew is read anew."""
    artifact = find_artifact(Store(url), stage, fingerprint)
    assert artifact is not None
    return {entry.path: entry.sha256 for entry in artifact.manifest.files}
