"""How large the files of this room become, by arithmetic: tar shards and latent shards. What is in a source is
survey.py's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from components.data.latents import Kind

CAPTION_BYTES = 120  # of a caption, taken where it is not known
METADATA_BYTES = 600  # of a sample's json
_BLOCK = 512  # of a tar: a header, and what data is filled up to
_RECORD = 10_240  # what a whole tar is filled up to
_ROW = 2 * 4 + 1 / 8  # of a latent shard: where key and text end, and whether it is mirrored
_BATCH = 512  # bytes beside the rows of a record batch: its message, its place in the footer, alignment
_SHARD = 2400  # bytes of a latent shard's schema, which stands there twice
_CHANNEL = 82  # of them for each channel: its mean and deviation as JSON


def tar_sample_bytes(parts: Iterable[float]) -> int:
    """Return the bytes of one sample in a tar, of the sizes of its files."""
    return sum(_BLOCK + tar_data_bytes(size) for size in parts)


def tar_data_bytes(size: float) -> int:
    """Return the bytes of a file's data in a tar."""
    return -(-int(size) // _BLOCK) * _BLOCK


def tar_bytes(samples: int, sample_bytes: float, per_shard: int) -> int:
    """Return the bytes of the tars of `samples` samples, `per_shard` in each."""
    if not samples:
        return 0
    whole, rest = divmod(samples, per_shard)
    shards = [per_shard] * min(1, whole) + [rest] * min(1, rest)
    sizes = [-(-(n * int(sample_bytes) + 2 * _BLOCK) // _RECORD) * _RECORD for n in shards]
    return sizes[0] * whole + sizes[-1] * bool(rest) if whole else sizes[0]


def latent_shard_bytes(
    shape: tuple[int, int, int], kind: Kind, rows: int, text_bytes: float, rows_per_batch: int = 256
) -> int:
    """Return the bytes of one latent shard: float16 latents `(C, H, W)`, two a row for edits, keys and texts of
    `text_bytes` together, and what Arrow adds.
    """
    latents = 2 * math.prod(shape) * (2 if kind == "edits" else 1)
    batches = -(-rows // rows_per_batch)
    return int(rows * (latents + text_bytes + _ROW)) + batches * _BATCH + _SHARD + shape[0] * _CHANNEL
