"""What is served, as the engine last said it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from pipelines.serve.api_errors import ApiError

FRESH_S = 1.0  # that a description is used without asking again
FIRST_S = 10.0  # that the first one is waited for


class Description:
    """The engine's description. The engine answers in the order of its queue, so a request waits only for the first
    one; later ones are fetched beside the requests.
    """

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.last: dict[str, Any] | None = None
        self.heard = -float("inf")  # when it came, in seconds of the monotonic clock
        self.asking: asyncio.Task[None] | None = None

    async def now(self) -> dict[str, Any]:
        """Return the description. ApiError 503 where the engine has not answered yet."""
        asking = self._ask() if time.monotonic() - self.heard > FRESH_S else None
        if self.last is None and asking is not None:
            await asyncio.wait([asking], timeout=FIRST_S)
        if self.last is None:
            raise ApiError(503, "the model is not ready yet: try again.", code="not_ready", retry_s=5)
        return self.last

    async def answers(self, within_s: float) -> bool:
        """Whether the engine answers within a time."""
        await asyncio.wait([self._ask()], timeout=within_s)
        return time.monotonic() - self.heard <= within_s

    def _ask(self) -> asyncio.Task[None]:
        if self.asking is None or self.asking.done():
            self.asking = asyncio.create_task(self._fetch())
        return self.asking

    async def _fetch(self) -> None:
        try:
            self.last = await self.engine.describe.remote()
            self.heard = time.monotonic()
        except (RayError, RayServeException):
            await asyncio.sleep(FRESH_S)  # full, or between two replicas: the next request asks again
