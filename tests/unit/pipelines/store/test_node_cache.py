"""A node's cache of a store's files: fetched once, compared when they arrive, and gone when there is no more room."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import fsspec
import pytest

from pipelines.errors import StoreError, StoreUnreachable
from pipelines.store import node_cache
from pipelines.store.artifacts import FileEntry, Manifest
from pipelines.store.files import Store
from pipelines.store.node_cache import NodeCache

pytestmark = pytest.mark.unit
SIZE = 1000


def filled(store: Store, count: int = 6) -> list[str]:
    """Commit an artifact of `count` files of SIZE bytes and return their paths."""
    store.prepare()
    entries = []
    for number in range(count):
        data = bytes([number]) * SIZE
        store.write_bytes(f"artifacts/index/f/index/{number}.arrow", data)
        entries.append(
            FileEntry(f"index/{number}.arrow", SIZE, store.sha256(f"artifacts/index/f/index/{number}.arrow"))
        )
    manifest = Manifest("index", "2", "f", "", {}, {}, {}, entries, {}, {}, {}, "", "", 0.0)
    store.write_json("artifacts/index/f/manifest.json", manifest.to_json())
    return [f"artifacts/index/f/{entry.path}" for entry in entries]


@pytest.fixture
def remote() -> tuple[Store, list[str]]:
    store = Store(f"memory://{uuid.uuid4().hex}")
    return store, filled(store)


class Unsteady(Store):
    """A store whose transfers fail, or arrive changed, so many times."""

    fails = damages = fetched = 0

    def fetch(self, relative: str, folder: Path) -> Path:
        """Fetch, or not."""
        if self.fails:
            self.fails -= 1
            raise StoreUnreachable("the network is gone")
        self.fetched += 1
        local = super().fetch(relative, folder)
        if self.damages:
            self.damages -= 1
            local.write_bytes(b"other bytes")
        return local


def test_workers_of_a_node_share_what_was_fetched_once(remote, tmp_path):
    store, paths = Unsteady(remote[0].url), remote[1]
    first, second = NodeCache(store, 10**6, tmp_path), NodeCache(store, 10**6, tmp_path)
    first.ahead(paths)
    local = [first.fetch(path) for path in paths]
    assert [second.fetch(path) for path in paths] == local and store.fetched == len(paths)
    assert [path.read_bytes() for path in local] == [bytes([n]) * SIZE for n in range(len(paths))]


def test_transfers_that_fail_or_arrive_damaged_are_tried_again_and_end_in_words(remote, tmp_path, monkeypatch):
    monkeypatch.setattr(node_cache, "PAUSE", 0.0)
    store, paths = Unsteady(remote[0].url), remote[1]
    cache = NodeCache(store, 10**6, tmp_path)
    store.fails, store.damages = 2, 1
    assert cache.fetch(paths[0]).read_bytes() == bytes(SIZE)
    store.fails = 99
    cache.ahead(paths[1:2])
    with pytest.raises(StoreUnreachable, match="the network is gone"):
        cache.fetch(paths[1])
    store.fails = 0
    store.write_bytes(paths[2], b"changed after it was committed")
    with pytest.raises(StoreError, match=r"index/2\.arrow: content changed .* made again by: pixsem resume"):
        cache.fetch(paths[2])
    assert not list(tmp_path.rglob("files/**/2.arrow"))
    fsspec.filesystem("memory").rm(store.path(paths[3]))
    with pytest.raises(StoreError, match=r"index/3\.arrow: missing"):
        cache.fetch(paths[3])


def test_beyond_the_limit_the_files_used_longest_ago_go_and_come_again_when_asked_for(remote, tmp_path):
    store, paths = Unsteady(remote[0].url), remote[1]
    cache = NodeCache(store, 3 * SIZE, tmp_path, in_use=0.0)
    for number, path in enumerate(paths[:3]):
        os.utime(cache.fetch(path), (number, number))
    opened = cache.fetch(paths[0]).open("rb")  # used again, and held open
    cache.fetch(paths[3])
    kept = {path.name for path in tmp_path.rglob("files/**/*.arrow")}
    assert kept == {"0.arrow", "2.arrow", "3.arrow"}
    os.utime(tmp_path.joinpath(*cache.fetch(paths[0]).relative_to(tmp_path).parts), (1, 1))
    cache.fetch(paths[4])
    assert opened.read() == bytes(SIZE), "a file that was unlinked stays whole for who has opened it"
    before = store.fetched
    assert cache.fetch(paths[1]).read_bytes() == bytes([1]) * SIZE and store.fetched == before + 1


def test_the_limit_is_of_all_stores_together(remote, tmp_path):
    other = Store(f"memory://{uuid.uuid4().hex}")
    before = [NodeCache(other, 3 * SIZE, tmp_path).fetch(path) for path in filled(other)[:2]]
    for number, path in enumerate(before):
        os.utime(path, (number, number))
    cache = NodeCache(remote[0], 3 * SIZE, tmp_path, in_use=0.0)
    cache.fetch(remote[1][0])
    assert all(path.exists() for path in before)
    cache.fetch(remote[1][1])
    assert [path.exists() for path in before] == [False, True]


def bytes_read() -> int:
    """How many bytes this process has asked the system for, from memory or from disks."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="only Linux says how much was read")
def test_a_file_that_is_announced_is_read_to_its_end_even_where_it_was_compared_before(tmp_path):
    store, size = Store(str(tmp_path / "store")), 8 * 2**20
    store.prepare()
    store.write_bytes("models/x", bytes(size))
    cache = NodeCache(store, 10**9, tmp_path / "node")
    cache.fetch("models/x")
    before, ends = bytes_read(), time.monotonic() + 60
    cache.ahead(["models/x"])
    while bytes_read() - before < size and time.monotonic() < ends:
        time.sleep(0.01)
    assert size <= bytes_read() - before < 2 * size
    cache.close()


def test_a_file_of_a_folder_is_read_in_place_and_compared_once_a_node_until_it_changes(tmp_path, monkeypatch):
    store = Store(str(tmp_path / "store"))
    (path, *_) = filled(store)
    compared = []
    real = node_cache.fetch_checked
    monkeypatch.setattr(node_cache, "fetch_checked", lambda *given: compared.append(given[1]) or real(*given))
    for _ in range(2):
        assert NodeCache(store, 1, tmp_path / "cache").fetch(path) == store.local(path)
    assert compared == [path]
    monkeypatch.undo()
    store.local(path).write_bytes(b"changed")
    with pytest.raises(StoreError, match="content changed"):
        NodeCache(store, 1, tmp_path / "cache").fetch(path)
    (mark,) = (tmp_path / "cache").glob("*/compared/*")
    os.utime(mark, (0, 0))  # what was noted longer than a day ago is of no use to anybody
    NodeCache(store, 1, tmp_path / "cache")
    assert not mark.exists()


KILLED = """
import sys, time
from pathlib import Path
from pipelines.store.files import Store
from pipelines.store.node_cache import NodeCache

class Slow(Store):
    is_local = property(lambda self: False, lambda self, value: None)
    def fetch(self, relative, folder):
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"half")
        print("half", flush=True)
        time.sleep(60)

NodeCache(Slow(sys.argv[1]), 10**6, Path(sys.argv[2])).fetch(sys.argv[3])
"""


def test_a_worker_killed_while_it_fetches_leaves_nothing_that_is_taken_for_whole(tmp_path):
    store = Store(str(tmp_path / "store"))
    (path, *_) = filled(store)
    arguments = [sys.executable, "-c", KILLED, store.url, str(tmp_path / "cache"), path]
    worker = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    try:
        assert worker.stdout is not None and worker.stdout.readline() == "half\n"
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert list((tmp_path / "cache").rglob("parts/**/0.arrow")) and not list(
        (tmp_path / "cache").rglob("files/**/*.arrow")
    )

    class Copied(Store):
        """The same folder as if it were remote."""

        is_local = property(lambda self: False, lambda self, value: None)  # type: ignore[assignment]

    started = time.monotonic()
    again = NodeCache(Copied(store.url), 10**6, tmp_path / "cache").fetch(path)
    assert again.read_bytes() == bytes(SIZE) and time.monotonic() - started < 30, "the dead worker's lock is free"
