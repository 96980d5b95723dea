"""The guard holds at every hop and at the address really connected to: redirects, names that change, mixed answers,
TLS.
"""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from picture_server import Handler, Server, picture, start_server

from components.data import network_guard
from components.data.network_guard import Fetcher
from components.data.options import DownloadOptions
from components.data.web_rules import FetchError

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = start_server("0.0.0.0")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def pretend_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.1 counts as public here, as no really public server is at hand; 127.0.0.2 stays private."""
    monkeypatch.setattr(network_guard, "is_public_address", lambda address: address in ("127.0.0.1", "::1"))


def fetch(url: str, **options: Any) -> bytes:
    fetcher = Fetcher(DownloadOptions(**{"timeout_s": 3, **options}))
    return fetcher.open(urllib.request.Request(url)).read()


def reason_of(url: str, **options: Any) -> str:
    with pytest.raises(FetchError) as caught:
        fetch(url, **options)
    return caught.value.reason


def url(server: Server, path: str, host: str = "127.0.0.1", scheme: str = "http") -> str:
    return f"{scheme}://{host}:{server.server_address[1]}{path}"


@pytest.mark.usefixtures("pretend_public")
def test_a_redirect_into_a_private_network_is_refused(server: Server) -> None:
    Handler.hits.clear()
    assert fetch(url(server, "/to_good")) == picture(1)
    assert fetch(url(server, "/to_localhost")) == picture(2)
    assert reason_of(url(server, "/to_other_host")) == "private_address"
    assert Handler.hits["/good/2.png"] == 1
    assert fetch(url(server, "/to_other_host"), allow_private_networks=True) == picture(2)


@pytest.mark.usefixtures("pretend_public")
def test_a_name_whose_address_changes_is_looked_up_once_and_connected_where_it_was_checked(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[str] = []

    def rebinding(host: str, port: int, *rest: Any, **more: Any) -> list[Any]:
        if host != "rebind.example":  # connecting to a numeric address asks for that address
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
        answers.append("127.0.0.2" if answers else "127.0.0.1")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers[-1], port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert fetch(url(server, "/good/1.png", "rebind.example")) == picture(1)
    assert answers == ["127.0.0.1"]
    assert reason_of(url(server, "/good/1.png", "rebind.example")) == "private_address"


@pytest.mark.usefixtures("pretend_public")
def test_one_private_address_among_public_ones_refuses_the_name(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, server.server_address[1])) for a in ("127.0.0.1", "127.0.0.2")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    assert reason_of(url(server, "/good/1.png", "mixed.example")) == "private_address"


def test_a_lookup_that_hangs_ends_with_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(20) and [])
    assert reason_of("http://slow.example/", timeout_s=0.3) == "timeout"
    release.set()


def test_a_name_that_does_not_exist_is_its_own_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", missing)
    assert reason_of("http://nowhere.example/") == "dns_not_found"


def test_environment_proxies_and_other_openers_are_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert fetch(url(server, "/good/1.png"), allow_private_networks=True) == picture(1)
    assert reason_of("file:///etc/passwd") in ("bad_answer", "connection_failed")


def make_certificate(folder: Path) -> tuple[Path, Path]:
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pixsem test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def test_https_goes_through_the_same_guard_and_checks_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = make_certificate(tmp_path)
    server = start_server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    address = url(server, "/good/1.png", scheme="https")
    try:
        assert reason_of(address) == "private_address"
        assert reason_of(address, allow_private_networks=True) == "tls_failed"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert fetch(address, allow_private_networks=True) == picture(1)
        slow = url(server, "/drip", scheme="https")
        assert reason_of(slow, allow_private_networks=True, timeout_s=0.5) == "timeout"
    finally:
        server.shutdown()
        server.server_close()
