"""The deployment that holds the model: pictures of all who wait are made in batches, in a thread of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray import serve

from pipelines.serve.limits import Limits
from pipelines.serve.making import Job, Told, groups, make, read_job
from pipelines.serve.version import Serving, open_serving
from pipelines.tracking.open_version import open_version


@serve.deployment
class Engine:
    """One copy of the model."""

    def __init__(self, model: str, store: str, limits: Limits) -> None:
        self.limits = limits
        self.serving: Serving = open_serving(open_version(model, store))
        self.watch: dict[str, Any] = {"checked": self.serving.facts["opened"], "refused": ""}
        self._torch = ThreadPoolExecutor(1, "torch")  # one batch at a time; the replica's loop answers meanwhile
        self._reading = ThreadPoolExecutor(1, "pictures")
        # While a batch is made, the pictures that come wait here, and all of them join the next one. Serve's own queue
        # would divide them into batches as they come.
        self._places = asyncio.Semaphore(limits.batch)
        self._idle = asyncio.Event()
        self._idle.set()
        self._batch.set_max_batch_size(limits.batch)
        self._batch.set_batch_wait_timeout_s(limits.batch_wait_s)

    async def describe(self) -> dict[str, Any]:
        """Return what is served now (a plain dict), and how the last look at its alias ended."""
        return {**self.serving.facts, "watch": self.watch}

    async def check(self) -> dict[str, Any]:
        """Look at the alias now. Returns `describe()["watch"]`."""
        return self.watch

    async def picture(self, row: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Make one picture: yields dicts of kind progress, preview and, at the end, picture. ValueError, in words, for
        a row that asks for none.
        """
        loop = asyncio.get_running_loop()
        job = await loop.run_in_executor(self._reading, read_job, row, self.limits.previews)
        try:
            async with self._places:
                await self._idle.wait()
                async for told in self._batch(job):
                    if isinstance(told, Exception):
                        raise told
                    if told is not None:
                        yield told
        finally:
            job.gone = True  # what is still being made for nobody stops at its next step

    @serve.batch()
    async def _batch(self, jobs: list[Job]) -> AsyncIterator[list[Any]]:
        """Yield what each job is told, None where it is nothing, and StopIteration once it has its picture."""
        self._idle.clear()
        try:
            for group in groups(self.serving, jobs):
                async for told in self._made(self.serving, group):
                    yield [told.get(job) for job in jobs]
                yield [StopIteration if job in group else None for job in jobs]
        finally:
            self._idle.set()

    async def _made(self, serving: Serving, group: list[Job]) -> AsyncIterator[Told]:
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[Told | None]()
        done = loop.run_in_executor(
            self._torch, make, serving, group, lambda told: loop.call_soon_threadsafe(queue.put_nowait, told)
        )
        done.add_done_callback(lambda _: queue.put_nowait(None))
        while (told := await queue.get()) is not None:
            yield told
        await done
