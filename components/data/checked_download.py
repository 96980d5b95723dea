"""One file from an address, kept only if it has the sha256 that it is known by."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from components.data.addresses import shown
from components.data.places import reaching, with_retries

CHUNK = 1 << 20
CONNECT_S, SILENT_S = 30, 60  # to connect, and without a byte; the whole may take as long as it takes


def has_sha256(path: Path, sha256: str) -> bool:
    """True where a file is there and has this content."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except FileNotFoundError:
        return False


def download_checked(address: str, target: Path, sha256: str, limit: int) -> Path:
    """Return `target`, fetched from an `https://` address unless it is there. At most `limit` bytes are kept.

    It gets its name when it is whole and its content is the right one. Processes of a node wait for the one that
    fetches. Raises `places.Unreachable` where the server fails, ValueError where it gives another content.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not has_sha256(target, sha256):
            with_retries(address, lambda: _fetch(address, target, sha256, limit))
    return target


def _fetch(address: str, target: Path, sha256: str, limit: int) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    digest, size = hashlib.sha256(), 0
    try:
        with os.fdopen(handle, "wb") as out, reaching(address), _opened(address) as source:
            while chunk := source.read(CHUNK):
                size += len(chunk)
                if size > limit:
                    raise ValueError(f"{shown(address)} gives more than the {limit:,} bytes of {target.name}")
                digest.update(chunk)
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
        if digest.hexdigest() != sha256:
            raise ValueError(
                f"{shown(address)} gives another {target.name}: {size:,} bytes of sha256 {digest.hexdigest()}, where "
                f"{sha256} is known. Nothing was kept. A proxy may have answered in its place"
            )
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)


def _opened(address: str) -> Any:
    """Open an address as a stream, which servers without range requests give too."""
    from aiohttp import ClientTimeout
    from fsspec.implementations.http import HTTPFileSystem

    patience = ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENT_S)
    fs = HTTPFileSystem(client_kwargs={"trust_env": True, "timeout": patience}, skip_instance_cache=True)
    return fs.open(address, "rb", block_size=0)
