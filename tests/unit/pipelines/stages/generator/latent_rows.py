"""Rows of latents as `index_latents` writes them, made in a test."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.data.latent_reader import LatentShards
from components.data.order import Layout
from components.data.part_rows import PartRows, write_part
from pipelines.stages.generator.latent_batches import Rows
from pipelines.stages.indexed_rows import ROWS_SCHEMA


def latent_rows(
    folder: Path,
    dataset: LatentShards,
    shard: int,
    texts: Sequence[Sequence[str]],
    sources: Sequence[str] | None = None,
    origins: Sequence[str] | None = None,
    mix: Mapping[str, float] | None = None,
) -> Rows:
    """Return rows of a latent shard from its first on, a part for each run of a source, each with the same `origins`.

    `folder` is one of their own.
    """
    folder.mkdir()
    named = list(sources or [""] * len(texts))
    firsts = [n for n in range(len(texts)) if n == 0 or named[n] != named[n - 1]]
    sizes = [end - first for first, end in itertools.pairwise([*firsts, len(texts)])]
    for part, (first, size) in enumerate(zip(firsts, sizes, strict=True)):
        columns: dict[str, list[Any]] = {
            "shard": [f"{shard}.arrow"] * size, "row": list(range(first, first + size)), "key": ["k"] * size,
            "role": ["caption"] * size, "held_out": [False] * size, "texts": list(texts[first : first + size]),
            "origins": [list(origins) if origins else None] * size,
        }  # fmt: skip
        write_part(folder / f"{part}.arrow", columns, ROWS_SCHEMA)
    rows = PartRows(sizes, lambda part: folder / f"{part}.arrow", ROWS_SCHEMA, {"caption"}, False)
    layout = Layout(np.array(sizes, np.int64), [named[first] for first in firsts])
    return Rows(rows, layout, [shard] * len(sizes), dataset, mix or {})
