"""Where each file of a shard of ours lies, so that any of them is read in O(1). Foreign tars go through records.py
first.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from components.data.names import split_name


@dataclass(frozen=True)
class IndexedSample:
    """One sample of a tar: `parts` maps an extension to (offset, size) in bytes."""

    key: str
    parts: dict[str, tuple[int, int]]


def index_shard(path: str | Path) -> list[IndexedSample]:
    """Samples of a tar that `write_records` wrote, in its order. ValueError for any other file."""
    samples: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                key, extension = split_name(member.name)
                samples.setdefault(key, {})[extension] = (member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        raise ValueError(f"{path} is no shard that can be indexed: {error}") from error
    return [IndexedSample(key, parts) for key, parts in samples.items()]


def digest_of(data: bytes) -> int:
    """The first 64 bits of the sha256 of a file's bytes, signed: what an index says of a file that is read alone."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big", signed=True)


class _OpenFile:
    """A file descriptor that is closed when nobody holds it any more."""

    def __init__(self, path: str | Path) -> None:
        self.handle = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            os.close(self.handle)


class ShardFiles:
    """Shards read at any place from any thread; at most `kept` of them stay open. `fetch` gives the local path of
    one.
    """

    def __init__(self, fetch: Callable[[str], Path], kept: int = 256) -> None:
        self._open = functools.lru_cache(kept)(lambda shard: _OpenFile(fetch(shard)))

    def read(self, shard: str, offset: int, size: int) -> bytes:
        """Return `size` bytes at `offset`. ValueError where the file ends before."""
        opened = self._open(shard)  # held while it is read: another thread may push it out meanwhile
        data = os.pread(opened.handle, size, offset)
        if len(data) != size:
            raise ValueError(f"{shard} ends within the file at byte {offset}: it was changed after it was indexed")
        return data
