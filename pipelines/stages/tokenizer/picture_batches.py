"""Pictures for training and evaluation: any of them by number, from the index, decoded once where memory allows."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from components.curation.images import ImageError, decode_image, square
from components.curation.options import ImageLimits
from components.data.order import Layout
from components.data.part_rows import PartRows, write_part
from components.data.shard_index import ShardFiles
from pipelines.errors import StoreError, UserError
from pipelines.stages.indexed_rows import INDEX_SCHEMA, Fetch, IndexedRows
from pipelines.stages.mixing import Draw, Weights, mixed
from pipelines.store.artifacts import Artifact
from pipelines.store.files import Store
from pipelines.store.verified_read import Fetched, read_checked

Ahead = Callable[[Sequence[int]], None]
Read = Callable[[str, int, int, int], bytes]  # shard, offset, size, digest -> the bytes of a picture
AT_ONCE = 8  # pictures that an evaluation waits for: each may come from far away


class Pictures:
    """The pictures of some roles, from one side of the held-out split, in the index's order.

    `decoded(numbers)` gives uint8 `[n, 3, side, side]`. What fits into `cache_bytes` is decoded once.
    """

    def __init__(
        self,
        rows: PartRows,
        layout: Layout,
        read: Read,
        side: int,
        limits: ImageLimits,
        cache_bytes: int = 0,
        threads: int = 2,
    ) -> None:
        self.rows, self.layout, self.side, self.limits = rows, layout, side, limits
        self._read = read
        self._pool = ThreadPoolExecutor(threads)
        count = len(rows)
        whole = count * 3 * side * side
        self._cache = np.empty((count, 3, side, side), np.uint8) if 0 < whole <= cache_bytes else None
        self._have = np.zeros(count if self._cache is not None else 0, bool)

    @classmethod
    def of_index(
        cls,
        index: Artifact,
        fetch: Fetch,
        roles: Sequence[str],
        held_out: bool,
        side: int,
        limits: ImageLimits,
        cache_bytes: int = 0,
        threads: int = 2,
        sources: Collection[str] | None = None,
    ) -> Pictures:
        """Return the pictures of an index. `sources` names those whose pictures are wanted; None: all."""
        rows = IndexedRows(index, fetch, dict.fromkeys(roles, sources), held_out)
        return cls(rows, rows.layout, of_whole_shards(fetch), side, limits, cache_bytes, threads)

    @classmethod
    def to_choose_from(
        cls,
        index: Artifact,
        scratch: Path,
        few: Mapping[str, int],
        held_out: bool,
        side: int,
        limits: ImageLimits,
        sources: Collection[str] | None = None,
    ) -> Pictures:
        """Return pictures of which an evaluation chooses so many of each role: of all shards where they are few, else
        of some, evenly spread. Each is read alone, without its shard, and compared with its digest in the index.
        """
        store = index.store
        fetch = Fetched(store, scratch)
        rows = IndexedRows(index, fetch, dict.fromkeys(few, sources), held_out, few)
        return cls(rows, rows.layout, functools.partial(read_checked, store), side, limits, threads=AT_ONCE)

    @classmethod
    def of_rows(
        cls,
        store: Store,
        scratch: Path,
        rows: dict[str, list[Any]],
        side: int,
        limits: ImageLimits,
        cache_bytes: int = 0,
        threads: int = 2,
    ) -> Pictures:
        """Return the pictures of these rows, which have columns of an index, as one part."""
        count = len(rows["key"])
        columns = {name: rows.get(name) or [None] * count for name in INDEX_SCHEMA} | {"held_out": [False] * count}
        path = scratch / "rows.arrow"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_part(path, columns, INDEX_SCHEMA)
        made = PartRows([count], lambda _: path, INDEX_SCHEMA, set(rows["role"]), False)
        layout = Layout(made.sizes, [""])
        fetch = Fetched(store, scratch)
        return cls(made, layout, of_whole_shards(fetch), side, limits, cache_bytes, threads)

    def __len__(self) -> int:
        return len(self.rows)

    def sources(self, numbers: Iterable[int] | None = None) -> list[str]:
        """Return the source of these pictures; of all."""
        chosen = np.arange(len(self)) if numbers is None else np.fromiter(numbers, np.int64)
        return [self.layout.sources[part] for part in self.rows.parts_of(chosen).tolist()]

    def captioned(self, role: str | None = None) -> list[int]:
        """Return the numbers of the pictures that have a caption; those of one role alone, where it is named."""
        found = [np.zeros(0, bool)]
        for part in range(len(self.rows.sizes)):
            filled = self.rows.filled(part, "caption")
            found.append(filled if role is None else filled & self.rows.equal(part, "role", role))
        return np.flatnonzero(np.concatenate(found)).tolist()

    def name(self, number: int) -> str:
        """Shard, key and role of a picture, for messages."""
        shard, key, role = self.rows.row(number, ("shard", "key", "role"))
        return f"{Path(shard).stem}/{key} ({role})"

    def decoded(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return pictures uint8 `[n, 3, side, side]`. `UserError` names one that cannot be read."""
        chosen = np.asarray(numbers, np.int64)
        if self._cache is None:
            made = np.empty((len(chosen), 3, self.side, self.side), np.uint8)
            self._decode_into(chosen, made)
            return made
        missing = np.unique(chosen[~self._have[chosen]])
        self._decode_into(missing, (self._cache[n] for n in missing))
        self._have[missing] = True
        return self._cache[chosen]

    def _decode_into(self, numbers: np.ndarray, targets: Iterable[np.ndarray]) -> None:
        """Decode pictures into arrays uint8 [3, side, side], in threads where they are many."""
        apply = self._pool.map if len(numbers) > 4 else map
        collections.deque(apply(self._decode, numbers.tolist(), targets), 0)

    def _decode(self, number: int, target: np.ndarray) -> None:
        try:
            data = self._read(*self.rows.row(number, ("shard", "offset", "size", "digest")))
            target[:] = square(decode_image(data, self.limits).rgb, self.side).transpose(2, 0, 1)
        except StoreError:  # says by itself what is wrong
            raise
        except (ImageError, ValueError) as error:
            raise UserError(f"the picture {self.name(number)} cannot be read: {error}") from error


def of_whole_shards(fetch: Fetch) -> Read:
    """Return what reads pictures from local shards; `fetch` gives the path of one, which is checked."""
    files = ShardFiles(fetch)
    return lambda shard, offset, size, digest: files.read(shard, offset, size)


class PictureSource:
    """Batches `{"images": uint8 [b, 3, S, S]}` of one rank, of any step, in an order that (seed, epoch) alone
    decides.
    """

    def __init__(
        self,
        pictures: Pictures,
        batch: int,
        draw: Draw,
        weights: Weights | None = None,
        ahead: Ahead = lambda parts: None,
    ) -> None:
        """`weights` are those of the sources, where the pictures are shared by them; `ahead` fetches parts and their
        shards in the background.
        """
        self.pictures, self._ahead = pictures, ahead
        self._sampler = mixed(pictures.layout, weights, batch, draw)
        self._coming: list[int] = []

    def batch(self, step: int) -> tuple[dict[str, Any], list[str]]:
        """Return the batch of a step, and the names of its pictures."""
        import torch

        if self._coming != (coming := self._sampler.coming(step)):
            self._coming = coming
            self._ahead(coming)
        numbers = self._sampler.at(step)
        images = torch.from_numpy(self.pictures.decoded(numbers))
        return {"images": images}, [self.pictures.name(int(n)) for n in numbers]


class CaptionSource:
    """Batches `{"images", "ids"}` for image-text training, in pairs: a sample and its edit, each with its own caption.

    The edit is a hard negative of its source. Samples without a captioned edit are paired among themselves.
    """

    def __init__(
        self,
        pictures: Pictures,
        encode: Any,
        batch: int,
        draw: Draw,
        weights: Weights | None = None,
        ahead: Ahead = lambda parts: None,
    ) -> None:
        self.pictures, self._encode, self._ahead = pictures, encode, ahead
        self.pairs = caption_pairs(pictures.rows)
        if batch // 2 < 1 or not len(self.pairs):
            raise UserError("image-text training needs at least two captioned pictures, and a batch of two or more.")
        parts = pictures.rows.parts_of(self.pairs[:, 0])
        if draw.window is not None:  # pairs of one shard come together
            order = np.argsort(parts, kind="stable")
            self.pairs, parts = self.pairs[order], parts[order]
        self._parts = np.unique(parts)
        self._sampler = mixed(Layout.of_parts(parts, pictures.layout.sources), weights, batch // 2, draw)
        self._coming: list[int] = []

    def batch(self, step: int) -> tuple[dict[str, Any], list[str]]:
        """Return the batch of a step, and the names of its pictures."""
        import torch

        if self._coming != (coming := self._sampler.coming(step)):
            self._coming = coming
            self._ahead(self._parts[coming].tolist())
        numbers = self.pairs[self._sampler.at(step)].flatten().tolist()
        images = torch.from_numpy(self.pictures.decoded(numbers))
        captions = [captions_of(self.pictures, n) for n in numbers]
        ids = self._encode([found[(step + n) % len(found)] for n, found in zip(numbers, captions, strict=True)])
        return {"images": images, "ids": ids}, [self.pictures.name(n) for n in numbers]


def captions_of(pictures: Pictures, number: int) -> list[str]:
    """Return a picture's captions, of which training takes one after another; [] where it has none."""
    caption, several, role = pictures.rows.row(number, ("caption", "texts", "role"))
    return list(several) if several and role == "picture" else [caption] if caption else []


def caption_pairs(rows: PartRows) -> np.ndarray:
    """Pair every captioned picture with the first captioned edit of it, the rest with their neighbours: int64
    [pairs, 2]. What was made of a picture is in the picture's part.
    """
    paired, single = [np.empty((0, 2), np.int64)], [np.empty(0, np.int64)]
    for part, first in enumerate((np.cumsum(rows.sizes) - rows.sizes).tolist()):
        filled = rows.filled(part, "caption")
        pictures = np.flatnonzero(filled & rows.equal(part, "role", "picture"))
        edited = np.flatnonzero(filled & rows.equal(part, "role", "target"))
        partners = np.full(len(pictures), -1)
        if len(pictures) and len(edited):
            partners = rows.matches(part, "group", pictures, edited)
        has = partners >= 0
        paired.append(first + np.stack([pictures[has], edited[partners[has]]], 1))
        single.append(first + pictures[~has])
    alone = np.concatenate(single)
    return np.concatenate([*paired, alone[: len(alone) // 2 * 2].reshape(-1, 2)])
