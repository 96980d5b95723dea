"""ingest: brings every source into WebDataset shards, with one row for every input sample: taken, or failed with its
reason.

Artifact: `shards/NAME.tar`, `rows/NAME.parquet` (`components.data.ingest_rows.INGEST_SCHEMA`), and, for URL lists and
folders, `lists/NAME.parquet` with the rows each shard was made from.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from pipelines.config.schema import Config, FolderSource, ScenesSource, UrlsSource, WebDatasetSource
from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext
from pipelines.store.files import Store
from pipelines.workflow.source_digests import files_digest

if TYPE_CHECKING:
    from components.data.ingest_rows import IngestRow, ShardList


@dataclass(frozen=True)
class SourceKind:
    """How a kind of source becomes shards: its tasks, the function that makes one shard, and the files it reads from
    outside the store.
    """

    tasks: Callable[[StageContext, Any], list[ShardTask]]
    make: str  # `module:function` of a shard
    files: Callable[[Any], Sequence[str | Path]]


def run(context: StageContext) -> None:
    """Make the shards of the configured source."""
    source = context.config.source
    kind = SOURCES[source.kind]
    tasks = kind.tasks(context, source)
    if not tasks:
        raise ValueError("the source holds no samples")
    records = context.map_shards(kind.make, tasks)
    reasons: Counter[str] = Counter()
    for record in records:
        reasons.update(record.metrics.get("failed", {}))
    context.metrics["ingest"] = {**context.counts, "failed_by_reason": dict(sorted(reasons.items()))}


def source_digests(config: Config, store: Store) -> dict[str, str]:
    """Return the content digest of what the source reads from outside the store; {} where that is nothing."""
    paths = SOURCES[config.source.kind].files(config.source)
    return {"source files": files_digest(paths, store)} if paths else {}


def _scene_tasks(context: StageContext, source: ScenesSource) -> list[ShardTask]:
    size, settings = source.samples_per_shard, source.model_dump(mode="json")
    return [
        ShardTask(
            f"{number:05d}",
            {"first": first, "end": min(first + size, source.count), "source": settings, "seed": context.seed},
        )
        for number, first in enumerate(range(0, source.count, size))
    ]


def _tar_tasks(context: StageContext, source: WebDatasetSource) -> list[ShardTask]:
    from components.data.webdataset_source import find_shards

    settings = source.model_dump(mode="json")
    return [
        ShardTask(f"{number:05d}", {"path": str(path.resolve()), "source": settings})
        for number, path in enumerate(find_shards(source.shards))
    ]


def _url_tasks(context: StageContext, source: UrlsSource) -> list[ShardTask]:
    from components.data.url_lists import find_url_lists, split_url_lists

    paths = find_url_lists(source.path)
    return _list_tasks(
        context,
        source.model_dump(mode="json"),
        lambda out: split_url_lists(paths, source.columns, source.samples_per_shard, out),
    )


def _folder_tasks(context: StageContext, source: FolderSource) -> list[ShardTask]:
    from components.data.folder import split_folder

    settings = {**source.model_dump(mode="json"), "path": str(Path(source.path).resolve())}
    return _list_tasks(
        context, settings, lambda out: split_folder(source.path, source.files, source.samples_per_shard, out)
    )


def _url_files(source: UrlsSource) -> Sequence[str | Path]:
    from components.data.list_files import LIST_SUFFIXES, expand_paths

    return expand_paths(source.path, LIST_SUFFIXES)


def _tar_files(source: WebDatasetSource) -> Sequence[str | Path]:
    from components.data.list_files import expand_paths

    return expand_paths(source.shards, (".tar",))


def _folder_files(source: FolderSource) -> Sequence[str | Path]:
    from components.data.folder import list_files_of

    paths = list_files_of(source.path, source.files)
    if not paths:
        raise ValueError(f"source.path={source.path}: no pictures are there")
    return paths


SOURCES: dict[str, SourceKind] = {
    "scenes": SourceKind(_scene_tasks, "pipelines.stages.data.ingest_scenes:make_shard", lambda source: ()),
    "webdataset": SourceKind(_tar_tasks, "pipelines.stages.data.ingest:copy_shard", _tar_files),
    "urls": SourceKind(_url_tasks, "pipelines.stages.data.ingest:download", _url_files),
    "folder": SourceKind(_folder_tasks, "pipelines.stages.data.ingest:copy_images", _folder_files),
}


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
