"""What sources share: a small list for each shard's task, planted faults, a row for what became of each sample."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext

if TYPE_CHECKING:
    from components.data.ingest_rows import IngestRow, ShardList


def list_tasks(
    context: StageContext, settings: dict[str, Any], split: Callable[[str], list[ShardList]]
) -> list[ShardTask]:
    """Cut a list into one small list per shard, kept in the artifact, so that a task reads its own rows only."""
    tasks = []
    with tempfile.TemporaryDirectory(dir=context.work.store.scratch()) as folder:
        for shard in split(folder):
            path = f"lists/{shard.name}.parquet"
            with context.output(path) as local:
                Path(shard.path).rename(local)
            tasks.append(ShardTask(shard.name, {"list": f"{context.work.path}/{path}", "source": settings}))
    return tasks


def of_source(group: str, source: str, metrics: dict[str, Any]) -> dict[str, Any]:
    """Return metrics of one source as they stand beside those of the others: a source without a name is alone."""
    return {group: {"sources": {source: metrics}} if source else metrics}


def plant(context: ShardContext, faults: dict[str, Any] | None) -> None:
    """Plant the faults that the source asks for into the shard that was made."""
    if faults:
        from components.curation.options import FaultOptions
        from pipelines.stages.data.plant import plant_faults, planted

        plant_faults(context, FaultOptions(**faults), planted)


def write_rows(context: ShardContext, rows: list[IngestRow]) -> ShardResult:
    """Write one row per input sample, and count them."""
    from components.data.ingest_rows import count_reasons, write_ingest_table

    write_ingest_table(context.file(f"rows/{context.task.name}.parquet"), rows)
    states = Counter(row.status for row in rows)
    counts = {"input": len(rows), "kept": states["success"], "dropped": states["dropped"], "failed": states["failed"]}
    return ShardResult(counts, {"failed": count_reasons(rows), "dropped": count_reasons(rows, "dropped")})
