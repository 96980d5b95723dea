"""The data path of the generator's training at the paper's size in rows: memory, time to the first step, rows a second,
and how long a step of 1.5 s waits for its batch.

    python -m tests.benchmarks.paper_size [--shards 10900] [--rows 1000] [--remote 40] [--keep FOLDER]

The store is synthetic: real parts of the index and of the latents' rows, latents of 8 numbers. The worker is the real
one, up to its batches, as one of eight, in a process of its own, with the latents shuffled as a whole and streamed in
lanes. `--remote` puts so many of the shards on an S3 server (moto's) behind a line of limited bandwidth, which answers
1 % of all requests with an error.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from components.data.latents import LatentSpec, LatentWriter
from components.data.part_rows import write_part
from pipelines.stages.data.parquet_rows import write_rows
from pipelines.stages.indexed_rows import COUNTS, COUNTS_SCHEMA, INDEX_SCHEMA, ROWS_SCHEMA, IndexedRows
from pipelines.stages.mixing import mixed
from pipelines.store.artifacts import Artifact, FileEntry, Manifest
from pipelines.store.files import Store

KINDS = {"captions": ("caption", 1), "edits": ("edit", 2)}  # of latents: role of their rows, rows of a sample
ROLES = (("picture", "c", 1), ("source", "e", 2), ("target", "e", 2))  # of the index: rows of a sample
WORLD, BATCH, STEPS, STEP = 8, 1024, 12, 1.5
BANDWIDTH = 25e6  # bytes a second of the line to the S3 server
CAPTION = "a photograph of a table in a kitchen beside a window, seen from far away in the morning light, number {}"
INPUTS = ("index", "encode_latents", "index_latents")


def make(store: Store, shards: int, rows: int) -> None:
    """Write the index, latents and their rows. All shards have the rows of the first; each has its own files."""
    store.prepare()
    root = Path(store.local("artifacts"))
    files: dict[str, list[FileEntry]] = {stage: [] for stage in INPUTS}
    counts: dict[str, list[dict[str, Any]]] = {"index": [], "index_latents": []}
    held = [n % 20 == 0 for n in range(rows)]

    def put(stage: str, name: str, data: bytes, digest: str = "") -> None:
        path = root / stage / "f" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        files[stage].append(FileEntry(name, len(data), digest or hashlib.sha256(data).hexdigest()))

    def count(stage: str, part: str, shard: str, role: str, times: int, size: int) -> None:
        counts[stage] += [
            {"part": part, "shard": shard, "role": role, "held_out": side, "rows": times * held.count(side),
             "bytes": size}
            for side in (False, True)
        ]  # fmt: skip

    with tempfile.TemporaryDirectory() as folder:
        first = firsts(Path(folder), rows, held)
    latents = {kind: (data, hashlib.sha256(data).hexdigest()) for kind, data in first.items() if kind in KINDS}
    for number in range(shards):
        name = f"{number:05d}"

        def own(data: bytes, name: str = name) -> bytes:
            return data.replace(b"/00000.", f"/{name}.".encode())  # in the one place where a part names its shard

        put("index", f"index/{name}.arrow", own(first["index"]))
        for role, place, times in ROLES:
            count("index", name, f"artifacts/curate/f/shards/{place}/{name}.tar", role, times, 500_000_000)
        for kind, (role, times) in KINDS.items():
            put("encode_latents", f"{kind}/{name}.arrow", *latents[kind])
            put("index_latents", f"rows/{kind}-{name}.arrow", own(first[role]))
            shard = f"artifacts/encode_latents/f/{kind}/{name}.arrow"
            count("index_latents", f"{kind}-{name}", shard, role, times, len(latents[kind][0]))
    for stage in INPUTS:
        if stage in counts:
            with tempfile.TemporaryDirectory() as folder:
                write_rows(Path(folder) / COUNTS, counts[stage], COUNTS_SCHEMA)
                put(stage, COUNTS, (Path(folder) / COUNTS).read_bytes())
        inputs = {"train_tokenizer": {"fingerprint": "f", "digest": "t" * 64}}
        manifest = Manifest(stage, "1", "f", stage, inputs, {}, {}, files[stage], {}, {}, {}, "", "", 0.0)
        store.write_json(f"artifacts/{stage}/f/manifest.json", manifest.to_json())


def firsts(folder: Path, rows: int, held: list[bool]) -> dict[str, bytes]:
    """Return the files of the first shard: its part of the index, its latents, and their rows."""
    keys, texts = [f"{n:09d}" for n in range(rows)], [CAPTION.format(n) for n in range(rows)]
    roles = [(role, place) for role, place, times in ROLES for _ in range(times)]
    times = len(roles)
    columns: dict[str, list[Any]] = {
        "shard": [f"artifacts/curate/f/shards/{place}/00000.tar" for _, place in roles for _ in keys],
        "key": keys * times, "group": keys * times, "role": [role for role, _ in roles for _ in keys],
        "caption": texts * times, "instruction": ["make it brighter"] * rows * times,
        "offset": list(range(rows)) * times, "size": [1000] * rows * times, "digest": [0] * rows * times,
        "held_out": held * times, "texts": [None] * rows * times, "origins": [None] * rows * times,
    }  # fmt: skip
    write_part(folder / "index", columns, INDEX_SCHEMA)
    for kind, (role, times) in KINDS.items():
        own = rows * times
        spec = LatentSpec(2, 2, 2, "t" * 64, (0.0,) * 2, (1.0,) * 2, kind)  # type: ignore[arg-type]
        values = np.random.default_rng(0).standard_normal((own, 2, 2, 2)).astype(np.float16)
        with LatentWriter(folder / kind, spec) as writer:
            writer.add(keys * times, texts * times, values, values if kind == "edits" else None, [False] * own)
        columns = {
            "shard": [f"artifacts/encode_latents/f/{kind}/00000.arrow"] * own, "row": list(range(own)),
            "key": keys * times, "role": [role] * own, "held_out": held * times,
            "texts": [[text] for text in texts] * times, "origins": [None] * own,
        }  # fmt: skip
        write_part(folder / role, columns, ROWS_SCHEMA)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def memory() -> dict[str, float]:
    """Return this process's own memory, and what it has mapped beside, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith("Rss")}
    return {"own": values["RssAnon"], "mapped": values["RssFile"]}


def work(url: str, cache: str, full_gb: float) -> dict[str, float]:
    """Open the samples as a worker does and draw batches; return the figures."""
    from components.generator.text import train_text_tokenizer
    from pipelines.stages.generator.latent_batches import LatentSource, draw_of, open_samples
    from pipelines.store.artifacts import find_artifact
    from pipelines.store.node_cache import NodeCache

    words = train_text_tokenizer([CAPTION.format(1), "make it brighter"])
    before, started, cpu = memory()["own"], time.perf_counter(), time.process_time()
    store = Store(url)
    inputs: dict[str, Artifact] = {}
    for stage in INPUTS:
        found = find_artifact(store, stage, "f")
        assert found is not None
        inputs[stage] = found
    config = SimpleNamespace(
        generator=SimpleNamespace(captions={}), shuffle=SimpleNamespace(full_gb=full_gb, window_shards=16),
        execution=SimpleNamespace(node_cache_gb=64.0),
    )  # fmt: skip
    node_cache = NodeCache(store, 64 * 2**30, Path(cache))
    context: Any = SimpleNamespace(
        config=config, inputs=inputs, cache=node_cache, seed=1, store=store, rank=3, world=WORLD, given={}
    )
    train, held_out = open_samples(context)
    draw = draw_of(context)
    source = LatentSource(train, words, 64, BATCH, 0.5, 0, draw)
    validation = LatentSource(held_out, words, 64, BATCH, 0.5, 0, draw)
    validation.first("captions", 256)
    source.batch(0)
    first, first_cpu = time.perf_counter() - started, time.process_time() - cpu
    waited = 0.0
    with ThreadPoolExecutor(1) as ahead:  # as the training loop does
        waiting = ahead.submit(source.batch, 1)
        for step in range(1, STEPS):
            asked = time.perf_counter()
            waiting.result()
            waited += time.perf_counter() - asked
            waiting = ahead.submit(source.batch, step + 1)
            time.sleep(STEP)
        waiting.result()
    node_cache.ahead = lambda paths, through=True: None  # type: ignore[method-assign]
    drawn, drawn_cpu = time.perf_counter(), time.process_time()
    for step in range(STEPS, 2 * STEPS):
        source.batch(step)
    took, took_cpu = time.perf_counter() - drawn, time.process_time() - drawn_cpu
    opened = time.process_time()
    pictures = IndexedRows(inputs["index"], node_cache.fetch, {"picture": None, "target": None}, False)
    sampler = mixed(pictures.layout, None, BATCH, draw)
    for number in sampler.at(0).tolist():
        pictures.row(number, ("shard", "offset", "size"))
    of_pictures = time.process_time() - opened
    node_cache.close()
    now, per_step = memory(), BATCH // WORLD
    return {
        "rows": len(train.captions) + len(train.edits), "first step, s": first, "first step, CPU s": first_cpu,
        "own memory, MB": now["own"] - before, "mapped, MB": now["mapped"],
        "rows a second": STEPS * per_step / took, "rows a CPU second": STEPS * per_step / took_cpu,
        "data wait": waited / (waited + (STEPS - 1) * STEP), "pictures' rows": len(pictures),
        "a first batch of pictures found, CPU s": of_pictures,
    }  # fmt: skip


def measured(url: str, cache: Path, full_gb: float, environment: dict[str, str]) -> dict[str, float]:
    """Return the figures of a worker in a process of its own."""
    arguments = [sys.executable, "-m", "tests.benchmarks.paper_size", "--worker", url, str(cache), str(full_gb)]
    done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | environment)
    return dict(json.loads(done.stdout.splitlines()[-1]))


@contextlib.contextmanager
def on_s3(local: Store) -> Iterator[tuple[str, Any]]:
    """Serve a copy of a store by S3 for the length of a block."""
    from tests.chaos.s3 import BUCKET, faulty_s3

    with faulty_s3() as server:
        os.environ.update(server.environment)
        remote = Store(f"s3://{BUCKET}/store")
        for name in local.files("artifacts"):
            remote.copy_in(Path(local.local(f"artifacts/{name}")), f"artifacts/{name}")
        server.faults.errors, server.faults.bandwidth = 0.01, BANDWIDTH
        yield remote.url, server


def main() -> None:
    """Make the store, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=10_900)
    parser.add_argument("--rows", type=int, default=1000, help="samples of a shard")
    parser.add_argument("--remote", type=int, default=40, help="shards that are put on the S3 server; 0: none")
    parser.add_argument("--keep", help="a folder to make the store in, or to find it in, and to leave it")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        print(json.dumps(work(given.worker[0], given.worker[1], float(given.worker[2]))))
        return
    show = functools.partial(print, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(given.keep or folder)
        store = Store(str(base / "store"))
        if not store.exists("artifacts/index_latents/f/manifest.json"):
            started = time.perf_counter()
            make(store, given.shards, given.rows)
            show(f"made {given.shards:,} shards in {time.perf_counter() - started:.0f} s")
        rows: list[tuple[str, dict[str, float]]] = []
        for name, full_gb in (("local, whole shuffle", 1e9), ("local, lanes", 0.0)):
            rows.append((name, measured(store.url, Path(folder) / f"cache{full_gb:g}", full_gb, {})))
            show(rows[-1])
        if given.remote:
            small = Store(str(Path(folder) / "small"))
            make(small, given.remote, given.rows)
            with on_s3(small) as (url, server):
                cache = Path(folder) / "cache"
                rows.append(
                    (
                        f"S3, {given.remote} shards, {BANDWIDTH / 1e6:.0f} MB/s",
                        measured(url, cache, 0.0, server.environment),
                    )
                )
                rows.append(("the same, files in the node's cache", measured(url, cache, 0.0, server.environment)))
                show(f"the server's answers: {dict(server.counts)}")
    for name, figures in rows:
        show(f"{name}: " + ", ".join(f"{what} {value:,.3g}" for what, value in figures.items()))


if __name__ == "__main__":
    main()
