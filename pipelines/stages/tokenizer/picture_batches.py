"""Pictures for training and evaluation: any of them by number, from the index, decoded once where memory allows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from components.curation.images import ImageError, decode_image, square
from components.curation.options import ImageLimits
from components.data.shard_index import ShardFiles
from components.data.tables import read_table
from pipelines.errors import UserError
from pipelines.stage import source_of
from pipelines.stages.mixing import Weights, mixed
from pipelines.store.artifacts import Artifact
from pipelines.store.files import Store
from pipelines.store.verified_read import fetch_checked


class Pictures:
    """The pictures of some roles, from one side of the held-out split, in the index's order.

    `decoded(numbers)` gives uint8 `[n, 3, side, side]`. What fits into `cache_bytes` is decoded once.
    """

    def __init__(
        self,
        store: Store,
        index: Artifact,
        scratch: Path,
        roles: Sequence[str],
        held_out: bool,
        side: int,
        limits: ImageLimits,
        cache_bytes: int = 0,
        threads: int = 2,
        sources: Collection[str] | None = None,
    ) -> None:
        """`sources` names those whose pictures are wanted; None: all."""
        columns: dict[str, list[Any]] = {}
        for path in index.files("index/*.parquet"):
            for name, values in read_table(fetch_checked(store, path, scratch)).items():
                columns.setdefault(name, []).extend(values)
        chosen = [
            i
            for i, (role, held, shard) in enumerate(
                zip(columns["role"], columns["held_out"], columns["shard"], strict=True)
            )
            if role in roles and held == held_out and (sources is None or source_of(shard) in sources)
        ]
        rows = {name: [values[i] for i in chosen] for name, values in columns.items()}
        self._open(store, scratch, rows, side, limits, cache_bytes, threads)

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
        """Return the pictures of these rows, with the columns of an index."""
        made = cls.__new__(cls)
        made._open(store, scratch, rows, side, limits, cache_bytes, threads)
        return made

    def _open(
        self,
        store: Store,
        scratch: Path,
        rows: dict[str, list[Any]],
        side: int,
        limits: ImageLimits,
        cache_bytes: int,
        threads: int,
    ) -> None:
        self.store, self.side, self.limits, self.rows = store, side, limits, rows
        self._scratch = scratch
        self._files = ShardFiles()
        self._local: dict[str, Path] = {}
        self._pool = ThreadPoolExecutor(threads)
        count = len(rows["key"])
        whole = count * 3 * side * side
        self._cache = np.empty((count, 3, side, side), np.uint8) if 0 < whole <= cache_bytes else None
        self._have = np.zeros(count, bool)

    def __len__(self) -> int:
        return len(self.rows["key"])

    def sources(self, numbers: Iterable[int] | None = None) -> list[str]:
        """Return the source of these pictures; of all."""
        shards = self.rows["shard"]
        return [source_of(shards[n]) for n in (range(len(self)) if numbers is None else numbers)]

    def name(self, number: int) -> str:
        """Shard, key and role of a picture, for messages."""
        shard = Path(self.rows["shard"][number]).stem
        return f"{shard}/{self.rows['key'][number]} ({self.rows['role'][number]})"

    def decoded(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return pictures uint8 `[n, 3, side, side]`. `UserError` names one that cannot be read."""
        chosen = [int(n) for n in numbers]
        missing = [n for n in chosen if not self._have[n]] if self._cache is not None else chosen
        fresh = list(self._pool.map(self._decode, missing)) if len(missing) > 4 else [self._decode(n) for n in missing]
        if self._cache is None:
            return np.stack(fresh) if fresh else np.empty((0, 3, self.side, self.side), np.uint8)
        for number, picture in zip(missing, fresh, strict=True):
            self._cache[number] = picture
            self._have[number] = True
        return self._cache[np.asarray(chosen, dtype=np.int64)]

    def _decode(self, number: int) -> np.ndarray:
        shard = self.rows["shard"][number]
        if shard not in self._local:
            self._local[shard] = fetch_checked(self.store, shard, self._scratch)
        try:
            data = self._files.read(self._local[shard], self.rows["offset"][number], self.rows["size"][number])
            picture = square(decode_image(data, self.limits).rgb, self.side)
        except (ImageError, ValueError) as error:
            raise UserError(f"the picture {self.name(number)} cannot be read: {error}") from error
        return np.ascontiguousarray(picture.transpose(2, 0, 1))


class PictureSource:
    """Batches `{"images": uint8 [b, 3, S, S]}` of one rank, of any step, in an order that (seed, epoch) alone
    decides.
    """

    def __init__(
        self, pictures: Pictures, batch: int, seed: int, rank: int, world: int, weights: Weights | None = None
    ) -> None:
        """`weights` are those of the sources, where the pictures are shared by them."""
        self.pictures = pictures
        self._sampler = mixed(pictures.sources(), weights, batch, seed, rank, world)

    def batch(self, step: int) -> tuple[dict[str, Any], list[str]]:
        """Return the batch of a step, and the names of its pictures."""
        import torch

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
        seed: int,
        rank: int,
        world: int,
        weights: Weights | None = None,
    ) -> None:
        self.pictures, self._encode = pictures, encode
        self.pairs = caption_pairs(pictures)
        if batch // 2 < 1 or not self.pairs:
            raise UserError("image-text training needs at least two captioned pictures, and a batch of two or more.")
        of_pairs = pictures.sources(first for first, _ in self.pairs)
        self._sampler = mixed(of_pairs, weights, batch // 2, seed, rank, world)

    def batch(self, step: int) -> tuple[dict[str, Any], list[str]]:
        """Return the batch of a step, and the names of its pictures."""
        import torch

        numbers = [n for pair in self._sampler.at(step) for n in self.pairs[int(pair)]]
        images = torch.from_numpy(self.pictures.decoded(numbers))
        captions = [captions_of(self.pictures, n) for n in numbers]
        ids = self._encode([found[(step + n) % len(found)] for n, found in zip(numbers, captions, strict=True)])
        return {"images": images, "ids": ids}, [self.pictures.name(n) for n in numbers]


def captions_of(pictures: Pictures, number: int) -> list[str]:
    """Return a picture's captions, of which training takes one after another; [] where it has none."""
    caption = pictures.rows["caption"][number]
    several = pictures.rows["texts"][number] if "texts" in pictures.rows else None
    return list(several) if several and pictures.rows["role"][number] == "picture" else [caption] if caption else []


def caption_pairs(pictures: Pictures) -> list[tuple[int, int]]:
    """Pair every captioned picture with the first captioned edit of it, the rest with their neighbours."""
    captioned = [n for n, caption in enumerate(pictures.rows["caption"]) if caption]
    targets: dict[str, int] = {}
    for n in captioned:
        if pictures.rows["role"][n] == "target":
            targets.setdefault(pictures.rows["group"][n], n)
    pairs, single = [], []
    for n in captioned:
        if pictures.rows["role"][n] == "picture":
            partner = targets.get(pictures.rows["group"][n])
            if partner is None:
                single.append(n)
            else:
                pairs.append((n, partner))
    pairs += list(zip(single[::2], single[1::2], strict=False))
    return pairs
