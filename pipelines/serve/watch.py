"""Following an alias: a new version is opened and tried beside the one that answers, then takes its place."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import Executor
from typing import Any

from pipelines.errors import one_line
from pipelines.serve.making import warm_up
from pipelines.serve.version import open_serving
from pipelines.tracking.open_version import Opened, open_version

LOG = logging.getLogger("ray.serve")


class Watch:
    """What one replica serves.

    `serving` answers until a new version has answered a warm-up. `state` tells when the alias was last looked at, and
    why a new version, if there is one, does not answer.
    """

    def __init__(self, model: str, store: str, torch: Executor) -> None:
        """Open what `model` means now; `torch` is where pictures are made. ValueError, in words, where it cannot be."""
        self.model, self.store = model, store
        self._torch, self._looking = torch, asyncio.Lock()
        self._refused: tuple[str, str] | None = None
        opened = open_version(model, store)
        self.serving = open_serving(opened)
        warm_up(self.serving)
        self._served = _identity(opened)
        self.state: dict[str, Any] = {"checked": int(time.time()), "refused": ""}

    async def follow(self, poll_s: float) -> None:
        """Look at the alias again and again. A folder and a version by its number stay what they are."""
        while "@" in self.model:
            await asyncio.sleep(poll_s)
            await self.look(again=False)

    async def look(self, again: bool = True) -> dict[str, Any]:
        """Look at the alias, and return `state`. `again`: try a version that was refused once more."""
        async with self._looking:
            try:
                await self._look(again)
            except Exception as error:  # whatever is wrong with the new one, the old one answers
                self._refuse(one_line(error))
            self.state = {**self.state, "checked": int(time.time())}
            return self.state

    async def _look(self, again: bool) -> None:
        loop = asyncio.get_running_loop()
        opened = await loop.run_in_executor(None, open_version, self.model, self.store)
        identity = _identity(opened)
        if identity == self._served:
            self._refused, self.state = None, {**self.state, "refused": ""}
        elif again or identity != self._refused:
            self._refused = identity
            try:
                fresh = await loop.run_in_executor(None, open_serving, opened)
                await loop.run_in_executor(self._torch, warm_up, fresh)
            except Exception as error:
                raise ValueError(f"{opened.id} is refused: {one_line(error)}") from error
            self.serving, self._served, self._refused = fresh, identity, None
            self.state = {**self.state, "refused": ""}
            LOG.info("%s answers now", opened.id)

    def _refuse(self, reason: str) -> None:
        if reason != self.state["refused"]:
            LOG.warning("%s still answers: %s", self.serving.facts["id"], reason)
        self.state = {**self.state, "refused": reason}


def _identity(opened: Opened) -> tuple[str, str]:
    return opened.id, opened.digest
