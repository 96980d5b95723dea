"""Where each file of a shard of ours lies, so that any of them is read in O(1). Foreign tars go through records.py
first.
"""

from __future__ import annotations

import os
import tarfile
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


class ShardFiles:
    """Open shards, read at any place from any thread."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}

    def read(self, path: str | Path, offset: int, size: int) -> bytes:
        """Return `size` bytes at `offset`. ValueError where the file ends before."""
        name = str(path)
        if name not in self._open:
            self._open[name] = os.open(name, os.O_RDONLY)
        data = os.pread(self._open[name], size, offset)
        if len(data) != size:
            raise ValueError(f"{path} ends within the file at byte {offset}: it was changed after it was indexed")
        return data

    def close(self) -> None:
        """Close every file."""
        for handle in self._open.values():
            os.close(handle)
        self._open = {}
