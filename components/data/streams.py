"""Shards read as they come, from a path, a server or a command, through webdataset's own `gopen`.

gopen's table says how a scheme is opened. Its entries for `http(s)://` (curl) and `pipe:` (a shell) are kept, and ours
stand for the others: its entry for `hf://` writes the token into a command line that every user of the machine can
read, that for `gs://` needs gsutil, and for `s3://` there is none. What gopen leaves open is checked here: an address
cannot end curl's quotes, a transfer that stands still ends, and one that ends early is an error, never a shorter shard.
"""

from __future__ import annotations

import contextlib
import select
from typing import Any, BinaryIO

from components.data.addresses import is_pipe, is_remote, local_path, shown
from components.data.places import Unreachable, file_system, reaching

STALL_S = 120.0  # a transfer that brings nothing for so long is over
_CHUNK = 2**16
_OF_FSSPEC = ("hf", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory")
_CURL = {
    6: "the host is not known",
    7: "the host does not answer",
    18: "the transfer broke off",
    22: "the server answered with an error",
    127: "curl is not installed",
}


def open_shard(place: str, size: int | None = None) -> BinaryIO:
    """Open a shard to read it forwards. `size`: the bytes that its server says it has.

    Raises ValueError where there is no such file, Unreachable (then, or by `read`) where a transfer fails.
    """
    if not is_remote(place):
        try:
            return open(local_path(place), "rb")
        except FileNotFoundError:
            raise ValueError(f"no shard at {local_path(place)}; give the path of a .tar file") from None
    return ShardStream(place, size)  # type: ignore[return-value]


class ShardStream:
    """A shard from elsewhere. A transfer that fails, stands still, or ends before `size` raises Unreachable."""

    def __init__(self, place: str, size: int | None = None) -> None:
        self.place, self.size, self.taken = place, size, 0
        with reaching(place):
            self._stream = _gopen(place)
        self._process: Any = getattr(self._stream, "proc", None)  # of gopen's Pipe
        self._over = False

    def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes, fewer only at the end."""
        wanted = size if size >= 0 else 2**62
        if self._over:
            return b""
        with reaching(self.place):
            data = self._read_pipe(wanted) if self._process else bytes(self._stream.read(size))
        self.taken += len(data)
        if len(data) < wanted:
            self._end()
        return data

    def _read_pipe(self, wanted: int) -> bytes:
        parts: list[bytes] = []
        out = self._stream.stream
        while wanted > 0:
            if not select.select([out], [], [], STALL_S)[0]:
                self._process.kill()
                raise Unreachable(f"{shown(self.place)} brought nothing for {STALL_S:.0f} s")
            part = out.read(min(wanted, _CHUNK))
            if not part:
                break
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)

    def _end(self) -> None:
        """What was read was all there is: say so only where the transfer says so, too."""
        self._over = True
        try:
            self._stream.close()
        except OSError:
            status = int(getattr(self._stream, "status", None) or 0)
            what = "the command" if is_pipe(self.place) else f"curl ({_CURL.get(status, 'see its manual')})"
            raise Unreachable(f"{shown(self.place)}: {what} ended with status {status}") from None
        if self.size is not None and self.taken != self.size:
            raise Unreachable(
                f"{shown(self.place)} ended at byte {self.taken} of {self.size}, or was changed while it was read"
            )

    def seekable(self) -> bool:
        """False: it is read forwards."""
        return False

    def close(self) -> None:
        """Close it, at any point: what a command says of being left early does not matter."""
        with contextlib.suppress(OSError):
            self._stream.close()

    def __enter__(self) -> ShardStream:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and not self._over:
            self._process.kill()
        self.close()


def _gopen(place: str) -> Any:
    # Imported here: with it comes torch, 1.5 s and 200 MB for each worker that reads from elsewhere.
    from webdataset.gopen import gopen, gopen_schemes

    for scheme in _OF_FSSPEC:
        gopen_schemes[scheme] = _open_by_fsspec
    if is_pipe(place):
        return gopen(place, "rb", bufsize=0)
    if place.lower().startswith(("http://", "https://")):
        return gopen(place.replace("'", "%27"), "rb", bufsize=0)
    return gopen(place)


def _open_by_fsspec(url: str, mode: str = "rb", bufsize: int = 8192, **_: Any) -> Any:
    fs, path = file_system(url)
    return fs.open(path, mode)
