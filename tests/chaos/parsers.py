"""Everything here that reads bytes of strangers, each as one function from bytes to what became of them, with good
bytes to start from.

A reader returns words: `read`, or a reason. It may raise ValueError, which is a refusal; any other error is a crash.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.data_bytes import (
    latent_shards,
    lists,
    picture_tables,
    read_caption,
    read_latents,
    read_list,
    read_picture_table,
    read_tar,
    tars,
)
from tests.chaos.picture_bytes import pictures, read_image, read_image_header
from tests.chaos.run_bytes import (
    configs,
    manifests,
    overrides,
    read_checkpoint_state,
    read_config,
    read_manifest,
    read_overrides,
    read_request,
    requests,
    states,
)


@dataclass(frozen=True)
class Parser:
    """`read(data, folder)` reads the bytes; `seeds` are good ones; `share` is its part of all trials."""

    name: str
    seeds: Callable[[], list[bytes]]
    read: Callable[[bytes, Path], str]
    share: float


PARSERS = [
    Parser("tar", tars, read_tar, 0.2),
    Parser(
        "caption",
        lambda: [b"a red circle", "möwe 猫 x@y.com www.a.de <b>".encode(), b"a@a@a-a-" * 9],
        read_caption,
        0.12,
    ),
    Parser("image", pictures, read_image, 0.2),
    Parser("image header", pictures, read_image_header, 0.07),
    Parser("picture table", picture_tables, read_picture_table, 0.05),
    Parser("latents", latent_shards, read_latents, 0.08),
    Parser("url list", lists, read_list, 0.1),
    Parser("manifest", manifests, read_manifest, 0.06),
    Parser("checkpoint state", states, read_checkpoint_state, 0.03),
    Parser("request", requests, read_request, 0.06),
    Parser("kept configuration", configs, read_config, 0.02),
    Parser("command line", overrides, read_overrides, 0.01),
]
