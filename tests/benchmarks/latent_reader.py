"""The Arrow latent reader against webdataset, HF datasets and one safetensors file per shard, on the same latents.

    python -m tests.benchmarks.latent_reader

Shuffled batches of 64 latents of 96 x 16 x 16 (webdataset: through its shuffle buffer), page cache warm, in this
process.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from components.data.latent_reader import LatentDataset
from components.data.latents import LatentSpec, LatentWriter
from components.data.order import permutation
from components.data.records import Record, write_records

SHAPE, SHARDS, ROWS, BATCH = (96, 16, 16), 4, 800, 64


def write(folder: Path) -> None:
    """Write the same latents in four formats."""
    import io

    from safetensors.numpy import save_file

    spec = LatentSpec(*SHAPE, "benchmark", (0.0,) * SHAPE[0], (1.0,) * SHAPE[0], "captions")
    for shard in range(SHARDS):
        values = np.random.default_rng(shard).standard_normal((ROWS, *SHAPE), np.float32).astype(np.float16)
        keys = [f"{shard:02d}{row:06d}" for row in range(ROWS)]
        with LatentWriter(folder / f"{shard}.arrow", spec) as writer:
            writer.add(keys, ["a caption"] * ROWS, values, None, [False] * ROWS)
        save_file({"latent": values}, folder / f"{shard}.safetensors")

        def records(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                buffer = io.BytesIO()
                np.save(buffer, value)
                yield Record(key, {"npy": buffer.getvalue(), "txt": b"a caption"})

        write_records(folder / f"{shard}.tar", records())


def readers(folder: Path, order: np.ndarray):
    """Return {name: a function that reads an epoch and returns how many samples it saw}."""
    import datasets
    import webdataset
    from safetensors import safe_open

    batches = [order[first : first + BATCH] for first in range(0, len(order), BATCH)]
    ours = LatentDataset([folder / f"{n}.arrow" for n in range(SHARDS)], "benchmark")
    hf = datasets.load_dataset(
        "arrow",
        data_files=[str(folder / f"{n}.arrow") for n in range(SHARDS)],
        split="train",
        cache_dir=str(folder / "hf"),
    ).with_format("torch", columns=["latent", "key", "text"])
    files = [safe_open(folder / f"{n}.safetensors", "pt") for n in range(SHARDS)]

    def arrow() -> int:
        return sum(len(ours.batch(batch).latents) for batch in batches)

    def hugging_face() -> int:
        return sum(len(hf[batch.tolist()]["latent"].reshape(-1, *SHAPE)) for batch in batches)

    def safetensors() -> int:
        seen = 0
        for batch in batches:
            rows = [files[i // ROWS].get_slice("latent")[i % ROWS] for i in batch.tolist()]
            seen += len(torch.stack(rows))
        return seen

    def tars() -> int:
        pipeline = (
            webdataset.WebDataset(
                [str(folder / f"{n}.tar") for n in range(SHARDS)], shardshuffle=False, empty_check=False
            )
            .shuffle(256)
            .decode()
            .to_tuple("npy", "txt")
            .batched(BATCH)
        )
        return sum(len(torch.as_tensor(np.asarray(values))) for values, _ in pipeline)

    return {"ours": arrow, "webdataset": tars, "HF datasets": hugging_face, "safetensors": safetensors}


def main() -> None:
    """Time every reader, best of three epochs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        order = permutation(SHARDS * ROWS, 0, 0)
        rates: dict[str, float] = {}
        for reader, read in readers(folder, order).items():
            read()
            best = np.inf
            for _ in range(3):
                started = time.perf_counter()
                assert read() == SHARDS * ROWS
                best = min(best, time.perf_counter() - started)
            rates[reader] = SHARDS * ROWS / best
        # As far apart as the batches are: a copy that stays in the caches would flatter the machine.
        source = np.empty(256 * 2**20, np.uint8)
        source[:] = 1
        target = np.empty_like(source)
        target[:] = 0
        started = time.perf_counter()
        target[:] = source
        bandwidth = source.nbytes / (time.perf_counter() - started)
    for reader, rate in rates.items():
        print(
            f"{reader:12} {rate:10,.0f} samples/s"
            + ("" if reader == "ours" else f"   ours is {rates['ours'] / rate:.1f} times")
        )
    moved = rates["ours"] * 2 * np.prod(SHAPE)
    print(f"ours moves {moved / 1e9:.2f} GB/s, {moved / bandwidth:.2f} of a plain copy's {bandwidth / 1e9:.2f} GB/s")


if __name__ == "__main__":
    main()
