"""Which addresses, URLs and opt-out headers stop a fetch before any connection."""

from __future__ import annotations

import pytest

from components.data.web_rules import FetchError, is_public_address, normalise_url, opted_out

pytestmark = pytest.mark.unit

DIRECTIVES = ("noai", "noimageai", "noindex", "noimageindex")


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "100.127.255.255", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9"),
        *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "2001:db8::1"),
        *(
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:a9fe:a9fe",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
        ),
        *("2002:7f00:1::", "2002:a00:1::", "2001:0:4136:e378:8000:63bf:f5ff:fffe"),
    ],
)
def test_addresses_of_private_networks_are_refused(address: str) -> None:
    assert not is_public_address(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_addresses_of_the_open_internet_are_allowed(address: str) -> None:
    assert is_public_address(address)


def test_urls_are_escaped_as_browsers_do() -> None:
    assert normalise_url(" http://ex.org/a b/ü.jpg?q=ä&x=%20#f ") == "http://ex.org/a%20b/%C3%BC.jpg?q=%C3%A4&x=%20"
    assert normalise_url("https://bücher.example:8443/x") == "https://xn--bcher-kva.example:8443/x"
    assert normalise_url("HTTP://[2606:4700::1]/x") == "http://[2606:4700::1]/x"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "refused_scheme"),
        ("ftp://ex.org/a.jpg", "refused_scheme"),
        ("data:image/png;base64,AA", "refused_scheme"),
        ("gopher://ex.org", "refused_scheme"),
        ("img/a.png", "refused_scheme"),
        ("http://", "bad_url"),
        ("http://user:secret@127.0.0.1/", "bad_url"),
        ("http://ex.org:99999/", "bad_url"),
        ("http://[::1/", "bad_url"),
        ("http://ex.org\\@127.0.0.1/", "bad_url"),
        ("http://" + "a" * 70 + "ü.org/", "bad_url"),
        ("http://ex ample.org/", "bad_url"),
    ],
)
def test_urls_that_are_no_plain_web_address_are_refused(url: str, reason: str) -> None:
    with pytest.raises(FetchError) as caught:
        normalise_url(url)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "tags",
    [
        ["noai"],
        ["NoAI"],
        ["all, noimageai"],
        ["noindex", "all"],
        ["noai, max-snippet:10"],
        ["max-snippet: 10, noindex"],
        ["pixsem: noindex"],
        ["otherbot: nofollow, pixsem: noai"],
        ["*: noai"],
        ["unavailable_after: 25 Jun 2010 15:00:00 PST, noindex"],
    ],
)
def test_owners_who_opt_out_are_heard(tags: list[str]) -> None:
    assert opted_out(tags, "Pixsem", DIRECTIVES)


@pytest.mark.parametrize("tags", [[], ["all"], ["nofollow"], ["otherbot: noindex"], ["max-snippet: noai"], [""]])
def test_other_headers_are_no_opt_out(tags: list[str]) -> None:
    assert not opted_out(tags, "pixsem", DIRECTIVES)
