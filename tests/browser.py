"""Headless Chromium for tests that look at pages as a person does, driven over its debugging port."""

from __future__ import annotations

import asyncio
import base64
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


class Tab:
    """One tab. What its page asks of the network and what it complains of is kept in `requested` and `complaints`."""

    def __init__(self, address: str, target: str, loop: asyncio.AbstractEventLoop) -> None:
        self.target, self._address, self._loop = target, address, loop
        self._numbers, self.requested, self.complaints = itertools.count(1), list[str](), list[str]()
        loop.run_until_complete(self._attach())
        for domain in ("Network", "Log", "Runtime", "Page"):
            self.call(f"{domain}.enable")

    async def _attach(self) -> None:
        self._session = aiohttp.ClientSession()
        at = f"ws://{self._address}/devtools/page/{self.target}"
        self._socket = await self._session.ws_connect(at, max_msg_size=0)

    async def _asked(
        self, socket: aiohttp.ClientWebSocketResponse, method: str, params: dict[str, Any]
    ) -> dict[str, Any]:
        number = next(self._numbers)
        await socket.send_json({"id": number, "method": method, "params": params})
        while True:
            answer = json.loads((await socket.receive()).data)
            if answer.get("id") == number:
                return dict(answer.get("result", {}))
            self._note(answer.get("method", ""), answer.get("params", {}))

    def _note(self, event: str, told: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requested.append(told["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif event == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif event == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
            self.complaints.append(str([part.get("value", part.get("description")) for part in told["args"]]))

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of Chromium's debugging protocol."""
        return self._loop.run_until_complete(self._asked(self._socket, method, params))

    def open(self, url: str) -> None:
        """Go to an address, from an empty page: an address that differs in what follows `#` alone loads nothing."""
        for address in ("about:blank", url):
            self.call("Page.navigate", url=address)

    def ask(self, script: str) -> Any:
        """Return what a JavaScript expression is on the page; None where it fails."""
        told = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        return told.get("result", {}).get("value")

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

    def press(self, key: str, text: str = "", modifiers: int = 0) -> None:
        """Press a key, as a keyboard does; `text` is what it writes, `modifiers` are 1 Alt, 2 Ctrl, 4 Meta, 8 Shift."""
        code = {"Enter": 13, "Escape": 27, "Tab": 9, "ArrowLeft": 37, "ArrowRight": 39}.get(key, ord(key[0].upper()))
        told = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **told)
        self.call("Input.dispatchKeyEvent", type="keyUp", **told)

    def write(self, text: str) -> None:
        """Write into what has the focus."""
        self.call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Click the middle of the first element of a selector, where a pointer would meet it."""
        found = json.dumps(selector)
        at = self.until(
            f"(e => {{ if (!e || e.disabled) return null; e.scrollIntoView({{block: 'center', behavior: 'instant'}}); "
            f"const r = e.getBoundingClientRect(); return r.width && [r.x + r.width / 2, r.y + r.height / 2] }})"
            f"(document.querySelector({found}))"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            pressed = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], **pressed)

    def size(self, width: int, height: int, *, dark: bool = False, scale: float = 1.0) -> None:
        """Give the page a size in CSS pixels, pixels of the screen for each, and a light or dark scheme."""
        phone = width < 500
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self) -> bytes:
        """Return what is seen of the page, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        """Let go of the tab."""
        with contextlib.suppress(aiohttp.ClientError):
            self._loop.run_until_complete(self._session.close())


class Browser(Tab):
    """A browser with one tab, which this is, and others. Use it as a context manager: it ends with the block."""

    def __init__(self, profile: Path) -> None:
        self._profile, self._tabs = profile, list[Tab]()

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
        number, path = port.read_text().split()
        loop, address = asyncio.new_event_loop(), f"127.0.0.1:{number}"
        self._whole = f"ws://{address}{path}"  # what speaks for the browser, not for a tab
        first = next(tab for tab in loop.run_until_complete(self._targets(address)) if tab["type"] == "page")
        super().__init__(address, first["id"], loop)
        return self

    @staticmethod
    async def _targets(address: str) -> list[dict[str, Any]]:
        async with aiohttp.ClientSession() as session, session.get(f"http://{address}/json") as answer:
            return list(await answer.json())

    def another(self) -> Tab:
        """Return a tab of another person: it shares no cookies and no storage with the others."""

        async def made() -> str:
            async with aiohttp.ClientSession() as session, session.ws_connect(self._whole) as socket:
                context = await self._asked(socket, "Target.createBrowserContext", {})
                told = {"url": "about:blank", "browserContextId": context["browserContextId"]}
                return str((await self._asked(socket, "Target.createTarget", told))["targetId"])

        self._tabs.append(Tab(self._address, self._loop.run_until_complete(made()), self._loop))
        return self._tabs[-1]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for tab in (*self._tabs, self):
            tab.close()
        self._loop.close()
        self._process.terminate()
        self._process.wait(20)
