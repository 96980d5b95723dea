"""One digest for a set of source files: notices any change of content, costs only stat calls while nothing changed.

Standard library only. Which files a source has is the source's own business.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

# A file younger than this when hashed may change again within its time stamp's grain, so its hash is not remembered.
_SETTLED_NS = 2 * 10**9


def digest_files(paths: Iterable[str | Path], cache: str | Path | None = None) -> str:
    """sha256 (hex) over the files' names and contents, in the order given.

    Names count from the files' common folder, so moving the whole source changes nothing, and renaming or reordering
    does. `cache` is a JSON file of ours ({path: [size, mtime_ns, sha256]}), made or renewed where needed. Raises
    ValueError where a file is missing.
    """
    files = [os.path.abspath(path) for path in paths]
    if not files:
        return hashlib.sha256().hexdigest()
    known = _read_cache(cache)
    changed = False
    root = os.path.commonpath([os.path.dirname(file) for file in files])
    total = hashlib.sha256()
    for file in files:
        try:
            stat = os.stat(file)
            entry = known.get(file)
            if entry is not None and entry[:2] == [stat.st_size, stat.st_mtime_ns]:
                sha = str(entry[2])
            else:
                sha = _sha256(file)
                if time.time_ns() - stat.st_mtime_ns > _SETTLED_NS:
                    known[file] = [stat.st_size, stat.st_mtime_ns, sha]
                    changed = True
        except OSError as error:
            raise ValueError(f"cannot read the source file {file}: {error.strerror or error}") from error
        name = os.path.relpath(file, root)
        total.update(f"{len(os.fsencode(name))}:".encode() + os.fsencode(name) + bytes.fromhex(sha))
    if cache is not None and changed:
        _write_cache(Path(cache), known)
    return total.hexdigest()


def _sha256(file: str) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_cache(cache: str | Path | None) -> dict[str, list[int | str]]:
    """A cache that is missing or damaged is an empty one: everything is hashed again, the digest is the same."""
    if cache is None:
        return {}
    try:
        content = json.loads(Path(cache).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {k: v for k, v in content.items() if isinstance(v, list) and len(v) == 3 and _is_sha(v[2])}


def _is_sha(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and all(c in "0123456789abcdef" for c in value)


def _write_cache(cache: Path, known: dict[str, list[int | str]]) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    partial = cache.with_name(f".{cache.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(known))
    partial.replace(cache)
