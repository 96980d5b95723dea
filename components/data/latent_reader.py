"""Reading latent shards for training: any row by its index, batches in one copy.

The file format and its checks are latents.py's, the order of batches is order.py's. torch is imported where tensors are
made: it takes seconds.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from components.data.latents import Kind, LatentSpec, latent_values, open_shard

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


class LatentShards:
    """Rows of many shards by (shard, row in it), memory mapped. A shard is opened, with all its checks, when a row of
    it is wanted, and `kept` of them stay open: memory does not grow with the shards. Can be pickled; workers map the
    files anew.

    Raises ValueError for damaged shards, for a shard of another tokenizer than `tokenizer` (None: than the first
    shard's), and for shapes or statistics unlike the first shard's. Shards of captions and of edits may be mixed.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        tokenizer: str | None,
        fetch: Callable[[Any], str | Path] = Path,
        kept: int = 512,
    ) -> None:
        """`fetch` gives the local file of a path when it is to be opened."""
        if not paths:
            raise ValueError("no latent shards were given; encode some images first")
        self.paths, self._fetch, self._kept = list(paths), fetch, kept
        self._map()
        self.spec = open_shard(self._fetch(self.paths[0]))[0]
        self._tokenizer = tokenizer or self.spec.tokenizer

    def _map(self) -> None:
        self._shard = functools.lru_cache(self._kept)(self._open)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_shard"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._map()

    def _open(self, number: int) -> _Shard:
        path = self.paths[number]
        spec, rows_per_batch, batches = open_shard(self._fetch(path))
        if spec.tokenizer != self._tokenizer:
            raise ValueError(
                f"{path} was encoded by the tokenizer {spec.tokenizer}, but {self._tokenizer} is wanted; "
                "latents of two tokenizers do not mix: encode the images again"
            )
        _same_latents(path, spec, self.paths[0], self.spec)
        return _Shard(spec.kind, rows_per_batch, [_Block(batch) for batch in batches])

    def rows(self, located: Sequence[tuple[int, int]]) -> LatentBatch:
        """These rows, repeats allowed, each copied once from the map into new tensors. Raises IndexError where there is
        none.
        """
        import torch

        found = [self._shard(shard).find(row) for shard, row in located]
        shape = (len(found), *self.spec.shape)
        latents = torch.empty(shape, dtype=torch.float16)
        rows = latents.numpy().reshape(len(found), self.spec.values)
        for out, (block, at) in zip(rows, found, strict=True):
            out[:] = block.latents[at]
        has_source = [block.sources is not None for block, _ in found]
        sources = torch.zeros(shape, dtype=torch.float16) if any(has_source) else None
        if sources is not None:
            for out, (block, at) in zip(sources.numpy().reshape(rows.shape), found, strict=True):
                if block.sources is not None:
                    out[:] = block.sources[at]
        keys = [block.keys[at] for block, at in found]
        texts = [block.texts[at] for block, at in found]
        return LatentBatch(keys, texts, latents, sources, torch.tensor(has_source, dtype=torch.bool))


class LatentDataset(LatentShards):
    """Many shards as one sequence of rows. Any row is found in O(1).

    All shards are looked at, and counted, when it is made. `spec.kind` is "edits" where one shard is of edits.
    """

    def __init__(self, paths: Sequence[str | Path], tokenizer: str | None) -> None:
        super().__init__([Path(path) for path in paths], tokenizer)
        self._counted: dict[int, tuple[int, int]] = {}
        kinds = {self._open(number).kind for number in range(len(self.paths))}
        if "edits" in kinds:
            self.spec: LatentSpec = replace(self.spec, kind="edits")
        self.shard_sizes = [size for _, size in self._counted.values()]
        self._ends: list[int] = np.cumsum(self.shard_sizes).tolist()

    def _open(self, number: int) -> _Shard:
        shard = super()._open(number)
        found = (shard.rows_per_batch, shard.rows)
        if self._counted.setdefault(number, found) != found:
            raise ValueError(
                f"{self.paths[number]} was replaced by another shard since it was counted; open the data set again"
            )
        return shard

    def __len__(self) -> int:
        return self._ends[-1]

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
        """These rows, as `rows`. Raises IndexError where there is none."""
        return self.rows(self._places(indices))

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
        return [self._shard(shard).find(row) for shard, row in self._places(indices)]

    def _places(self, indices: Sequence[int] | np.ndarray | range) -> list[tuple[int, int]]:
        """(shard, row in it) of each index."""
        index = np.asarray(indices, dtype=np.int64)
        if index.size and not 0 <= index.min() <= index.max() < len(self):
            raise IndexError(f"rows {index.min()} to {index.max()} were asked for; there are rows 0 to {len(self) - 1}")
        shard = np.searchsorted(self._ends, index, side="right")
        inside = index - (np.take(self._ends, shard) - np.take(self.shard_sizes, shard))
        return list(zip(shard.tolist(), inside.tolist(), strict=True))


class _Shard(NamedTuple):
    """An open shard."""

    kind: Kind
    rows_per_batch: int
    blocks: list[_Block]

    @property
    def rows(self) -> int:
        """Its rows."""
        return sum(len(block.latents) for block in self.blocks)

    def find(self, row: int) -> tuple[_Block, int]:
        """(record batch, row inside it) of a row."""
        block, at = divmod(row, self.rows_per_batch)
        return self.blocks[block], at


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


def _same_latents(path: str | Path, spec: LatentSpec, first_path: str | Path, first: LatentSpec) -> None:
    for name in ("shape", "mean", "std"):
        mine, theirs = getattr(spec, name), getattr(first, name)
        if mine != theirs:
            raise ValueError(
                f"the latents of {path} have the {name} {mine}, those of {first_path} {theirs}; one data set takes "
                "shards of one shape and one set of statistics"
            )
