"""Content digests of source files, remembered by size and time, so that an unchanged source costs only a look at each file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

CHUNK = 1 << 20


def digest_files(paths: Iterable[Path], root: Path, known: dict[str, list[object]]) -> str:
    """Return the sha256 over the paths (relative to `root`) and contents of local files.

    `known` maps a path to [size, mtime_ns, sha256] and is updated: a file of the same size and time is not read again.
    Raises ValueError where there is no file, or one cannot be read.
    """
    digest = hashlib.sha256()
    listed = sorted(set(paths))
    if not listed:
        raise ValueError(f"{root}: no files were found there")
    for path in listed:
        try:
            stat = path.stat()
            before = known.get(str(path))
            if before is None or before[:2] != [stat.st_size, stat.st_mtime_ns]:
                known[str(path)] = [stat.st_size, stat.st_mtime_ns, _sha256(path)]
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from None
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        digest.update(json.dumps([name, known[str(path)][2]]).encode())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
