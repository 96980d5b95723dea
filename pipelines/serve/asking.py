"""Pictures of one request, asked of the engine: several at once, a lost replica's again, until a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from ray.exceptions import RayActorError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError

from pipelines.serve.api_errors import ApiError
from pipelines.serve.limits import Limits
from pipelines.serve.metrics import Metrics

# Of a replica that died or was stopped. Nobody waits for a picture that this deployment itself cancelled.
LOST = (RayActorError, ReplicaUnavailableError, TaskCancelledError)


class Maker:
    """Asks the engine for pictures."""

    def __init__(self, engine: Any, limits: Limits, metrics: Metrics) -> None:
        self.call = engine.options(stream=True).picture
        self.limits, self.metrics = limits, metrics
        self.heard = -float("inf")  # when the engine last told something, in seconds of the monotonic clock
        self.last_s = 1.0  # that the last picture took

    async def make(self, rows: list[dict[str, Any]], kind: str) -> AsyncGenerator[tuple[int, dict[str, Any]], None]:
        """Yield (number of the row, what the engine tells of it) for all rows as it comes. ApiError where one fails:
        the others are stopped, as they are when this generator is closed.
        """
        until = time.monotonic() + self.limits.request_s
        told: asyncio.Queue[tuple[int, Any]] = asyncio.Queue(maxsize=2 * len(rows))
        tasks = [asyncio.create_task(self._follow(number, row, told)) for number, row in enumerate(rows)]
        left = len(rows)
        try:
            while left:
                number, news = await asyncio.wait_for(told.get(), until - time.monotonic())
                if isinstance(news, BaseException):
                    raise self._in_words(news) from None
                if news["kind"] == "picture":
                    left -= 1
                    self.last_s = news["seconds"]
                    self.metrics.pictures.labels(kind).inc()
                    self.metrics.batch.observe(news["batch"])
                yield number, news
        except TimeoutError:
            raise ApiError(
                504, f"the pictures were not made within {self.limits.request_s:g} seconds.", code="timeout"
            ) from None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, number: int, row: dict[str, Any], told: asyncio.Queue[tuple[int, Any]]) -> None:
        """Put what the engine tells of a row into `told`, and in the end a picture or an error."""
        began, seen = time.monotonic(), -1
        for attempt in range(self.limits.retries + 1):
            try:
                async with aclosing(self._told(row)) as answers:
                    async for news in answers:
                        self.heard = time.monotonic()
                        if news["kind"] == "preview":
                            if news["index"] <= seen:
                                continue  # a lost replica had shown it
                            seen = news["index"]
                        if news["kind"] == "picture":
                            self.metrics.seconds.observe(time.monotonic() - began)
                        await told.put((number, news))
                return
            except LOST as error:
                if attempt == self.limits.retries:
                    await told.put((number, error))
                    return
                self.metrics.retries.inc()
                await asyncio.sleep(0.2 * 2**attempt)
            except Exception as error:
                await told.put((number, error))
                return

    async def _told(self, row: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Yield what the engine tells of a row; its call is cancelled when nobody listens any longer."""
        answer = self.call.remote(row)
        waiting, ended = self.metrics.queue, False
        waiting.inc()
        try:
            async for news in answer:
                if waiting is self.metrics.queue:
                    waiting.dec()
                    waiting = self.metrics.running
                    waiting.inc()
                yield news
            ended = True
        except Exception:
            ended = True
            raise
        finally:
            waiting.dec()
            if not ended:
                answer.cancel()

    def _in_words(self, error: BaseException) -> ApiError:
        """Return the answer to what the engine raised. Only its words for wrong values reach the client."""
        if isinstance(error, BackPressureError):
            self.metrics.refused.inc()
            return ApiError(
                429,
                f"{self.limits.queued} pictures wait already: try again.",
                code="queue_full",
                retry_s=min(30, max(1, round(self.last_s))),
            )
        if isinstance(error, (*LOST, DeploymentUnavailableError)):
            return ApiError(503, "the copy of the model that made this picture was lost: try again.", retry_s=5)
        if isinstance(error, ValueError):
            cause = error.cause if isinstance(error, RayTaskError) else error
            return ApiError(400, str(cause)[:500], code="invalid_value")
        return ApiError(500, f"the model failed at this picture ({type(error).__name__}).")
