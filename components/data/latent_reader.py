"""Reading latent shards for training: any row by its index, batches in one copy.

The file format and its checks are latents.py's, the order of batches is order.py's. torch is imported where tensors are
made: it takes seconds.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from components.data.latents import LatentSpec, latent_values, open_shard

if TYPE_CHECKING:
    import torch


class LatentRow(NamedTuple):
    """One sample; arrays are read-only views on the file, [C, H, W] float16. `source` is None for a captioned image."""

    key: str
    text: str
    latent: np.ndarray
    source: np.ndarray | None
    flipped: bool


class LatentBatch(NamedTuple):
    """n samples in the order asked for."""

    keys: list[str]
    texts: list[str]
    latents: torch.Tensor  # float16 [n, C, H, W]
    sources: torch.Tensor | None  # likewise; zero where has_source is False, None where no row has a source
    has_source: torch.Tensor  # bool [n]


class LatentDataset:
    """Many shards as one sequence of rows, memory mapped. Any row is found in O(1). Can be pickled; workers map the
    files anew.

    Raises ValueError for damaged shards, for a shard of another tokenizer than `tokenizer` (None: than the first
    shard's), and for shapes or statistics unlike the first shard's. Shards of captions and of edits may be mixed:
    `spec.kind` is then "edits".
    """

    def __init__(self, paths: Sequence[str | Path], tokenizer: str | None) -> None:
        if not paths:
            raise ValueError("no latent shards were given; encode some images first")
        self.paths = [Path(path) for path in paths]
        specs: list[LatentSpec] = []
        sizes: list[int] = []
        per_batch: list[int] = []
        for path in self.paths:
            spec, rows_per_batch, batches = open_shard(path)
            if spec.tokenizer != (wanted := tokenizer or specs[0].tokenizer if specs else tokenizer or spec.tokenizer):
                raise ValueError(
                    f"{path} was encoded by the tokenizer {spec.tokenizer}, but {wanted} is wanted; "
                    "latents of two tokenizers do not mix: encode the images again"
                )
            _same_latents(path, spec, self.paths[0], specs[0] if specs else spec)
            specs.append(spec)
            sizes.append(sum(batch.num_rows for batch in batches))
            per_batch.append(rows_per_batch)
        kind: Any = "edits" if any(spec.kind == "edits" for spec in specs) else "captions"
        self.spec: LatentSpec = replace(specs[0], kind=kind)
        self.shard_sizes = sizes
        self._per_batch = np.array(per_batch, np.int64)
        self._ends = np.cumsum(sizes)
        counts = -(-np.array(sizes, np.int64) // self._per_batch)
        self._first_block = np.concatenate([[0], np.cumsum(counts)])
        self._blocks: list[_Block | None] = [None] * int(self._first_block[-1])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_blocks": [None] * len(self._blocks)}

    def keys(self, indices: Sequence[int] | np.ndarray) -> list[str]:
        """The keys of these rows."""
        return [block.keys[at] for block, at in self._locate(indices)]

    def row(self, index: int) -> LatentRow:
        """One row. Raises IndexError where there is none."""
        ((block, at),) = self._locate([index])
        latent = block.latents[at].reshape(self.spec.shape)
        source = None if block.sources is None else block.sources[at].reshape(self.spec.shape)
        return LatentRow(block.keys[at], block.texts[at], latent, source, bool(block.flipped[at]))

    def batch(self, indices: Sequence[int] | np.ndarray) -> LatentBatch:
        """These rows, repeats allowed, each copied once from the map into new tensors. Raises IndexError where there is
        none.
        """
        import torch

        located = self._locate(indices)
        shape = (len(located), *self.spec.shape)
        latents = torch.empty(shape, dtype=torch.float16)
        rows = latents.numpy().reshape(len(located), self.spec.values)
        for out, (block, at) in zip(rows, located, strict=True):
            out[:] = block.latents[at]
        has_source = [block.sources is not None for block, _ in located]
        sources = torch.zeros(shape, dtype=torch.float16) if any(has_source) else None
        if sources is not None:
            for out, (block, at) in zip(sources.numpy().reshape(rows.shape), located, strict=True):
                if block.sources is not None:
                    out[:] = block.sources[at]
        keys = [block.keys[at] for block, at in located]
        texts = [block.texts[at] for block, at in located]
        return LatentBatch(keys, texts, latents, sources, torch.tensor(has_source, dtype=torch.bool))

    def contiguous(self, start: int, count: int) -> torch.Tensor:
        """The latents of rows start to start + count, float16 [count, C, H, W]: a view on the file where one record
        batch has them all, else a copy. READ-ONLY: writing to the view ends the process.
        """
        import torch

        located = self._locate(range(start, start + count))
        block, at = located[0]
        if located[-1][0] is not block:
            return self.batch(range(start, start + count)).latents
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(block.latents[at : at + count].reshape(count, *self.spec.shape))

    def _locate(self, indices: Sequence[int] | np.ndarray | range) -> list[tuple[_Block, int]]:
        """(record batch, row inside it) of each index."""
        index = np.asarray(indices, dtype=np.int64)
        if index.size and not 0 <= index.min() <= index.max() < len(self):
            raise IndexError(f"rows {index.min()} to {index.max()} were asked for; there are rows 0 to {len(self) - 1}")
        shard = np.searchsorted(self._ends, index, side="right")
        inside = index - (self._ends[shard] - np.take(self.shard_sizes, shard))
        block, at = np.divmod(inside, self._per_batch[shard])
        wanted = zip((self._first_block[shard] + block).tolist(), at.tolist(), shard.tolist(), strict=True)
        return [(self._blocks[b] or self._map(s, b), r) for b, r, s in wanted]

    def _map(self, shard: int, block: int) -> _Block:
        spec, rows_per_batch, batches = open_shard(self.paths[shard])
        _same_latents(self.paths[shard], spec, self.paths[0], self.spec)
        found = (rows_per_batch, sum(batch.num_rows for batch in batches))
        if found != (self._per_batch[shard], self.shard_sizes[shard]) or spec.tokenizer != self.spec.tokenizer:
            raise ValueError(
                f"{self.paths[shard]} was replaced by another shard since it was counted; open the data set again"
            )
        first = int(self._first_block[shard])
        self._blocks[first : first + len(batches)] = blocks = [_Block(batch) for batch in batches]
        return blocks[block - first]


class _Block:
    """The columns of one record batch, in the forms that give single rows fastest."""

    __slots__ = ("flipped", "keys", "latents", "sources", "texts")

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.keys, self.texts = _Strings(batch.column("key")), _Strings(batch.column("text"))
        self.latents = latent_values(batch.column("latent"))
        source = batch.column("source_latent")
        self.sources = None if pa.types.is_null(source.type) else latent_values(source)
        self.flipped = batch.column("flipped").to_numpy(zero_copy_only=False)


class _Strings:
    """A string column where it lies. Its own slicing, because a pyarrow scalar for each string takes several times as
    long.
    """

    __slots__ = ("_data", "_offsets")

    def __init__(self, column: pa.StringArray) -> None:
        _, offsets, data = column.buffers()
        self._offsets = memoryview(offsets).cast("B").cast("i")
        self._data = memoryview(b"" if data is None else data)

    def __getitem__(self, row: int) -> str:
        return str(self._data[self._offsets[row] : self._offsets[row + 1]], "utf-8")


def _same_latents(path: Path, spec: LatentSpec, first_path: Path, first: LatentSpec) -> None:
    for name in ("shape", "mean", "std"):
        mine, theirs = getattr(spec, name), getattr(first, name)
        if mine != theirs:
            raise ValueError(
                f"the latents of {path} have the {name} {mine}, those of {first_path} {theirs}; one data set takes "
                "shards of one shape and one set of statistics"
            )
