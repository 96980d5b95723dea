"""Stages of a toy workflow, for tests of scheduling: they note when they ran."""

from __future__ import annotations

import time

from pipelines.stage import ShardResult, ShardTask, Stage


def slow(context) -> None:
    """Take a while, and write down when."""
    started = time.time()
    time.sleep(2.0)
    with context.output("times.txt") as path:
        path.write_text(f"{started} {time.time()}")
    context.counts = {"input": 1, "kept": 1}


def failing(context) -> None:
    """Make two shards, of which one cannot be made."""
    time.sleep(1.0)
    context.map_shards("toy_stages:shard", [ShardTask("good"), ShardTask("bad")])


def shard(context) -> ShardResult:
    """Make a shard, unless it is the bad one."""
    if context.task.name == "bad":
        raise ValueError("the bad shard is bad: mend it")
    context.file("good.txt").write_text("good")
    return ShardResult({"input": 1, "kept": 1})


def losing(context) -> None:
    """Lose a sample."""
    context.counts = {"input": 2, "kept": 1}


def toy_workflow(second: str) -> list[Stage]:
    """Return two branches: ingest then curate, and measure (doing `second`) then synthesize_edits."""
    keys = ("seed",)
    return [
        Stage("ingest", "1", "toy_stages:slow", keys),
        Stage("measure", "1", f"toy_stages:{second}", keys),
        Stage("curate", "1", "toy_stages:slow", keys, ("ingest",)),
        Stage("synthesize_edits", "1", "toy_stages:slow", keys, ("measure",)),
    ]


def main(second: str) -> None:
    """Run the toy workflow in ./store and print its report."""
    import json
    from unittest.mock import patch

    from pipelines.config.compose import compose_config
    from pipelines.store.files import Store
    from pipelines.workflow import launch as running
    from pipelines.workflow.report import report

    config = compose_config(["preset=tiny"])
    store = Store(config.store)
    with patch.object(running, "build_workflow", lambda _: toy_workflow(second)):
        run = running.run_new(store, config, None, [], quiet=True)
    print(json.dumps(report(store, run)))
