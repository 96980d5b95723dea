"""Addresses of files: which texts are one, and which may stand in a configuration.

Only the standard library is imported here, so that configuration can check its own in milliseconds.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
PIPE = "pipe:"
_NAMES = (
    r"x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential)|sig|signature|token|access_token"
    r"|api_?key|key|password|secret"
)
_SECRET = re.compile(f"({_NAMES})", re.IGNORECASE)
_VALUE = re.compile(rf"([?&](?:{_NAMES})=)[^&\s\"']+", re.IGNORECASE)


def is_pipe(place: str) -> bool:
    """True for `pipe:COMMAND`, whose output is read."""
    return place.startswith(PIPE)


def is_remote(place: str) -> bool:
    """True for an address (`scheme://...`) or a `pipe:` command; `file://` is local."""
    found = SCHEME.match(place)
    return is_pipe(place) or (found is not None and found.group(1).lower() not in ("file", "local"))


def local_path(place: str) -> str:
    """The path of a local place, without `file://`."""
    return re.sub(r"^(file|local)://", "", place, flags=re.IGNORECASE)


def checked_address(place: str) -> str:
    """The place itself. ValueError for an address with a password, a token or a signature: it would be kept."""
    if is_pipe(place) or not SCHEME.match(place):
        return place
    parts = urlsplit(place)
    named = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if _SECRET.fullmatch(name)]
    if (parts.scheme.lower() != "hf" and "@" in parts.netloc) or named:  # `hf://datasets/org/name@revision` has none
        what = f"the parameter {named[0]}" if named else "a user or password"
        raise ValueError(
            f"the address {shown(place)} holds {what}, and configurations are kept in the store and in MLflow. Leave "
            "it out, and set HF_TOKEN, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what the server's library reads"
        )
    return place


def without_secrets(text: str) -> str:
    """A text without the values of parameters of addresses that are secrets."""
    return _VALUE.sub(r"\1...", text)


def shown(place: str) -> str:
    """An address fit for a message: without what may be a secret."""
    parts = urlsplit(place)
    if is_pipe(place) or not parts.netloc or parts.scheme == "hf":
        return without_secrets(place)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
