"""What Serve's HTTP proxy takes before the application has a say: it has no limits for that by itself.

Serve calls `install` in the proxy's process where the environment names it (`CALLBACK`).
"""

from __future__ import annotations

import asyncio
import json

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http import auto
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipelines.serve.api_errors import ApiError

CALLBACK = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "pipelines.serve.http_wire:install"}
HEAD_S = 10.0  # that the first line and the headers of a request may take; 64 KB are read of them
MOST_CONNECTIONS = 1024
LOST = ApiError(503, "the process that read this request was lost: try again.", code="not_ready", retry_s=5)
MOST_HELD = 2**30  # bytes of the bodies of all open requests; the application's own limits are lower


class LimitedProtocol(H11Protocol):
    """HTTP/1.1 with limits of connections, and of a head's bytes (h11 has one, httptools has none) and seconds."""

    late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or close it where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.close()
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Read some bytes; a head that is begun has its time."""
        super().data_received(data)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._stop_waiting()

    def _wait_for_head(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()  # the rest is up to the application
        elif self.late is None and self.timeout_keep_alive_task is None:
            self.late = self.loop.call_later(HEAD_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self.late is not None:
            self.late.cancel()
            self.late = None

    def _should_upgrade_to_ws(self) -> bool:
        return False  # there are no web sockets here


class BodyBudget:
    """ASGI middleware: the bodies of all open requests together have at most MOST_HELD bytes.

    The proxy reads a body as fast as it comes, even while the application has no place for its request yet.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; one whose body does not fit is given up, as if its client had left."""
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            self.held += len(message.get("body", b""))
            return {"type": "http.disconnect"} if self.held > MOST_HELD else message

        try:
            await self.app(scope, counted, send)
        finally:
            self.held -= size


class LostFront:
    """ASGI middleware: where the application's process died at a request, Serve's proxy answers 500 without words. The
    client gets the API's error instead, and may ask again.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an answer on; one that is not the application's is replaced. A stream that breaks off gets its error."""
        lost, begun, ended = False, "", False

        async def worded(message: Message) -> None:
            nonlocal lost, begun, ended
            if message["type"] == "http.response.start":
                begun = Headers(raw=[tuple(pair) for pair in message.get("headers", [])]).get("content-type", "none")
                if lost := message["status"] >= 500 and not begun.startswith("application/json"):
                    await LOST.response()(scope, receive, send)
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            if not lost:
                await send(message)

        await self.app(scope, receive, worded)
        if not begun:  # the proxy gave the request up, and says nothing
            await LOST.response()(scope, receive, send)
        elif not ended and not lost and begun.startswith("text/event-stream"):
            event = f"event: error\ndata: {json.dumps({'type': 'error', **LOST.body()})}\n\n"
            await send({"type": "http.response.body", "body": event.encode(), "more_body": False})


def install() -> list[Middleware]:
    """Have the proxy of this process read HTTP by `LimitedProtocol`. Returns its middlewares."""
    auto.AutoHTTPProtocol = LimitedProtocol
    return [Middleware(LostFront), Middleware(BodyBudget)]
