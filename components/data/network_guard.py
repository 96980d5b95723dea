"""One guarded fetch of one address: no private networks (at every redirect and at the address really connected to),
http and https only, a bounded body and one deadline for all of it. What is private or opted out is web_rules.py's;
which rows are fetched, download.py's.

Environment proxies are not used: behind a proxy the address connected to would be the proxy's, and nothing could be
checked. Where one is set, a connection that fails says so.
"""

from __future__ import annotations

import concurrent.futures
import functools
import http.client
import io
import os
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from email.message import Message
from importlib import metadata
from typing import IO, Any

from components.data.options import DownloadOptions
from components.data.web_rules import FetchError, is_public_address, normalise_url, opted_out

_CHUNK = 2**16
PROXIES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY")


class Fetcher:
    """Fetches addresses under one set of options; used from many threads at once."""

    def __init__(self, options: DownloadOptions) -> None:
        self.options = options
        self._ssl = ssl.create_default_context()
        self._name = f"{options.user_agent_token}/{metadata.version('pixsem')} (collects pictures for data sets)"

    def open(self, request: urllib.request.Request) -> FetchedBody:
        """Fetch the request whole, following redirects. Raises FetchError for anything but a complete 200 answer within
        the limits.
        """
        deadline = time.monotonic() + self.options.timeout_s
        request.add_header("User-Agent", self._name)  # in place of img2dataset's, which names a browser and its authors
        try:
            with self._opener(deadline).open(request, timeout=self.options.timeout_s) as response:
                if response.status != 200:
                    raise FetchError(f"http_{response.status}", "the answer is no picture")
                self._check_opt_out(response.headers)
                return FetchedBody(self._read(response), response.headers)
        except urllib.error.HTTPError as error:
            with error:
                reason = "refused_redirect" if 300 <= error.code < 400 else f"http_{error.code}"
                raise FetchError(reason, str(error.reason)[:200]) from None
        except urllib.error.URLError as error:
            cause = error.reason if isinstance(error.reason, BaseException) else error
            raise _as_fetch_error(cause) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _as_fetch_error(error) from error

    def _check_opt_out(self, headers: Message) -> None:
        tags = headers.get_all("X-Robots-Tag", [])
        options = self.options
        if options.respect_opt_out and opted_out(tags, options.user_agent_token, options.opt_out_directives):
            raise FetchError("opted_out", f"X-Robots-Tag: {'; '.join(tags)[:200]}")

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        limit = self.options.max_bytes
        if response.length is not None and response.length > limit:
            raise FetchError("too_large", f"{response.length} bytes are announced; max_bytes is {limit}")
        body = io.BytesIO()
        while chunk := response.read(_CHUNK):
            body.write(chunk)
            if body.tell() > limit:
                raise FetchError("too_large", f"the body is over max_bytes = {limit}")
        if response.length:
            raise FetchError("incomplete_body", f"{response.length} bytes announced never came")
        if body.tell() == 0:
            raise FetchError("empty_body", "the answer has no bytes")
        coding = (response.headers.get("Content-Encoding") or "identity").strip().lower()
        return body.getvalue() if coding == "identity" else self._unpacked(body.getvalue(), coding)

    def _unpacked(self, body: bytes, coding: str) -> bytes:
        """Servers compress unasked. No more than `max_bytes` is unpacked."""
        limit = self.options.max_bytes
        if coding not in ("gzip", "x-gzip", "deflate"):
            raise FetchError("bad_answer", f"the body is {coding[:40]}-coded, which was not asked for")
        unpacker = zlib.decompressobj(32 + zlib.MAX_WBITS)
        try:
            data = unpacker.decompress(body, limit + 1)
        except zlib.error as error:
            raise FetchError("bad_answer", f"its {coding} coding is damaged: {error}") from None
        if len(data) > limit:
            raise FetchError("too_large", f"the unpacked body is over max_bytes = {limit}")
        if not unpacker.eof:
            raise FetchError("incomplete_body", f"the {coding}-coded body ends early")
        return data

    def _opener(self, deadline: float) -> urllib.request.OpenerDirector:
        """An opener of these parts alone: urllib's default one would add file:, ftp:, data: and the environment's
        proxies.
        """
        opener = urllib.request.OpenerDirector()

        def connect(host: str, port: int) -> socket.socket:
            return self._connect(host, port, deadline)

        handlers: list[urllib.request.BaseHandler] = [
            _HTTPHandler(connect, deadline),
            _HTTPSHandler(connect, deadline, self._ssl),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPCookieProcessor(),  # kept for this fetch alone: some servers set one and redirect
            _RedirectHandler(self.options.max_redirects),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.UnknownHandler(),
        ]
        for handler in handlers:
            opener.add_handler(handler)
        return opener

    def _connect(self, host: str, port: int, deadline: float) -> socket.socket:
        """Look the name up once, refuse it if any of its addresses is private, and connect to just those addresses.

        The name is never looked up again, so an answer that changes (DNS rebinding) changes nothing.
        """
        addresses = self._resolve(host, port, deadline)
        if not self.options.allow_private_networks:
            for address in addresses:
                if not is_public_address(address):
                    raise FetchError("private_address", f"{host} is at {address}; allow_private_networks is off")
        error: OSError = OSError("no address")
        for index, address in enumerate(addresses):
            share = _left(deadline) / (len(addresses) - index)  # one dead address must not use up the time of the rest
            try:
                return socket.create_connection((address, port), timeout=share)
            except OSError as failure:
                error = failure
        proxy = next((name for name in PROXIES if os.environ.get(name)), None)
        if proxy is not None:
            said = "timeout" if isinstance(error, TimeoutError) else "connection_failed"
            raise FetchError(said, f"{error}; {proxy} is set, and downloads use no proxy")
        raise error

    def _resolve(self, host: str, port: int, deadline: float) -> list[str]:
        # One thread per lookup: in a pool, names whose servers never answer would keep its places and starve the other
        # rows.
        future: concurrent.futures.Future[list[Any]] = concurrent.futures.Future()

        def look_up() -> None:
            try:
                future.set_result(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM))
            except (OSError, UnicodeError) as error:
                future.set_exception(error)

        threading.Thread(target=look_up, name="resolve", daemon=True).start()
        try:
            found = future.result(timeout=_left(deadline))
        except concurrent.futures.TimeoutError:
            raise FetchError("timeout", f"looking up {host} took too long") from None
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class FetchedBody(io.BytesIO):
    """A body already read and checked, with the two things img2dataset uses of a response: read() and headers."""

    def __init__(self, body: bytes, headers: Message) -> None:
        super().__init__(body)
        self.headers = headers


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time for one picture is over")
    return left


class _DeadlineReader(io.RawIOBase):
    """Reads a socket with one deadline for all reads together: a server that drips a byte a second gains nothing."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_left(self._deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineSocket:
    """The part of a socket that http.client uses once connected."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(_left(self._deadline))
        self._sock.sendall(data)

    def makefile(self, *_: object, **__: object) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self._sock, self._deadline))

    def close(self) -> None:
        self._sock.close()


Connect = Callable[[str, int], socket.socket]


class _HTTPConnection(http.client.HTTPConnection):
    def __init__(self, guard: Connect, deadline: float, host: str, **options: Any) -> None:
        super().__init__(host, **options)
        self.guard = guard
        self.deadline = deadline

    def connect(self) -> None:
        self.sock = _DeadlineSocket(self.guard(self.host, self.port), self.deadline)


class _HTTPSConnection(http.client.HTTPSConnection):
    def __init__(self, guard: Connect, deadline: float, context: ssl.SSLContext, host: str, **options: Any) -> None:
        super().__init__(host, context=context, **options)
        self.guard = guard
        self.deadline = deadline
        self.tls = context

    def connect(self) -> None:
        plain = self.guard(self.host, self.port)
        try:
            plain.settimeout(_left(self.deadline))  # holds for the handshake as a whole
            secure = self.tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise
        self.sock = _DeadlineSocket(secure, self.deadline)


class _HTTPHandler(urllib.request.HTTPHandler):
    def __init__(self, guard: Connect, deadline: float) -> None:
        super().__init__()
        self.connection: Any = functools.partial(_HTTPConnection, guard, deadline)

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self.connection, req)


class _HTTPSHandler(urllib.request.HTTPSHandler):
    def __init__(self, guard: Connect, deadline: float, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self.connection: Any = functools.partial(_HTTPSConnection, guard, deadline, context)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self.connection, req)


class _RedirectHandler(urllib.request.HTTPRedirectHandler):
    max_repeats = 2
    max_redirections = 1000  # ours below is the one that counts

    def __init__(self, max_redirects: int) -> None:
        self.max_hops = max_redirects

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        fp.close()  # the standard library would read the redirect's own body, however long
        seen = getattr(req, "redirect_dict", {})
        if len(seen) >= self.max_hops or seen.get(newurl, 0) >= self.max_repeats:
            raise FetchError("too_many_redirects", f"over {self.max_hops} hops, or in a circle")
        return super().redirect_request(req, fp, code, msg, headers, normalise_url(newurl))


def _as_fetch_error(error: BaseException) -> FetchError:
    """The reason for what the standard library raised on the way."""
    detail = f"{type(error).__name__}: {error}"[:300]
    if isinstance(error, FetchError):
        return error
    if isinstance(error, TimeoutError):
        return FetchError("timeout", "the picture did not arrive within timeout_s")
    if isinstance(error, socket.gaierror):
        return FetchError("dns_unavailable" if error.errno == socket.EAI_AGAIN else "dns_not_found", detail)
    if isinstance(error, ssl.SSLError):
        return FetchError("tls_failed", detail)
    if isinstance(error, ConnectionError):
        return FetchError("connection_failed", detail)
    if isinstance(error, http.client.IncompleteRead):
        return FetchError("incomplete_body", detail)
    if isinstance(error, http.client.InvalidURL | UnicodeError):
        return FetchError("bad_url", detail)
    if isinstance(error, http.client.HTTPException):
        return FetchError("bad_answer", detail)
    if isinstance(error, OSError):
        return FetchError("connection_failed", detail)
    return FetchError("bad_answer", detail)
