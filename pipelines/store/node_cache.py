"""A node's own copies of a store's files, shared by all workers on the node, and fetched ahead of need.

A file is fetched once for each node and compared with its manifest's sha256 when it arrives; only then it gets its
name, so a worker that is killed leaves nothing that is taken for whole. Beyond the limit the files that were used
longest ago go, of whatever store. Who has mapped one of them keeps it: it is unlinked, not changed. What is below the
limit stays for the next run.

Files of a store on a local or shared folder are read where they are. They are compared once for each node.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from pipelines.errors import StoreError, StoreUnreachable
from pipelines.store.files import Store, sha256_file, sha256_text
from pipelines.store.verified_read import fetch_checked, refuse, state_of, wanted_digest

THREADS = 4  # files that a worker fetches at once
CHUNK = 2**20  # bytes read at once
TRIES = 5
PAUSE = 0.5  # seconds before the second try, and twice as long before each further one
IN_USE = 60.0  # seconds after its last use in which a file stays, whatever the limit
LOCKS = 4096
DAY = 86400.0  # after which a file that is read in place is compared again


def node_folder(folder: Path | None = None) -> Path:
    """Return the node's folder for copies, made where it is not there. `StoreError` where it is somebody else's."""
    base = folder or Path(tempfile.gettempdir()) / f"pixsem-cache-{os.getuid()}"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    if base.stat().st_uid != os.getuid():
        raise StoreError(f"the cache folder {base} belongs to somebody else. Remove it, or set TMPDIR to another.")
    return base


class NodeCache:
    """Checked local paths of a store's files. Safe in threads and processes."""

    def __init__(self, store: Store, limit: int, folder: Path | None = None, in_use: float = IN_USE) -> None:
        """`limit` in bytes, of all stores together; `folder` None: below the node's folder for temporary files.
        `StoreError` where that is somebody else's.
        """
        base = node_folder(folder)
        self.store, self.limit, self._in_use = store, limit, in_use
        self._base = base / sha256_text(store.absolute_url)[:16]
        self._files, self._parts, self._locks = (self._base / name for name in ("files", "parts", "locks"))
        self._compared = self._base / "compared"
        for made in (self._files, self._parts, self._locks, self._compared):
            made.mkdir(parents=True, exist_ok=True)
        for mark in self._compared.iterdir():
            if not _fresh(mark):
                mark.unlink(missing_ok=True)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="node-cache")
        self._coming: dict[str, Future[Path]] = {}
        self._brought = 0  # bytes since this process last looked at the limit

    def ahead(self, paths: Iterable[str], through: bool = True) -> None:
        """Fetch and compare these files in the background. `through`: then read them from end to end, since what is in
        them is wanted soon and in any order. What fails is told when the file is asked for.
        """
        self._coming = {path: coming for path, coming in self._coming.items() if not coming.done()}
        new = [path for path in paths if path not in self._coming]
        self._coming |= {path: self._pool.submit(self._get, path) for path in new}
        for path in new if through else ():  # after all of them are there, since nobody need wait for it
            self._pool.submit(self._read_through, path)

    def fetch(self, path: str) -> Path:
        """Return a local path of a file, checked. `StoreError` where it is damaged or cannot be reached."""
        coming = self._coming.pop(path, None)
        if coming is not None and not coming.cancel():
            coming.exception()  # what it raises is raised again below, where it is still so
        return self._get(path)

    def close(self) -> None:
        """Fetch nothing more ahead."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read_through(self, path: str) -> None:
        with self._get(path).open("rb", buffering=0) as file:
            buffer = bytearray(CHUNK)
            while file.readinto(buffer):
                pass

    def _get(self, path: str) -> Path:
        return self._in_place(path) if self.store.is_local else self._copy(path)

    def _in_place(self, path: str) -> Path:
        local = self.store.local(path)
        mark = self._compared / sha256_text(f"{path} {state_of(local)}")
        if not _fresh(mark):
            with self._lock(mark.name):
                if not _fresh(mark):
                    fetch_checked(self.store, path, self._parts)
                    mark.touch()
        return local

    def _copy(self, path: str) -> Path:
        target = self._files / path
        with contextlib.suppress(FileNotFoundError):
            os.utime(target)
            return target
        with self._lock(sha256_text(path)):
            if not target.exists():
                self._bring(path, target)
        self._evict()
        return target

    def _bring(self, path: str, target: Path) -> None:
        for attempt in range(1, TRIES + 1):
            try:
                part = self.store.fetch(path, self._parts)
                if sha256_file(part) == wanted_digest(self.store, path):
                    break
                problem = "content changed (sha256 differs)"
            except FileNotFoundError:
                problem = "missing"
            except StoreUnreachable:
                if attempt == TRIES:
                    raise
                problem = ""
            if attempt == TRIES:  # a transfer can be damaged, too, but hardly so often
                refuse(self.store, path, problem)
            time.sleep(PAUSE * 2 ** (attempt - 1))
        self._brought += part.stat().st_size
        target.parent.mkdir(parents=True, exist_ok=True)
        part.replace(target)

    def _evict(self) -> None:
        """Remove the files that were used longest ago, as far as all together are over the limit."""
        if self._brought * 64 < self.limit:
            return
        self._brought = 0
        with self._lock("evict"):
            found = []
            walks = (os.walk(files) for files in self._base.parent.glob("*/files"))
            for folder, _, names in itertools.chain.from_iterable(walks):
                for name in names:
                    with contextlib.suppress(FileNotFoundError):
                        status = os.stat(os.path.join(folder, name))
                        found.append((status.st_mtime, status.st_size, os.path.join(folder, name)))
            over, now = sum(size for _, size, _ in found) - self.limit, time.time()
            for used, size, name in sorted(found):
                if over <= 0 or now - used < self._in_use:
                    break
                Path(name).unlink(missing_ok=True)
                over -= size

    @contextlib.contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        """Hold one of the node's locks; the system frees it where its holder is killed."""
        number = int(sha256_text(name)[:8], 16) % LOCKS if name != "evict" else name
        with (self._locks / str(number)).open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _fresh(mark: Path) -> bool:
    try:
        return time.time() - mark.stat().st_mtime < DAY
    except FileNotFoundError:
        return False
