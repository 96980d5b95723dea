"""An S3-compatible store on 127.0.0.1 (moto's), and before it a proxy that behaves as such stores do on a bad day."""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree

BUCKET = "pixsem-chaos"
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server", "expect"}
INTERNAL = (
    b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>We made that up. Try again.</Message></Error>"
)


@dataclass
class Faults:
    """How often, as shares of all requests, and how long in seconds."""

    errors: float = 0.0  # answered with 500
    dropped: float = 0.0  # the connection closed: half of them after the request was carried out
    slow: float = 0.0
    slow_seconds: float = 0.5
    late_seconds: float = 0.0  # that a new key is missing in listings
    gone: bool = False  # every connection is closed
    bandwidth: float = 0.0  # bytes a second that all answers share; 0: no limit

    def none(self) -> None:
        """From now on all is well."""
        self.__init__()  # type: ignore[misc]


class FaultyS3:
    """The proxy; `faults` may be changed while it serves, `counts` says how often each was dealt."""

    def __init__(self, host: str, port: int, seed: int = 0) -> None:
        self.upstream = (host, port)
        self.faults = Faults()
        self.counts: Counter[str] = Counter()
        self._draw = random.Random(seed)
        self._lock = threading.Lock()
        self._made: dict[str, float] = {}
        self._line_free = 0.0
        proxy = self

        class Handler(_Handler):
            serving = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, name="faulty-s3", daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """What makes S3 clients, s3fs and boto3, talk to this store."""
        return {
            "AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": "chaos", "AWS_SECRET_ACCESS_KEY": "chaos",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip

    def deal(self) -> str:
        """Return what happens to the next request: `error`, `lost` (not carried out), `unanswered` (carried out),
        `slow` or `well`.
        """
        faults = self.faults
        with self._lock:
            draw, half = self._draw.random(), self._draw.random() < 0.5
            what = "well"
            for name, share in (("error", faults.errors), ("dropped", faults.dropped), ("slow", faults.slow)):
                if draw < share:
                    what = name
                    break
                draw -= share
            if what == "dropped":
                what = "unanswered" if half else "lost"
            if faults.gone:
                what = "lost"
            self.counts[what] += 1
        return what

    def note(self, path: str) -> None:
        """Remember when a key was first written."""
        with self._lock:
            self._made.setdefault(path, time.monotonic())

    def wait_for_line(self, size: int) -> None:
        """Sleep until an answer of `size` bytes has come through the line."""
        if not self.faults.bandwidth:
            return
        with self._lock:
            self._line_free = max(self._line_free, time.monotonic()) + size / self.faults.bandwidth
            until = self._line_free
        time.sleep(max(0.0, until - time.monotonic()))

    def listing(self, bucket: str, body: bytes) -> bytes:
        """Return a listing without the keys that are too new."""
        if not self.faults.late_seconds or b"<Contents>" not in body:
            return body
        tree = ElementTree.fromstring(body)
        since = time.monotonic() - self.faults.late_seconds
        for entry in tree.findall(f"{NAMESPACE}Contents"):
            key = unquote(entry.findtext(f"{NAMESPACE}Key") or "")
            if self._made.get(f"/{bucket}/{key}", 0.0) > since:
                tree.remove(entry)
                self.counts["hidden in a listing"] += 1
        ElementTree.register_namespace("", NAMESPACE[1:-1])
        return ElementTree.tostring(tree, xml_declaration=True, encoding="utf-8")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    serving: FaultyS3

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            continue
        return b"".join(parts)

    def _serve(self) -> None:
        body = self._body()
        fate = self.serving.deal()
        if fate == "slow":
            time.sleep(self.serving.faults.slow_seconds)
        if fate == "error":
            self._answer(500, [("Content-Type", "application/xml")], INTERNAL)
            return
        if fate == "lost":
            self.close_connection = True
            return
        status, headers, answer = self._forward(body)
        address = urlsplit(self.path)
        path = unquote(address.path)
        if self.command == "PUT" and status < 300:
            self.serving.note(path)
        if self.command == "GET" and {"list-type", "prefix"} & set(parse_qs(address.query, keep_blank_values=True)):
            answer = self.serving.listing(path.strip("/").partition("/")[0], answer)
        if fate == "unanswered":
            self.close_connection = True
            return
        self._answer(status, headers, answer)

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(*self.serving.upstream, timeout=120)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            connection.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        length = str(len(body))
        with contextlib.suppress(ConnectionError):  # the client may be gone
            self.send_response(status)
            for name, value in headers:
                if name.lower() == "content-length" and self.command == "HEAD":
                    length = value
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.serving.wait_for_line(len(body))
                self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def faulty_s3(seed: int = 0) -> Iterator[FaultyS3]:
    """Serve an empty bucket, `BUCKET`, for the length of a block."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    proxy = FaultyS3(*server.get_host_and_port(), seed)
    try:
        connection = http.client.HTTPConnection(*proxy.upstream, timeout=60)
        connection.request("PUT", f"/{quote(BUCKET)}")
        assert connection.getresponse().status == 200
        connection.close()
        yield proxy
    finally:
        proxy.close()
        server.stop()
