"""measure: one row of signals per sample, as parquet, and no decision. The expensive half of curation, cached alone.
What models say of samples is `score`'s.

Artifact: `signals/NAME.parquet` with `components.curation.signals.SIGNAL_SCHEMA`.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator
from pathlib import PurePosixPath

from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext
from pipelines.stages.data.ingest_lists import of_source


def run(context: StageContext) -> None:
    """Measure every shard of ingest."""
    settings = context.config.measure
    limits = dataclasses.asdict(settings.limits)
    (ingested,) = context.inputs_of("ingest")
    shards = ingested.files("shards/*.tar")
    tasks = [ShardTask(PurePosixPath(path).stem, {"shard": path, "limits": limits}) for path in shards]
    context.map_shards("pipelines.stages.data.measure:measure_shard", tasks)
    context.metrics |= of_source("measure", context.stage.source, dict(context.counts))


def measure_shard(context: ShardContext) -> ShardResult:
    """Measure one shard. A sample whose image or caption cannot be read gets a row with its reason."""
    import cv2

    from components.curation.options import ImageLimits
    from components.curation.signals import SIGNAL_SCHEMA, measure_all
    from components.data.records import BadRecord, read_records
    from components.data.samples import caption_of, image_part
    from pipelines.stages.data.parquet_rows import write_rows

    cv2.setNumThreads(1)  # the tasks beside this one have the other cores
    args = context.task.args
    limits = ImageLimits(**args["limits"])
    rows = []
    failed = 0
    waiting: deque[tuple[str, tuple[str, str] | None]] = deque()  # read, not yet measured

    def samples() -> Iterator[tuple[bytes | None, str | None]]:
        for record in read_records(context.fetch(args["shard"])):
            image, caption, problem = None, None, None
            if isinstance(record, BadRecord):
                problem = (record.reason, record.detail)
            else:
                part = image_part(record)
                image = part[1] if part else None
                found = caption_of(record)
                if isinstance(found, BadRecord):
                    problem = (found.reason, found.detail)
                else:
                    caption = found
            waiting.append((record.key, problem))
            yield image, caption

    for signals in measure_all(samples(), limits):
        key, problem = waiting.popleft()
        if problem:
            signals |= {"error": problem[0], "detail": problem[1]}
        failed += bool(signals["error"])
        rows.append({**signals, "shard": context.task.name, "key": key})
    write_rows(context.file(f"signals/{context.task.name}.parquet"), rows, SIGNAL_SCHEMA)
    return ShardResult({"input": len(rows), "kept": len(rows) - failed, "dropped": 0, "failed": failed})
