"""Pictures for tokenizer training, streamed from their tars, against a loop of decode alone and webdataset.

    python -m tests.benchmarks.picture_stream [--pictures 3072] [--threads 2] [--rounds 3]

Photos of 256 to 512 pixels (cut from those of $PIXSEM_ASSETS/photos where it is set; else made, with the spectrum of
photos) as JPEG of quality 90, in tars of 256 with a real index. Each way gives batches of 64 at 256 pixels, with the
tars out of the page cache at its start and no cache of pictures:

- decode alone: the same decoder and resize, its threads fed from memory
- ours, first epoch: what a training worker does, lanes and windows, each tar compared with its hash when it comes
- ours, a later epoch: the tars were compared before
- webdataset: shuffle, decode("rgb8"), the same resize, in as many worker processes as the others have threads

Prints pictures per second and CPU time per picture; ratios are medians of rounds.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch  # noqa: F401  before anything is timed
from PIL import Image

from components.curation.images import decode_image, encode_jpeg, square
from components.curation.options import ImageLimits
from components.data.records import Record, write_records
from pipelines.stage import ShardContext, ShardTask
from pipelines.stages.data.index import index_one
from pipelines.stages.data.parquet_rows import write_rows
from pipelines.stages.indexed_rows import COUNTS, COUNTS_SCHEMA
from pipelines.stages.tokenizer.picture_batches import Pictures, PictureSource
from pipelines.stages.tokenizer.space_setup import drawing
from pipelines.store.artifacts import Artifact, FileEntry, Manifest
from pipelines.store.files import Store, sha256_file
from pipelines.store.node_cache import NodeCache

SIDE, BATCH, SHARD, DIFFERENT = 256, 64, 256, 128
LIMITS = ImageLimits()


def photos() -> list[bytes]:
    """Return different photos as JPEG, the same every time."""
    rng = np.random.default_rng(0)
    found: list[Path] = []
    if assets := os.environ.get("PIXSEM_ASSETS"):
        found = sorted(path for path in Path(assets, "photos").rglob("*") if path.suffix in (".jpg", ".png"))
    made = []
    for n in range(DIFFERENT):
        size = tuple(int(side) for side in rng.integers(256, 513, 2))
        if found:
            whole = Image.open(found[n * len(found) // DIFFERENT]).convert("RGB")
            made.append(encode_jpeg(np.asarray(whole.resize(size, Image.Resampling.LANCZOS)), 90))
            continue
        steps = np.hypot(np.fft.fftfreq(size[1])[:, None], np.fft.rfftfreq(size[0])) + 1 / max(size)
        grey, colour = (
            np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size[1], size[0], count)), axes=(0, 1)) / steps[..., None],
                          (size[1], size[0]), (0, 1))
            for count in (1, 3)
        )  # fmt: skip
        values = 128 + 50 * grey / grey.std() + 15 * colour / colour.std()
        made.append(encode_jpeg(values.clip(0, 255).astype(np.uint8), 90))
    return made


def make(store: Store, count: int) -> tuple[Artifact, list[Path], list[bytes]]:
    """Write the tars and their index; return it, the tars, and the photos in them."""
    store.prepare()
    different = photos()
    out = {stage: Path(store.local(f"artifacts/{stage}/f")) for stage in ("curate", "index")}
    (out["curate"] / "shards").mkdir(parents=True)
    files: dict[str, list[FileEntry]] = {"curate": [], "index": []}
    counts, tars = [], []

    def entry(stage: str, name: str) -> None:
        path = out[stage] / name
        files[stage].append(FileEntry(name, path.stat().st_size, sha256_file(path)))

    def manifest(stage: str) -> Manifest:
        made = Manifest(stage, "1", "f", stage, {}, {}, {}, files[stage], {}, {}, {}, "", "", 0.0)
        store.write_json(f"artifacts/{stage}/f/manifest.json", made.to_json())
        return made

    for number in range(count // SHARD):
        name = f"{number:05d}"
        tars.append(out["curate"] / f"shards/{name}.tar")
        records = (
            Record(f"{n:08d}", {"jpg": different[n % DIFFERENT], "txt": b"a photo", "json": b"{}"})
            for n in range(number * SHARD, (number + 1) * SHARD)
        )
        write_records(tars[-1], records)
        entry("curate", f"shards/{name}.tar")
    manifest("curate")
    for number in range(count // SHARD):
        name = f"{number:05d}"
        args = {"shard": f"artifacts/curate/f/shards/{name}.tar", "edits": None, "held_out": 0.0, "moved": []}
        result = index_one(ShardContext(ShardTask(name, args), 0, out["index"], store, out["index"]))
        counts += [dict(zip(COUNTS_SCHEMA, (name, *row), strict=True)) for row in result.metrics["rows"]]
        entry("index", f"index/{name}.arrow")
    write_rows(out["index"] / COUNTS, counts, COUNTS_SCHEMA)
    entry("index", COUNTS)
    return Artifact(store, manifest("index")), tars, different


def fitted(data: bytes) -> np.ndarray:
    """Decode alone."""
    return square(decode_image(data, LIMITS).rgb, SIDE)


def ours(index: Artifact, store: Store, node: Path, threads: int) -> Callable[[], int]:
    """Return a worker's data path: an epoch of batches, one of them ahead, as the training loop takes them."""

    def epoch() -> int:
        cache = NodeCache(store, 2**36, node)
        pictures = Pictures.of_index(index, cache.fetch, ("picture", "target"), False, SIDE, LIMITS, 0, threads)
        shuffle = SimpleNamespace(full_gb=0.0, window_shards=4)
        config = SimpleNamespace(shuffle=shuffle, execution=SimpleNamespace(node_cache_gb=64.0))
        context: Any = SimpleNamespace(config=config, cache=cache, store=store, seed=1, rank=0, world=1)
        draw, ahead_of = drawing(context, pictures)
        source, seen = PictureSource(pictures, BATCH, draw, None, ahead_of), 0
        with ThreadPoolExecutor(1) as ahead:
            waiting = ahead.submit(source.batch, 0)
            for step in range(len(pictures) // BATCH):
                seen += len(waiting.result()[0]["images"])
                waiting = ahead.submit(source.batch, step + 1)
        cache.close()
        return seen

    return epoch


def webdataset_of(tars: list[Path], threads: int) -> Callable[[], int]:
    """Return webdataset's usual pipeline."""
    import webdataset

    def sized(rgb: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(square(rgb, SIDE).transpose(2, 0, 1))

    def epoch() -> int:
        chain = webdataset.WebDataset([str(tar) for tar in tars], shardshuffle=len(tars), seed=1)
        chain = chain.shuffle(1000).decode("rgb8").to_tuple("jpg").map_tuple(sized).batched(BATCH)
        loader = webdataset.WebLoader(chain, batch_size=None, num_workers=threads)
        return sum(len(images) for (images,) in loader)

    return epoch


def timed(action: Callable[[], int]) -> tuple[float, float]:
    """Return pictures a second, and CPU seconds of this process and its ended children for a picture."""

    def cpu() -> float:
        both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(used.ru_utime + used.ru_stime for used in both)

    started, used = time.perf_counter(), cpu()
    count = action()
    return count / (time.perf_counter() - started), (cpu() - used) / count


def main() -> None:
    """Measure in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("--pictures", 3072), ("--threads", 2), ("--rounds", 3)):
        parser.add_argument(name, type=int, default=default)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        store = Store(f"{name}/store")
        index, tars, different = make(store, args.pictures)
        held = [different[n % DIFFERENT] for n in range(len(tars) * SHARD)]
        megabytes, pixels = sum(map(len, held)) / 1e6, [Image.open(io.BytesIO(data)).size for data in different]
        print(f"{len(held):,} photos of {np.prod(pixels, 1).mean() / 1e6:.2f} megapixels, {megabytes:.0f} MB in all")

        def alone() -> int:
            with ThreadPoolExecutor(args.threads) as pool:
                return sum(len(picture) > 0 for picture in pool.map(fitted, held))

        rates: dict[str, list[tuple[float, float]]] = {}
        for way, action in ways(args, alone, index, store, tars, Path(name)):
            for tar in tars:
                with tar.open("rb") as file:
                    os.fsync(file.fileno())
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            rates.setdefault(way, []).append(timed(action))
        for way, found in rates.items():
            ratios = [[a / b for a, b in zip(one, whole, strict=True)]
                      for one, whole in zip(found, rates["decode alone"], strict=True)]  # fmt: skip
            rate, cpu = (statistics.median(values) for values in zip(*found, strict=True))
            times, cpu_times = (statistics.median(values) for values in zip(*ratios, strict=True))
            print(
                f"{way:<22} {rate:6.0f} pictures/s, {times:.2f} of decode alone; {1e3 * cpu:.2f} ms of CPU a picture, "
                f"{cpu_times:.2f} of decode alone's"
            )


def ways(args: Any, alone: Any, index: Artifact, store: Store, tars: list[Path], base: Path) -> Iterator[Any]:
    """Yield each way in turn, round by round."""
    for number in range(args.rounds):
        streamed = ours(index, store, base / f"node{number}", args.threads)
        yield "decode alone", alone
        yield "ours, first epoch", streamed
        yield "ours, a later epoch", streamed
        yield "webdataset", webdataset_of(tars, args.threads)


if __name__ == "__main__":
    main()
