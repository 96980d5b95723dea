"""Answers of real servers: those that look at the agent's name, set a cookie and redirect, or compress unasked."""

from __future__ import annotations

import gzip
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from components.data.network_guard import Fetcher
from components.data.options import DownloadOptions
from components.data.web_rules import FetchError

pytestmark = pytest.mark.integration
BODY = b"a picture" * 50


class Answers(BaseHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        code, body, headers = 200, BODY, {}
        agent = self.headers["User-Agent"]
        if self.path == "/agent" and ("Mozilla" in agent or "img2dataset" in agent or not agent.startswith("pixsem/")):
            code, body = 403, b""
        elif self.path == "/cookie" and "seen=1" not in (self.headers.get("Cookie") or ""):
            code, body, headers = 302, b"", {"Location": "/cookie", "Set-Cookie": "seen=1"}
        elif self.path in ("/gzip", "/cut", "/bomb"):
            packed = gzip.compress(bytes(10**7) if self.path == "/bomb" else BODY)
            body, headers = packed[:-20] if self.path == "/cut" else packed, {"Content-Encoding": "gzip"}
        elif self.path == "/other":
            headers = {"Content-Encoding": "br"}
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def fetch(url: str) -> bytes:
    options = DownloadOptions(timeout_s=5, allow_private_networks=True, max_bytes=10**6)
    # as img2dataset asks
    request = urllib.request.Request(url, headers={"User-Agent": "Mozilla/5.0 (compatible; +img2dataset)"})
    return Fetcher(options).open(request).read()


@pytest.mark.parametrize("path", ["/agent", "/cookie", "/gzip"])
def test_a_picture_is_got_whatever_the_server_wants_first(address: str, path: str) -> None:
    assert fetch(address + path) == BODY


@pytest.mark.parametrize(
    ("path", "reason"), [("/cut", "incomplete_body"), ("/bomb", "too_large"), ("/other", "bad_answer")]
)
def test_what_cannot_be_unpacked_has_a_reason(address: str, path: str, reason: str) -> None:
    with pytest.raises(FetchError) as caught:
        fetch(address + path)
    assert caught.value.reason == reason


def test_a_proxy_that_is_not_used_is_named_where_a_connection_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    with pytest.raises(FetchError, match="HTTPS_PROXY is set") as caught:
        fetch("http://127.0.0.1:9/x.jpg")
    assert caught.value.reason == "connection_failed"
