"""Headless Chromium for tests that look at pages as a person does, driven over its debugging port."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium; on Debian: apt-get install chromium"
)
PATIENCE = 90.0  # seconds for a page to show what is asked for


class Browser:
    """One tab. Use it as a context manager: the browser ends with the block."""

    def __init__(self, profile: Path) -> None:
        self._profile, self._loop, self._numbers = profile, asyncio.new_event_loop(), itertools.count(1)

    def __enter__(self) -> Browser:
        command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                   "--remote-debugging-port=0", f"--user-data-dir={self._profile}", "--window-size=1400,3000",
                   "about:blank"]  # fmt: skip
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        port = self._profile / "DevToolsActivePort"
        end = time.monotonic() + PATIENCE
        while not (port.exists() and len(port.read_text().split()) > 1):
            assert time.monotonic() < end and self._process.poll() is None, "Chromium did not start"
            time.sleep(0.1)
        self._loop.run_until_complete(self._attach(port.read_text().split()[0]))
        return self

    async def _attach(self, port: str) -> None:
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json") as answer:
            tabs = await answer.json()
        tab = next(tab for tab in tabs if tab["type"] == "page")
        self._socket = await self._session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(aiohttp.ClientError):
            self._loop.run_until_complete(self._session.close())
        self._loop.close()
        self._process.terminate()
        self._process.wait(20)

    async def _call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            answer = json.loads((await self._socket.receive()).data)
            if answer.get("id") == number:
                return dict(answer.get("result", {}))

    def open(self, url: str) -> None:
        """Go to an address, from an empty page: an address that differs in what follows `#` alone loads nothing."""
        for address in ("about:blank", url):
            self._loop.run_until_complete(self._call("Page.navigate", url=address))

    def ask(self, script: str) -> Any:
        """Return what a JavaScript expression is on the page; None where it fails."""
        call = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return self._loop.run_until_complete(call).get("result", {}).get("value")

    def until(self, script: str) -> Any:
        """Wait until an expression is true on the page, and return it."""
        end = time.monotonic() + PATIENCE
        while not (found := self.ask(script)):
            assert time.monotonic() < end, f"{script} was never true on {self.ask('location.href')}:\n{self.text()}"
            time.sleep(0.2)
        return found

    def text(self, wanted: str = "") -> str:
        """Return the page's text, once it holds what is wanted."""
        return str(self.until(f"document.body.innerText.includes({json.dumps(wanted)}) && document.body.innerText")
                   if wanted else self.ask("document.body.innerText"))  # fmt: skip
