"""Whether what one process does for all shards of a stage stays flat per shard: `index`'s and `encode_latents`' driver
with every shard made, the evaluations' choice of pictures, and the pairing of captions.

    python -m tests.benchmarks.flat_per_shard [FEW MANY]

Seconds and memory per shard at both sizes, and the ratio of the second to the first (the goal is 1.2 at most). Shards
are of 20 samples, records and manifests as real ones have them. CPU seconds; memory is the peak of Python's own, so
without what Arrow has mapped.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.config.compose import compose_config
from pipelines.config.schema import Resources
from pipelines.stage import StageContext, load_function
from pipelines.stages.evaluation import spread
from pipelines.stages.indexed_rows import IndexedRows
from pipelines.stages.tokenizer.picture_batches import Pictures, caption_pairs
from pipelines.store.artifacts import Artifact, FileEntry, Manifest, ShardRecord, Work, find_artifact
from pipelines.store.files import Store, json_bytes, parse_json
from pipelines.workflow.graph import build_workflow
from pipelines.workflow.shards import ShardMap
from tests.benchmarks.paper_size import make

ROWS = 20  # of a shard
CONFIG = compose_config(["preset=tiny", "source=folder", "source.path=photos"])
DIGEST = "d" * 64


def manifest(stage: str, names: list[str]) -> Manifest:
    """Return a manifest of files."""
    files = [FileEntry(name, 1, DIGEST) for name in names]
    return Manifest(stage, "1", "f", DIGEST, {}, {}, {}, files, {}, {}, {}, "", "", 0.0)


def records_of(stage: str, shards: int) -> list[ShardRecord]:
    """Return the records of a stage's shards, as its shard function leaves them."""
    counts, found = {"input": ROWS, "kept": ROWS, "dropped": 0, "failed": 0}, []
    for number in range(shards):
        name = f"{number:05d}"
        if stage == "index":
            tar = f"artifacts/curate/f/shards/{name}.tar"
            rows = [
                [tar, role, held, ROWS, 10**8] for role in ("picture", "source", "target") for held in (False, True)
            ]
            metrics: dict[str, Any] = {"pictures": {"train": ROWS - 1, "held_out": 1}, "rows": rows}
            found.append(ShardRecord(name, [FileEntry(f"index/{name}.arrow", 1, DIGEST)], counts, metrics))
        for kind in ("captions", "edits") if stage == "encode_latents" else ():
            files = [f"{kind}/{name}.arrow", f"keys/{kind}-{name}.parquet", f"failed/{kind}-{name}.parquet"]
            metrics = {kind: ROWS, "flipped": 0, "shape": [16, 16, 16]}
            found.append(ShardRecord(f"{kind}-{name}", [FileEntry(f, 1, DIGEST) for f in files], counts, metrics))
    return found


def driver(store: Store, stage_name: str, shards: int) -> Callable[[], None]:
    """Make all shards' records, and return what drives the stage over them and writes and reads its manifest."""
    (stage,) = (stage for stage in build_workflow(CONFIG) if stage.name == stage_name)
    work = Work(store, stage_name, f"f{shards}", {})
    for record in records_of(stage_name, shards):
        for path in (*(file.path for file in record.files), f"records/{record.name}.json"):
            data = record.to_bytes() if path.endswith(".json") else b"x"
            store.write_bytes(f"{work.path}/{path}", data, durable=False)
    tars = [f"shards/{number:05d}.tar" for number in range(shards)]
    inputs = {
        name: Artifact(store, manifest(name, tars if name.startswith("curate") else ["model/config.json"]))
        for name in stage.inputs
    }
    log = logging.getLogger("flat_per_shard")

    def drive() -> None:
        mapper = ShardMap(Resources(), 2, lambda **_: None)
        context = StageContext(stage, CONFIG, inputs, work, log, mapper)
        load_function(stage.function)(context)
        made = Manifest(
            stage.name, stage.version, "f", DIGEST, {}, {}, {}, context.outputs, context.counts, context.metrics, {},
            "", "", 0.0,
        )  # fmt: skip
        assert len(Manifest.from_json(parse_json(json_bytes(made.to_json()), ""), "").files) == len(made.files)

    return drive


def evaluations(folder: Path, shards: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """Make an index, and return what chooses pictures of it, and what pairs its captions."""
    store = Store(str(folder))
    make(store, shards, ROWS)
    index = find_artifact(store, "index", "f")
    assert index is not None
    scratch, few = folder / "scratch", {"picture": 10_000, "target": 0}

    def choose() -> None:
        for held_out in (True, False):
            pictures = Pictures.to_choose_from(index, scratch, few, held_out, 16, CONFIG.measure.limits)
            assert spread(pictures.captioned("picture"), 1000)

    def pair() -> None:
        rows = IndexedRows(index, store.local, {"picture": None, "target": None}, False)
        assert len(caption_pairs(rows)) == shards * (ROWS - 1)

    return choose, pair


def measured(action: Callable[[], None], shards: int) -> tuple[float, float]:
    """Return CPU microseconds and bytes of memory per shard."""
    action()
    started = time.process_time()
    action()
    seconds = time.process_time() - started
    tracemalloc.start()
    action()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds / shards * 1e6, peak / shards


def main() -> None:
    """Measure at both sizes and print."""
    sizes = [int(text) for text in sys.argv[1:3]] or [1090, 10_900]
    figures: dict[str, list[tuple[float, float]]] = {}
    for shards in sizes:
        with tempfile.TemporaryDirectory() as folder:
            store = Store(f"{folder}/store")
            store.prepare()
            choose, pair = evaluations(Path(folder) / "index", shards)
            for name, action in (
                ("index, all shards made", driver(store, "index", shards)),
                ("encode_latents, all shards made", driver(store, "encode_latents", shards)),
                ("evaluation: choice of pictures", choose),
                ("train_encoder: pairs of captions", pair),
            ):
                figures.setdefault(name, []).append(measured(action, shards))
    print(f"{'per shard, at shards:':<36}" + "".join(f"{shards:>20,}" for shards in sizes) + "     ratio")
    for name, found in figures.items():
        values = "".join(f"{micros:9,.0f} us {size:6,.0f} B" for micros, size in found)
        ratios = [last / first for first, last in zip(found[0], found[-1], strict=True)]
        print(f"{name:<36}{values}     {ratios[0]:.2f}, {ratios[1]:.2f}", flush=True)


if __name__ == "__main__":
    main()
