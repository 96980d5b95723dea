"""Answers to requests for pictures: JSON, or a stream of events."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from pipelines.serve import images_api as api
from pipelines.serve.api_errors import ApiError
from pipelines.serve.asking import Maker
from pipelines.serve.description import Description
from pipelines.serve.limits import Limits
from pipelines.serve.metrics import Metrics

log = logging.getLogger("ray.serve")


class Service:
    """What the routes share: the engine, its description, and the making of pictures."""

    def __init__(self, engine: Any, limits: Limits, metrics: Metrics) -> None:
        self.engine, self.limits = engine, limits
        self.maker = Maker(engine, limits, metrics)
        self.description = Description(engine)
        self.pictures: dict[tuple[str, str], bytes] = {}  # of the card, by version and name
        self.checks: set[asyncio.Task[None]] = set()

    async def answer(self, asked: api.Generation, image: bytes | None, request: Request) -> Response:
        """Return the answer to a request that was read: JSON, or a stream of events."""
        about = await self.description.now()
        api.check_served(asked, about)
        seed = secrets.randbelow(2**31) if asked.seed is None else asked.seed
        if self.limits.log_prompts:
            log.info("seed %d, %d pictures: %r", seed, asked.n, asked.prompt)
        rows = api.rows_of(asked, image, seed, request.headers.get("x-request-id", secrets.token_hex(8))[:64])
        made = self.maker.make(rows, "generation" if image is None else "edit")
        if not asked.stream:
            pictures: dict[int, dict[str, Any]] = {}
            async with aclosing(made):
                async for number, told in made:
                    if told["kind"] == "picture":
                        pictures[number] = told
            return JSONResponse(api.answer([pictures[number] for number in range(asked.n)], about["side"]))
        try:
            first = await anext(made)  # an error of the first moments has its own status
        except BaseException:
            await made.aclose()
            raise
        prefix = "image_generation" if image is None else "image_edit"

        async def lines() -> AsyncGenerator[str, None]:
            try:
                yield _line(api.event(prefix, *first, about["side"]), asked.progress)
                async for number, told in made:
                    yield _line(api.event(prefix, number, told, about["side"]), asked.progress)
            except ApiError as error:
                yield f"event: error\ndata: {json.dumps({'type': 'error', **error.body()})}\n\n"

        return EventStream(lines(), made)

    async def card_picture(self, name: str) -> bytes | None:
        """Return a picture beside the served version's card, None where there is none of this name."""
        served = (await self.description.now())["id"]
        if (served, name) not in self.pictures:
            try:
                data = await self.engine.card_picture.remote(name)
            except (RayError, RayServeException):
                raise ApiError(503, "the model has no time for it: try again.", retry_s=5) from None
            if data is None:
                return None
            self.pictures = {key: kept for key, kept in self.pictures.items() if key[0] == served}
            self.pictures[served, name] = data
        return self.pictures[served, name]

    async def check(self) -> None:
        """Have all copies look at the alias now. Where one cannot, it sees it when it looks by itself."""
        try:
            await self.engine.broadcast("check").results_async()
        except Exception as error:
            log.warning("the alias is looked at later: %s", type(error).__name__)


def _line(event: dict[str, Any], progress: bool) -> str:
    if event["type"].endswith(".progress") and not progress:
        return ": step\n\n"  # a comment of the stream: it keeps the connection
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"


class EventStream(StreamingResponse):
    """Server-sent events; the pictures are stopped however the answer ends."""

    def __init__(self, lines: AsyncGenerator[str, None], made: AsyncGenerator[Any, None]) -> None:
        super().__init__(lines, media_type="text/event-stream")
        self.lines, self.made = lines, made

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.lines.aclose()
            await self.made.aclose()
