"""What may be fetched: public addresses, well-formed http(s) addresses, pictures whose owners did not opt out. No
connection is made here.
"""

from __future__ import annotations

import ipaddress
import string
import urllib.parse
from collections.abc import Sequence

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Not public either, but global to Python 3.11's ipaddress: protocol assignments, the old 6to4 relay, documentation.
_REFUSED = tuple(ipaddress.ip_network(text) for text in ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20"))
_VALUED_DIRECTIVES = ("max-snippet", "max-image-preview", "max-video-preview", "unavailable_after")


class FetchError(Exception):
    """A picture that could not be had: `reason` is snake_case, `detail` for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def is_public_address(address: str) -> bool:
    """Is this numeric IP address one of the open internet's? IPv4 inside IPv6 (mapped, 6to4, Teredo, NAT64) counts as
    that IPv4.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if ip in _NAT64 or ip.packed[:12] == bytes(12):
            inner.append(ipaddress.IPv4Address(ip.packed[12:]))
        if ip.is_site_local or any(v4 is not None and not is_public_address(str(v4)) for v4 in inner):
            return False
        if ip.ipv4_mapped is not None or ip in _NAT64:
            return True
    if any(ip.version == network.version and ip in network for network in _REFUSED):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_link_local)


def normalise_url(url: str) -> str:
    """The address with spaces and non-ASCII letters escaped, as browsers do. Raises FetchError (bad_url,
    refused_scheme).
    """
    try:
        parts = urllib.parse.urlsplit(url.strip())
        host, port = parts.hostname, parts.port
        if parts.scheme not in ("http", "https"):
            raise FetchError("refused_scheme", f"{parts.scheme or 'no'}: is not http or https")
        if not host or parts.username is not None or parts.password is not None:
            raise FetchError("bad_url", "the address has no host, or holds a user name")
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
    except ValueError as error:  # UnicodeError is one
        raise FetchError("bad_url", f"the address cannot be read: {error}") from error
    if any(not c.isprintable() or c in " /\\<>\"'" for c in host):
        raise FetchError("bad_url", "the address has impossible characters in its host")
    netloc = f"[{host}]" if ":" in host else host
    netloc += f":{port}" if port is not None else ""
    path = urllib.parse.quote(parts.path, safe=string.punctuation)
    query = urllib.parse.quote(parts.query, safe=string.punctuation)
    return urllib.parse.urlunsplit((parts.scheme, netloc, path, query, ""))


def opted_out(tags: Sequence[str], token: str, directives: Sequence[str]) -> bool:
    """Do these X-Robots-Tag values forbid the use, for everyone or for our `token`?

    Reads each directive by itself: "noai, max-snippet:10" is a refusal too, which img2dataset's own reading misses.
    """
    wanted = {directive.strip().lower() for directive in directives}
    for tag in tags:
        agent: str | None = None
        for item in tag.lower().split(","):
            left, colon, right = (part.strip() for part in item.partition(":"))
            if colon and left in _VALUED_DIRECTIVES:
                continue
            if colon:
                agent = left
            if (right if colon else left) in wanted and agent in (None, "*", token.lower()):
                return True
    return False
