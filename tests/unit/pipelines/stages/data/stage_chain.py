"""The data stages in this process, one after another on a store of their own, as a run makes them."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from components.data.part_rows import read_part
from pipelines.config.declared import declared
from pipelines.config.schema import Config
from pipelines.stage import ShardTask, StageContext, load_function
from pipelines.stages.indexed_rows import INDEX_SCHEMA
from pipelines.store.artifacts import Artifact, Manifest, ShardRecord, Work, content_digest
from pipelines.store.files import Store
from pipelines.workflow.graph import build_workflow
from pipelines.workflow.graph_walks import ancestors, stages_named
from pipelines.workflow.shards import ShardCall, make_shard


def map_here(context: StageContext, function: str, tasks: list[ShardTask]) -> list[ShardRecord]:
    """Make every shard, one by one."""
    work = context.work
    place = (work.store.absolute_url, work.stage, work.fingerprint, work.input_digests)
    return [make_shard(ShardCall(*place, function, task, context.shard_seed(task.name))) for task in tasks]


def run_stages(folder: Path, config: Config, until: str) -> dict[str, Artifact]:
    """Run the stages from ingest until one of them and return their artifacts. The store is in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(str(folder))
    store.prepare()
    made: dict[str, Artifact] = {}
    stages = build_workflow(config)
    wanted = ancestors(stages_named(until, stages), stages)
    for stage in [stage for stage in stages if stage.name in wanted]:
        fingerprint = hashlib.sha256(f"{folder}/{stage.name}".encode()).hexdigest()[:16]
        inputs = {name: made[name] for name in stage.inputs}
        digests = {name: artifact.manifest.digest for name, artifact in inputs.items()}
        work = Work(store, stage.name, fingerprint, digests)
        seen = declared(config, stage.name, stage.config, stage.without)
        context = StageContext(stage, seen, inputs, work, logging.getLogger("test"), map_here)
        load_function(stage.function)(context)
        files = context.outputs
        manifest = Manifest(
            stage.name, stage.version, fingerprint, content_digest(files), {}, {}, {}, files, context.counts,
            context.metrics, {}, "test", "2000-01-01T00:00:00+00:00", 0.0,
        )  # fmt: skip
        made[stage.name] = work.commit(manifest)
    return made


def read_index(path: Path) -> dict[str, list]:
    """Return a part of an index as {column: list}."""
    return read_part(path, INDEX_SCHEMA)


def local_files(artifact: Artifact, pattern: str) -> list[Path]:
    """Return the local paths of an artifact's files."""
    return [Path(artifact.store.local(path)) for path in artifact.files(pattern)]
