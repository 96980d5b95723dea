"""What Serve's HTTP proxy takes of a connection before there is a request: it has no limits for that by itself.

Serve calls `install` in the proxy's process where the environment names it (`CALLBACK`).
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http import auto
from uvicorn.protocols.http.h11_impl import H11Protocol

CALLBACK = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "pipelines.serve.http_wire:install"}
HEAD_S = 10.0  # that the first line and the headers of a request may take; 64 KB are read of them
MOST_CONNECTIONS = 1024


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


def install() -> list[Any]:
    """Have the proxy of this process read HTTP by `LimitedProtocol`. Returns no middlewares."""
    auto.AutoHTTPProtocol = LimitedProtocol
    return []
