"""One guarded HTTP fetch: only http and https, only public addresses, a deadline over the whole of it, a largest body.

What is fetched, how often and what becomes of it is download.py's. Environment proxies are never used: a proxy would
connect in our place, and the address it connects to could not be checked.
"""

import http.client
import ipaddress
import queue
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from types import TracebackType
from typing import Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit

MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_RETRY_STATUS = (408, 425, 429)
_CHUNK = 64 * 1024
# Not all of these are "private" to every Python 3.11's ipaddress module, and none holds a public picture.
_REFUSED_NETWORKS = tuple(
    ipaddress.ip_network(text)
    for text in (
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
    )
)
_GLOBAL_V6 = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Resolve = Callable[..., list[Any]]


class FetchError(Exception):
    """A fetch that ended without a body: `reason` in snake_case, `detail` for people, `retryable` if it may pass."""

    def __init__(self, reason: str, detail: str, retryable: bool = False) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.retryable = retryable


def is_public_address(address: str) -> bool:
    """Whether a numeric IPv4 or IPv6 address is on the public internet.

    False for private, loopback, link-local, multicast, reserved, documentation and carrier (CGNAT) addresses, for IPv4
    addresses of that kind inside IPv6 (mapped, NAT64), and for the tunnels 6to4 and Teredo.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public_address(str(ip.ipv4_mapped))
        if ip in _NAT64:
            return is_public_address(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip not in _GLOBAL_V6:
            return False
    if not ip.is_global or ip.is_multicast or ip.is_reserved or ip.is_unspecified:
        return False
    return not any(ip.version == net.version and ip in net for net in _REFUSED_NETWORKS)


def parse_url(url: str) -> SplitResult:
    """Split a URL that may be fetched; raises FetchError `bad_url` or `unsupported_scheme`."""
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError as error:
        raise FetchError("bad_url", str(error)) from error
    if parts.scheme not in ("http", "https"):
        raise FetchError(
            "unsupported_scheme", f"only http and https are fetched, not {parts.scheme[:40] or 'no scheme'!r}"
        )
    host = parts.hostname
    if not host or not host.isprintable() or " " in host:
        raise FetchError("bad_url", "it names no host that could be looked up")
    return parts


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._seconds = seconds

    def left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise FetchError("timeout", f"not done within {self._seconds:g} s", retryable=True)
        return left


class _DeadlineSocket(socket.socket):
    """A socket whose every read may take only what is left of the deadline: a slow drip cannot stretch it."""

    deadline: _Deadline

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(self.deadline.left())
        return super().recv_into(*args, **kwargs)


class _DeadlineTLSSocket(ssl.SSLSocket):
    deadline: _Deadline

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(self.deadline.left())
        return super().recv_into(*args, **kwargs)


class GuardedResponse:
    """An answer with status 2xx whose body is read under the guard; a context manager like urllib's responses."""

    def __init__(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, max_bytes: int
    ) -> None:
        self._connection = connection
        self._response = response
        self._max_bytes = max_bytes
        self.status = response.status
        self.headers = response.headers

    def read(self) -> bytes:
        """Return the whole body; raises FetchError `body_too_large`, `connection_cut`, `empty_body` or `timeout`."""
        response = self._response
        if response.length is not None and response.length > self._max_bytes:
            raise FetchError("body_too_large", f"it announces {response.length} bytes; the limit is {self._max_bytes}")
        body = bytearray()
        try:
            while chunk := response.read(_CHUNK):
                body += chunk
                if len(body) > self._max_bytes:
                    raise FetchError("body_too_large", f"it has more than the {self._max_bytes} bytes of the limit")
        except http.client.IncompleteRead as error:
            raise FetchError("connection_cut", "the answer ended early", retryable=True) from error
        except (OSError, http.client.HTTPException) as error:
            raise _network_error(error) from error
        if response.length:
            raise FetchError("connection_cut", f"{response.length} bytes of the body are missing", retryable=True)
        if not body:
            raise FetchError("empty_body", "the answer has no bytes")
        return bytes(body)

    def close(self) -> None:
        """Drop the connection, read or not."""
        self._response.close()
        self._connection.close()

    def __enter__(self) -> "GuardedResponse":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class NetworkGuard:
    """Opens URLs under one set of limits. Holds no state of a fetch, so threads may share it."""

    def __init__(
        self,
        timeout_s: float,
        max_bytes: int,
        allow_private_networks: bool = False,
        resolve: Resolve = socket.getaddrinfo,
    ) -> None:
        """`timeout_s` is for one whole fetch; `resolve` looks names up, with getaddrinfo's arguments and answer."""
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._allow_private = allow_private_networks
        self._resolve = resolve
        self._tls = ssl.create_default_context()
        self._tls.set_alpn_protocols(["http/1.1"])
        self._tls.sslsocket_class = _DeadlineTLSSocket

    def open(self, request: urllib.request.Request) -> GuardedResponse:
        """GET the request's URL with its headers and follow up to 5 redirects, each hop guarded like the first.

        Raises FetchError for everything that goes wrong, also for a status other than 2xx (`http_404`).
        """
        deadline = _Deadline(self._timeout_s)
        headers = dict(request.header_items()) | {"Connection": "close"}
        url = request.full_url
        for _ in range(MAX_REDIRECTS + 1):
            parts = parse_url(url)
            connection, response = self._send(parts, headers, deadline)
            if 200 <= response.status < 300:
                return GuardedResponse(connection, response, self._max_bytes)
            # The body of a redirect or an error is never read: it may be endless.
            location = response.headers.get("Location")
            response.close()
            connection.close()
            if response.status not in _REDIRECTS or not location:
                retryable = response.status >= 500 or response.status in _RETRY_STATUS
                raise FetchError(f"http_{response.status}", f"{parts.hostname} answers {response.status}", retryable)
            url = _join(url, location)
        raise FetchError("too_many_redirects", f"more than {MAX_REDIRECTS} redirects")

    def _send(
        self, parts: SplitResult, headers: dict[str, str], deadline: _Deadline
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        host, secure = str(parts.hostname), parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        # Unsafe characters are percent-encoded, so a URL with spaces works and one with line ends adds no header.
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (
            "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?") if parts.query else ""
        )
        connection: http.client.HTTPConnection | None = None
        try:
            connection = (
                http.client.HTTPSConnection(host, port, context=self._tls)
                if secure
                else http.client.HTTPConnection(host, port)
            )
            # A connection that has its socket opens none itself: the address checked is the address connected to.
            connection.sock = self._connect(host, port, secure, deadline)
            connection.request("GET", target, headers=headers)
            return connection, connection.getresponse()
        except FetchError:
            if connection is not None:
                connection.close()
            raise
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            if connection is not None:
                connection.close()
            raise _network_error(error) from error

    def _connect(self, host: str, port: int, secure: bool, deadline: _Deadline) -> socket.socket:
        found = self._lookup(host, port, deadline)
        addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
        refused = [
            address[0] for _, address in addresses if not self._allow_private and not is_public_address(address[0])
        ]
        if refused:
            raise FetchError("private_address", f"{host} is at {refused[0]}, which is not a public address")
        failure: OSError = OSError(f"{host} has no address")
        for tried, (family, address) in enumerate(addresses):
            sock = _DeadlineSocket(family, socket.SOCK_STREAM)
            sock.deadline = deadline
            try:
                # Each address gets its share, so that one that never answers leaves time for the next.
                sock.settimeout(deadline.left() / (len(addresses) - tried))
                sock.connect(address)
                sock.settimeout(deadline.left())
                if not secure:
                    return sock
                wrapped = self._tls.wrap_socket(sock, server_hostname=host)
                assert isinstance(wrapped, _DeadlineTLSSocket)
                wrapped.deadline = deadline
                return wrapped
            except FetchError:
                sock.close()
                raise
            except OSError as error:
                sock.close()
                failure = error
        raise failure

    def _lookup(self, host: str, port: int, deadline: _Deadline) -> list[Any]:
        """Look a name up within the deadline: getaddrinfo knows no timeout, so it waits in a thread of its own."""
        answers: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self._resolve(host, port, 0, socket.SOCK_STREAM))
            except (OSError, UnicodeError) as error:
                answers.put(error)

        threading.Thread(target=ask, daemon=True, name="name-lookup").start()
        try:
            answer = answers.get(timeout=deadline.left())
        except queue.Empty:
            raise FetchError("timeout", f"no answer to the name lookup of {host}", retryable=True) from None
        if isinstance(answer, UnicodeError):
            raise FetchError("bad_url", f"{host[:80]!r} cannot be a host name") from answer
        if isinstance(answer, Exception):
            passing = isinstance(answer, socket.gaierror) and answer.errno == socket.EAI_AGAIN
            raise FetchError("unknown_host", f"{host}: {answer}", retryable=passing) from answer
        return answer


def _join(base: str, location: str) -> str:
    try:
        return urljoin(base, location)
    except ValueError as error:
        raise FetchError("bad_url", f"a redirect to something that is no URL: {error}") from error


def _network_error(error: Exception) -> FetchError:
    """Name what went wrong on the wire, and whether it may pass."""
    if isinstance(error, TimeoutError):
        return FetchError("timeout", str(error), retryable=True)
    if isinstance(error, ssl.SSLCertVerificationError):
        return FetchError("tls_error", error.verify_message)
    if isinstance(error, ssl.SSLError):
        return FetchError("tls_error", str(error), retryable=isinstance(error, ssl.SSLEOFError))
    if isinstance(error, http.client.RemoteDisconnected | OSError):
        return FetchError("connection_failed", str(error), retryable=True)
    if isinstance(error, http.client.HTTPException):
        return FetchError("bad_answer", f"it does not speak HTTP: {type(error).__name__}: {error}"[:300])
    return FetchError("bad_url", str(error)[:300])
