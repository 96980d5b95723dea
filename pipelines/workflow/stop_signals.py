"""Ctrl-C and SIGTERM during a run: noted when they come, acted on between two steps of the driver."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from pipelines.errors import Interrupted


class StopSignals:
    """For the length of a block, Ctrl-C and SIGTERM are noted; `check` then raises `Interrupted` in the main thread.

    Raising from the handler itself would tear through Ray's own code, which does not expect it.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._caught: int | None = None
        self._count = 0

    def __enter__(self) -> None:
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self.install()

    def install(self) -> None:
        """Put our handlers in place."""
        for number in self._before:
            signal.signal(number, self._handle)

    def check(self) -> None:
        """Raise where a signal has come."""
        if self._caught is not None:
            raise Interrupted(self._caught)

    @contextlib.contextmanager
    def again(self) -> Iterator[Callable[[], bool]]:
        """For the length of a block, tell whether one more signal has come."""
        before, count = self._count, {number: signal.getsignal(number) for number in self._before}
        self.install()
        try:
            yield lambda: self._count > before
        finally:
            for number, handler in count.items():
                signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        self._caught = number
        self._count += 1

    def __exit__(self, *_: object) -> None:
        # Until the run is in order again, a second signal must not tear it.
        for number in self._before:
            signal.signal(number, signal.SIG_IGN if self._caught else self._before[number])
