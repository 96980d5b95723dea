"""Reading ahead: the next batches are decoded in a thread while a model works on this one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

AHEAD = 4  # decoded batches that may wait for the model
Item = TypeVar("Item")


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the items of an iterator that runs in a thread of its own, a few of them ahead."""
    waiting: queue.Queue[Any] = queue.Queue(AHEAD)
    end = object()

    def fill() -> None:
        try:
            for item in items:
                waiting.put(item)
            waiting.put(end)
        except BaseException as error:  # raised again below, where it is waited for
            waiting.put(error)

    threading.Thread(target=fill, daemon=True).start()
    while (item := waiting.get()) is not end:
        if isinstance(item, BaseException):
            raise item
        yield item
