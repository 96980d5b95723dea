"""The workflow and its shard scheduler with very many empty shards: seconds per thousand, memory, and what looks at
them afterwards.

    python -m tests.benchmarks.many_shards [SHARDS]

Two stages run through the real driver: one makes the shards, the other reads each. A rate is named against that of the
first tenth.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path
from unittest.mock import patch

import psutil

from pipelines.config.compose import compose_config
from pipelines.stage import ShardContext, ShardResult, ShardTask, Stage, StageContext
from pipelines.store.artifacts import Artifact, find_artifact
from pipelines.store.files import Store
from pipelines.store.maintenance import verify
from pipelines.workflow.driver import launch as running

HERE = "tests.benchmarks.many_shards"
SHARDS = "PIXSEM_BENCHMARK_SHARDS"
STAGES = ("ingest", "measure")
TENTHS = 10


def make_all(context: StageContext) -> None:
    """Make the empty shards."""
    count = int(os.environ[SHARDS])
    context.map_shards(f"{HERE}:make_one", [ShardTask(f"{i:06d}") for i in range(count)])


def make_one(context: ShardContext) -> ShardResult:
    """Write a shard without samples."""
    context.file(f"shards/{context.task.name}.txt").touch()
    return ShardResult({"input": 0, "kept": 0})


def read_all(context: StageContext) -> None:
    """Read the shards of the other stage, each in a task of its own."""
    paths = context.inputs["ingest"].files("shards/*")
    context.map_shards(f"{HERE}:read_one", [ShardTask(Path(path).stem, {"path": path}) for path in paths])


def read_one(context: ShardContext) -> ShardResult:
    """Read a shard, compared with its manifest as always."""
    assert context.fetch(context.task.args["path"]).read_bytes() == b""
    return ShardResult({"input": 0, "kept": 0})


def workflow() -> list[Stage]:
    """Return the two stages."""
    return [
        Stage("ingest", "1", f"{HERE}:make_all", ("seed",)),
        Stage("measure", "1", f"{HERE}:read_all", ("seed",), ("ingest",)),
    ]


class Watch:
    """Notes the memory of the driver and of the task that drives a stage, twice a second."""

    def __init__(self) -> None:
        self.seen: dict[str, list[tuple[float, int]]] = {"driver": [], "stage": []}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(0.5):
            self.seen["driver"].append((time.time(), me.memory_info().rss))
            for child in me.children(recursive=True):
                try:
                    if child.cmdline()[:1] == ["ray::run_stage"] or child.cmdline()[0].startswith("ray::stage-"):
                        self.seen["stage"].append((time.time(), child.memory_info().rss))
                except (psutil.Error, IndexError):
                    continue

    def most(self, who: str, first: float, last: float) -> float:
        """Return the most MB that one had between two moments; nan where nobody looked."""
        return max((rss / 2**20 for at, rss in self.seen[who] if first <= at <= last), default=float("nan"))


def made_at(store: Store, run_id: str, stage: str) -> list[float]:
    """Return when each shard of a stage was done, from its log."""
    lines = store.read_bytes(f"runs/{run_id}/logs/{stage}.log").decode().splitlines()
    times = [line[:23] for line in lines if " INFO shard " in line]
    return [datetime.strptime(text, "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp() for text in times]


def timed(name: str, action) -> object:
    """Do something and print how long it took."""
    started = time.perf_counter()
    value = action()
    print(f"{name:<44} {time.perf_counter() - started:7.2f} s", flush=True)
    return value


def main() -> None:
    """Run both stages, print their rates by tenths, then time what looks at so many files."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    os.environ[SHARDS] = str(count)
    with tempfile.TemporaryDirectory() as folder, patch.object(running, "build_workflow", lambda *_: workflow()):
        config = compose_config(["preset=tiny", f"store={folder}/store"])
        store = Store(config.store)
        with Watch() as watch:
            run = running.run_new(store, config, None, [], quiet=True)
        assert run.state == "completed", {name: state.error for name, state in run.stages.items()}
        for stage in STAGES:
            times = made_at(store, run.id, stage)
            assert len(times) == count, f"{len(times)} of {count} shards are in the log of {stage}"
            print(f"\n{stage}: {count:,} shards\n  tenth   s per 1,000   of the first   driver MB   stage MB")
            part, first = count // TENTHS, 0.0
            for tenth in range(TENTHS):
                begin, end = times[tenth * part], times[(tenth + 1) * part - 1]
                each = (end - begin) / (part - 1) * 1000
                first = first or each
                memory = [watch.most(who, begin, end) for who in ("driver", "stage")]
                print(f"  {tenth + 1:>5}   {each:11.2f}   {each / first:12.2f}   {memory[0]:9.0f}   {memory[1]:8.0f}")
            whole = run.stages[stage].seconds
            print(
                f"  the stage took {whole:.1f} s, {whole - (times[-1] - times[0]):.1f} s of it before its first "
                "shard and after its last"
            )
        fingerprint = run.stages["ingest"].fingerprint
        print(
            f"\nmanifest of {count:,} shards: "
            f"{store.size(f'artifacts/ingest/{fingerprint}/manifest.json') / 2**20:.1f} MB"
        )
        artifact = timed("read the manifest", lambda: find_artifact(store, "ingest", fingerprint))
        assert isinstance(artifact, Artifact)
        timed("list the shards from it", lambda: artifact.files("shards/*"))
        timed("look whether all files are there", artifact.problems)
        timed("plan (pixsem run --dry-run)", lambda: running.dry_run_listing(store, config, None, []))
        timed("run, all cached", lambda: running.run_new(store, config, None, [], quiet=True))
        assert timed("verify, every byte of both artifacts", lambda: verify(store, None))["damaged"] == []  # type: ignore[index]


if __name__ == "__main__":
    main()
