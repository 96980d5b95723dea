"""Limits of what is read from shards and folders made elsewhere. Standard library only, for the configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ShardLimits:
    """Bounds on foreign shards and files, so that a hostile one cannot fill the memory."""

    max_member_bytes: int = 64 * 2**20  # largest file of a sample; larger ones fail as `too_large`
    max_sample_bytes: int = 128 * 2**20  # all files of one sample together
    max_members: int = 1_000_000  # files in one shard; what comes after them fails as `too_many_members`

    def __post_init__(self) -> None:
        for name in ("max_member_bytes", "max_sample_bytes", "max_members"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
