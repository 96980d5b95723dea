"""What is checked of every HTTP request before and while its body is read; and one line of the log for each."""

from __future__ import annotations

import asyncio
import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.errors import places
from pipelines.serve.api_errors import ApiError
from pipelines.serve.limits import Limits
from pipelines.serve.metrics import Metrics

log = logging.getLogger("ray.serve")
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class HttpLimits:
    """ASGI middleware: limits of bodies (bytes, seconds, and bytes of all that are being read), no compressed bodies,
    no requests of other sites' pages, security headers, metrics, the log.
    """

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics) -> None:
        self.app, self.limits, self.metrics = app, limits, metrics
        self.held = 0  # bytes of the bodies of all open requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request by the application, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self.app(scope, receive, send)
            return
        began, status, size = time.monotonic(), 0, 0
        deadline = asyncio.get_running_loop().time() + self.limits.body_s
        whole = False

        async def limited() -> Message:
            nonlocal size, whole
            if whole:
                return await receive()  # waits for the client to leave
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise ApiError(408, f"the body did not come within {self.limits.body_s:g} seconds.") from None
            size += len(message.get("body", b""))
            self.held += len(message.get("body", b""))
            if size > self.limits.body_bytes:
                raise self._too_large()
            if self.held > self.limits.held_bytes:
                raise ApiError(429, "too many large requests at the same time: try again.", retry_s=5)
            whole = not message.get("more_body", False)
            return message

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            try:
                self._check_body(Headers(scope=scope))
                if scope["method"] != "GET":
                    self._check_origin(Headers(scope=scope))
                await self.app(scope, limited, noted)
            except ClientDisconnect:
                pass
            except Exception as error:
                if not isinstance(error, ApiError):
                    # The error's own text may hold some of the request's: the log gets its kind and places alone.
                    log.error("%s at\n%s", type(error).__name__, places(error))
                    error = ApiError(500, "the service failed at this request; its log says where.")
                if not status:
                    await error.response()(scope, receive, noted)
        finally:
            self.held -= size
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, str(status or 499)).inc()
            log.info("%s %s %d %.2f s", scope["method"][:16], route, status or 499, time.monotonic() - began)

    def _check_body(self, headers: Headers) -> None:
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise ApiError(415, "compressed bodies are not read: send it without Content-Encoding.")
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or len(length) > 18 or int(length) > self.limits.body_bytes:
            raise self._too_large()

    def _check_origin(self, headers: Headers) -> None:
        """Refuse what the page of another site sends through its reader's browser."""
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        own = site in ("same-origin", "none") if site else origin in (None, *_origins(headers.get("host", "")))
        if not own:
            raise ApiError(403, "pages of other sites may not use this service.")

    def _too_large(self) -> ApiError:
        return ApiError(413, f"the body is larger than {self.limits.body_bytes:,} bytes, which is the limit.")


def _origins(host: str) -> tuple[str, str]:
    return f"http://{host}", f"https://{host}"
