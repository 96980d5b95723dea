"""How a list of URLs is downloaded: options only, imports only the standard library.

The downloading itself lives in download.py, the guard around each connection in network_guard.py.
"""

from dataclasses import dataclass
from typing import Literal

_QUALITY_RANGES = {"jpg": (1, 100), "webp": (1, 100), "png": (0, 9)}


@dataclass(frozen=True)
class DownloadOptions:
    """Limits and choices for downloading one shard of rows."""

    timeout_s: float = 20.0
    """Seconds for one whole fetch: names, connections, redirects and body together."""
    attempts: int = 3
    """Tries per row; only errors that may pass (timeouts, resets, 5xx, 429) are tried again."""
    backoff_s: float = 1.0
    """Pause before the second try, in seconds; it doubles before each further one."""
    threads: int = 16
    """Rows of one shard fetched at the same time."""
    image_size: int = 256
    """Target side in pixels for every resize mode but "no"."""
    resize_mode: Literal["no", "keep_ratio", "border", "center_crop"] = "no"
    """img2dataset's resize modes: keep_ratio makes the short side image_size, border the long side, padded white."""
    encode_format: Literal["jpg", "png", "webp"] = "jpg"
    """Format of the images in the shard."""
    encode_quality: int = 95
    """Quality 1-100 for jpg and webp, compression 0-9 for png."""
    min_image_size: int = 0
    """Images whose short side has fewer pixels fail as "image_too_small"; 0 takes any."""
    max_bytes: int = 32 * 1024 * 1024
    """Largest answer body in bytes."""
    max_pixels: int = 64 * 1024 * 1024
    """Largest declared width times height; bigger is refused from the header, before decoding."""
    respect_opt_out: bool = True
    """Leave out images whose X-Robots-Tag says noai, noimageai, noindex or noimageindex."""
    allow_private_networks: bool = False
    """Also fetch from private, loopback and other non-public addresses (tests, a mirror of your own)."""
    user_agent_token: str | None = None
    """Name this crawler gives in its user agent; X-Robots-Tag lines for that name are obeyed too."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work, with a message for people."""
        if not 0 < self.timeout_s < float("inf"):
            raise ValueError(f"timeout_s is {self.timeout_s}: give a number of seconds above 0")
        if not 0 <= self.backoff_s < float("inf"):
            raise ValueError(f"backoff_s is {self.backoff_s}: give a number of seconds, 0 or above")
        for name in ("attempts", "threads", "image_size", "max_bytes", "max_pixels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.min_image_size < 0:
            raise ValueError(f"min_image_size is {self.min_image_size}: it must be 0 or above")
        if self.resize_mode not in ("no", "keep_ratio", "border", "center_crop"):
            raise ValueError(f"resize_mode is {self.resize_mode!r}: choose no, keep_ratio, border or center_crop")
        if self.encode_format not in _QUALITY_RANGES:
            raise ValueError(f"encode_format is {self.encode_format!r}: choose jpg, png or webp")
        low, high = _QUALITY_RANGES[self.encode_format]
        if not low <= self.encode_quality <= high:
            raise ValueError(
                f"encode_quality is {self.encode_quality}: for {self.encode_format} it goes from {low} to {high}"
            )
        token = self.user_agent_token
        if token is not None and (not token.isascii() or not token.isprintable() or not token.strip()):
            raise ValueError(f"user_agent_token is {token!r}: give a short plain word, or leave it out")
