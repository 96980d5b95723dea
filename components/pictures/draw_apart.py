"""Drawing in a process of its own, with a limit on time and memory: no check of a file can foresee what it costs to
draw.
"""

from __future__ import annotations

import json
import os
import resource
import select
import struct
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np

from components.pictures.draw import DrawingError, draw

SECONDS = 10.0  # that one drawing may take
MEMORY = 2 * 2**30  # bytes of address space
HEAD = struct.Struct("<II")  # lengths of the two parts of a message
ROOT = Path(__file__).resolve().parents[2]


class Drawer:
    """Draws files in a child process, which is replaced where it does not answer in time or dies."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._end()

    def draw(self, data: bytes, suffix: str) -> np.ndarray:
        """Return a file's drawing, RGBA uint8 [size, size, 4]. Raises DrawingError."""
        if self._child is None:
            arguments = [sys.executable, "-m", "components.pictures.draw_apart", str(self.size)]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            self._child = subprocess.Popen(
                arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
            )
            self._answer(60.0)  # it says that it is there
        assert self._child.stdin is not None
        _send(self._child.stdin, suffix.encode(), data)
        reason, found = self._answer(SECONDS)
        if reason:
            raise DrawingError(reason.decode(), found.decode("utf-8", "replace"))
        return np.frombuffer(found, np.uint8).reshape(self.size, self.size, 4)

    def _answer(self, seconds: float) -> tuple[bytes, bytes]:
        assert self._child is not None and self._child.stdout is not None
        ready, _, _ = select.select([self._child.stdout], [], [], seconds)
        found = _receive(self._child.stdout) if ready else None
        if found is None:
            self._end()
            what = "its drawing ended the process" if ready else f"it took longer than {seconds:g} s to draw"
            raise DrawingError("too_costly", f"{what}, which may use {MEMORY // 2**30} GiB")
        return found

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None


def _send(stream: IO[bytes], first: bytes, second: bytes) -> None:
    stream.write(HEAD.pack(len(first), len(second)) + first + second)
    stream.flush()


def _receive(stream: IO[bytes]) -> tuple[bytes, bytes] | None:
    """Return a message's two parts; None where the other side is gone."""
    head = stream.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    first, second = HEAD.unpack(head)
    body = stream.read(first + second)
    return (body[:first], body[first:]) if len(body) == first + second else None


def main() -> None:
    """Draw what stdin asks for until it ends: (suffix, file) in, ("", pixels) or (reason, words) out."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    size = int(sys.argv[1])
    _send(sys.stdout.buffer, b"", json.dumps({"size": size}).encode())
    while (asked := _receive(sys.stdin.buffer)) is not None:
        try:
            _send(sys.stdout.buffer, b"", draw(asked[1], asked[0].decode(), size).tobytes())
        except DrawingError as error:
            _send(sys.stdout.buffer, error.reason.encode(), str(error).encode())


if __name__ == "__main__":
    main()
