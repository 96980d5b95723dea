"""ingest: brings every source into WebDataset shards, with one row for every input sample: taken, or failed with its reason.

Artifact: `shards/NAME.tar`, `rows/NAME.parquet` (`components.data.ingest_rows.INGEST_SCHEMA`), and, for URL lists and folders,
`lists/NAME.parquet` with the rows each shard was made from.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from pipelines.config.schema import Config, ScenesSource, UrlsSource, WebDatasetSource
from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext
from pipelines.store.files import Store
from pipelines.workflow.source_digests import files_digest

if TYPE_CHECKING:
    from components.data.ingest_rows import IngestRow, ShardList


def run(context: StageContext) -> None:
    """Make the shards of the configured source."""
    source = context.config.source
    settings = source.model_dump(mode="json")
    if isinstance(source, ScenesSource):
        function = "pipelines.stages.data.ingest_scenes:make_shard"
        size = source.samples_per_shard
        tasks = [
            ShardTask(
                f"{number:05d}",
                {"first": first, "end": min(first + size, source.count), "source": settings, "seed": context.seed},
            )
            for number, first in enumerate(range(0, source.count, size))
        ]
    elif isinstance(source, WebDatasetSource):
        from components.data.webdataset_source import find_shards

        function = "pipelines.stages.data.ingest:copy_shard"
        tasks = [
            ShardTask(f"{number:05d}", {"path": str(path.resolve()), "source": settings})
            for number, path in enumerate(find_shards(source.shards))
        ]
    elif isinstance(source, UrlsSource):
        from components.data.url_lists import find_url_lists, split_url_lists

        paths = find_url_lists(source.path)
        function = "pipelines.stages.data.ingest:download"
        tasks = _list_tasks(
            context, settings, lambda out: split_url_lists(paths, source.columns, source.samples_per_shard, out)
        )
    else:
        from components.data.folder import split_folder

        function = "pipelines.stages.data.ingest:copy_images"
        settings["path"] = str(Path(source.path).resolve())
        tasks = _list_tasks(
            context, settings, lambda out: split_folder(source.path, source.files, source.samples_per_shard, out)
        )
    if not tasks:
        raise ValueError("the source holds no samples")
    records = context.map_shards(function, tasks)
    reasons: Counter[str] = Counter()
    for record in records:
        reasons.update(record.metrics.get("failed", {}))
    context.metrics["ingest"] = {**context.counts, "failed_by_reason": dict(sorted(reasons.items()))}


def _list_tasks(
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


def source_digests(config: Config, store: Store) -> dict[str, str]:
    """Return the content digest of what the source reads from outside the store; {} for scenes."""
    source = config.source
    if isinstance(source, ScenesSource):
        return {}
    if isinstance(source, UrlsSource):
        from components.data.list_files import LIST_SUFFIXES, expand_paths

        paths = expand_paths(source.path, LIST_SUFFIXES)
    elif isinstance(source, WebDatasetSource):
        from components.data.list_files import expand_paths

        paths = expand_paths(source.shards, (".tar",))
    else:
        from components.data.folder import list_files_of

        paths = list_files_of(source.path, source.files)
        if not paths:
            raise ValueError(f"source.path={source.path}: no pictures are there")
    return {"source files": files_digest(paths, store)}


def download(context: ShardContext) -> ShardResult:
    """Download one shard of a URL list."""
    from components.data.download import download_shard
    from components.data.ingest_rows import read_shard_list
    from components.data.options import DownloadOptions

    args, name = context.task.args, context.task.name
    options = TypeAdapter(DownloadOptions).validate_python(args["source"]["download"])
    done = download_shard(read_shard_list(context.fetch(args["list"])), name, context.out, options)
    Path(done.tar_path).rename(context.file(f"shards/{name}.tar"))
    Path(done.table_path).rename(context.file(f"rows/{name}.parquet"))
    counts = {"input": done.total, "kept": done.succeeded, "dropped": 0, "failed": done.failed}
    return ShardResult(counts, {"failed": dict(sorted(done.reasons.items()))})


def copy_shard(context: ShardContext) -> ShardResult:
    """Copy the whole samples of an existing shard."""
    from components.data.options import ShardLimits
    from components.data.webdataset_source import normalise_shard

    source = context.task.args["source"]
    limits = ShardLimits(**source["limits"])
    target = context.file(f"shards/{context.task.name}.tar")
    rows = normalise_shard(
        context.task.args["path"], target, limits, source["caption_field"], source["require_caption"]
    )
    return write_rows(context, rows)


def copy_images(context: ShardContext) -> ShardResult:
    """Bring one shard's worth of a folder's images in, their bytes as they are."""
    from components.data.folder import pack_folder_shard
    from components.data.ingest_rows import read_shard_list
    from components.data.options import FolderOptions

    args = context.task.args
    options = TypeAdapter(FolderOptions).validate_python(args["source"]["files"])
    listed = read_shard_list(context.fetch(args["list"]))
    rows = pack_folder_shard(args["source"]["path"], listed, context.file(f"shards/{context.task.name}.tar"), options)
    return write_rows(context, rows)


def write_rows(context: ShardContext, rows: list[IngestRow]) -> ShardResult:
    """Write one row per input sample, and count them."""
    from components.data.ingest_rows import count_reasons, write_ingest_table

    write_ingest_table(context.file(f"rows/{context.task.name}.parquet"), rows)
    failed = sum(row.status == "failed" for row in rows)
    counts = {"input": len(rows), "kept": len(rows) - failed, "dropped": 0, "failed": failed}
    return ShardResult(counts, {"failed": count_reasons(rows)})
