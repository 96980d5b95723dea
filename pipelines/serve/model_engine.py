"""The deployment that holds the model: pictures of all who wait are made in batches, in a thread of their own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray import serve

from pipelines.errors import places
from pipelines.serve.limits import Limits
from pipelines.serve.loopback import replica_on_loopback
from pipelines.serve.making import Job, Told, groups, make, read_job
from pipelines.serve.version import Serving
from pipelines.serve.watch import Watch

log = logging.getLogger("ray.serve")
TOGETHER: Any = serve.batch()  # its types know no generators
MOST_FAILURES = 3  # batches that fail one after another before the replica is started anew


@serve.deployment
class Engine:
    """One copy of the model."""

    def __init__(self, model: str, store: str, limits: Limits) -> None:
        import torch

        replica_on_loopback()
        logging.getLogger("components.generator.pipeline").setLevel(logging.ERROR)  # it warns with a prompt's words
        torch.set_num_threads(max(1, int(limits.cpus or 1)))
        self.limits = limits
        self._torch = ThreadPoolExecutor(1, "torch")  # one batch at a time; the replica's loop answers meanwhile
        self._reading = ThreadPoolExecutor(1, "pictures")
        self.watch = Watch(model, store, self._torch)
        self._following = asyncio.get_running_loop().create_task(self.watch.follow(limits.poll_s))
        self._failures = 0
        # While a batch is made, the pictures that come wait here, and all of them join the next one. Serve's own queue
        # would divide them into batches as they come.
        self._places = asyncio.Semaphore(limits.batch)
        self._idle = asyncio.Event()
        self._idle.set()
        self._batch.set_max_batch_size(limits.batch)
        self._batch.set_batch_wait_timeout_s(limits.batch_wait_s)

    async def describe(self) -> dict[str, Any]:
        """Return what is served now, and under "watch" how the last look at its alias ended."""
        return {**self.watch.serving.facts, "watch": self.watch.state}

    async def check(self) -> dict[str, Any]:
        """Look at the alias now, and open what it means. Returns `describe()["watch"]`."""
        return await self.watch.look()

    async def card_picture(self, name: str) -> bytes | None:
        """Return a PNG that lies beside the model's card; None where there is none."""
        return self.watch.serving.card_picture(name)

    async def check_health(self) -> None:
        """Asked by Serve again and again, which starts the replica anew where this raises."""
        if self._failures >= MOST_FAILURES:
            raise RuntimeError(f"the last {self._failures} batches failed")

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

    @TOGETHER
    async def _batch(self, jobs: list[Job]) -> AsyncIterator[list[Any]]:
        """Yield what each job is told, None where it is nothing, and StopIteration once it has its picture."""
        self._idle.clear()
        serving = self.watch.serving
        try:
            for group in groups(serving, jobs):
                async for told in self._made(serving, group):
                    yield [told.get(job) for job in jobs]
                yield [StopIteration if job in group else None for job in jobs]
        finally:
            self._idle.set()

    async def _made(self, serving: Serving, group: list[Job]) -> AsyncIterator[Told]:
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[Told | None]()

        def tell(told: Told) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, told)

        done = loop.run_in_executor(self._torch, make, serving, group, tell)
        done.add_done_callback(lambda _: queue.put_nowait(None))
        while (told := await queue.get()) is not None:
            failure = next((news for news in told.values() if isinstance(news, RuntimeError)), None)
            self._failures = self._failures + 1 if failure else 0
            if failure:
                log.error("a batch failed at\n%s", places(failure))
            yield told
        await done
