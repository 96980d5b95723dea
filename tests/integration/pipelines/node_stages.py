"""Stages of a toy workflow, for tests of where work is done: each writes down the node and the GPUs its workers had."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from pipelines.stage import ShardResult, ShardTask, Stage
from pipelines.training.start_workers import train_in_workers
from pipelines.training.worker import Built


def here() -> dict:
    """Where this process works, and the GPUs that Ray gave it and that it can see."""
    import ray

    context = ray.get_runtime_context()
    (node,) = [n for n in ray.nodes() if n["NodeID"] == context.get_node_id()]
    gpus = context.get_accelerator_ids().get("GPU", [])
    return {"pool": node["Labels"].get("pool"), "gpus": gpus, "visible": os.environ.get("CUDA_VISIBLE_DEVICES")}


def sharded(context) -> None:
    """Make three shards, and write down where the stage itself was driven."""
    with context.output("driver.json") as path:
        path.write_text(json.dumps(here()))
    context.map_shards("node_stages:shard", [ShardTask(f"s{i}") for i in range(3)])
    context.metrics = {"index": {"train": 1}} if context.stage.name == "index" else {}


def shard(context) -> ShardResult:
    """Write down where a shard was made."""
    context.file(f"{context.task.name}.json").write_text(json.dumps(here()))
    return ShardResult({"input": 1, "kept": 1})


def trained(context) -> None:
    """Start a training worker."""
    train_in_workers(context, "node_stages:build", "toy")


def build(context) -> Built:
    """Nothing to train: the worker writes down where it is."""

    def save(folder: Path) -> dict:
        (folder / "worker.json").write_text(json.dumps(here()))
        return {}

    class Options:
        steps = 0

    return Built(None, None, Options(), save, samples=1)


def workflow() -> list[Stage]:
    """Return stages of every kind: shards as tasks, shards by lasting workers, training."""
    keys = ("seed",)
    return [
        Stage("index", "1", "node_stages:sharded", keys),
        Stage("measure", "1", "node_stages:sharded", keys),
        Stage("curate", "1", "node_stages:sharded", keys),
        Stage("encode_latents", "1", "node_stages:sharded", keys),
        Stage("train_encoder", "1", "node_stages:trained", keys, ("index",), trains=True),
    ]


def main(overrides: list[str]) -> None:
    """Run the workflow in ./store."""
    from unittest.mock import patch

    from pipelines.config.compose import compose_config
    from pipelines.errors import UserError
    from pipelines.store.files import Store
    from pipelines.workflow.driver import launch as running

    config = compose_config(["preset=tiny", *overrides])
    try:
        with patch.object(running, "build_workflow", lambda _: workflow()):
            run = running.run_new(Store(config.store), config, None, [], quiet=False)
    except UserError as error:
        sys.exit(f"refused: {error}")
    print({name: (state.state, state.error) for name, state in run.stages.items()})


if __name__ == "__main__":
    main(sys.argv[1:])
