"""ingest: brings every source into WebDataset shards, with one row for every input sample: taken, or failed with its
reason.

Artifact: `shards/NAME.tar`, `rows/NAME.parquet` (`components.data.ingest_rows.INGEST_SCHEMA`), and, for URL lists and
folders, `lists/NAME.parquet` with the rows each shard was made from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from components.pictures.options import PACKAGES
from pipelines.config.schema import Config
from pipelines.config.source_kinds import (
    EditPairsSource,
    FolderSource,
    ParquetSource,
    PicturesSource,
    ScenesSource,
    UrlsSource,
    WebDatasetSource,
)
from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext, shard_name
from pipelines.stages.data.ingest_lists import list_tasks, of_source, plant, write_rows
from pipelines.store.files import Store
from pipelines.workflow.source_digests import files_digest


@dataclass(frozen=True)
class SourceKind:
    """How a kind of source becomes shards: its tasks, the function that makes one shard, and the files it reads from
    outside the store.
    """

    tasks: Callable[[StageContext, Any], list[ShardTask]]
    make: str  # `module:function` of a shard
    files: Callable[[Any], Sequence[str | Path]]
    packages: tuple[str, ...] = ()  # installed packages whose versions its samples follow from
    attribution: Callable[[Any], str] = lambda source: ""  # whose pictures they are, where their licence asks to say so
    read_as: Callable[[Any], str] = lambda source: ""  # what was found out of its lists, where that is not the usual


def run(context: StageContext) -> None:
    """Make the shards of the configured source."""
    name = context.stage.source
    source = context.config.named_sources()[name]
    kind = SOURCES[source.kind]
    tasks = [replace(task, name=shard_name(name, task.name)) for task in kind.tasks(context, source)]
    if not tasks:
        raise ValueError("the source holds no samples")
    records = context.map_shards(kind.make, tasks)
    reasons: dict[str, Counter[str]] = {"failed": Counter(), "dropped": Counter()}
    for record in records:
        for state, counter in reasons.items():
            counter.update(record.metrics.get(state, {}))
    metrics = {**context.counts, "failed_by_reason": dict(sorted(reasons["failed"].items()))}
    if reasons["dropped"]:
        metrics["dropped_by_reason"] = dict(sorted(reasons["dropped"].items()))
    if credit := kind.attribution(source):
        metrics["attribution"] = credit
    if said := kind.read_as(source):
        metrics["read_as"] = said
    context.metrics |= of_source("ingest", name, metrics)


def source_digests(config: Config, store: Store, name: str = "") -> dict[str, str]:
    """Return the content digest of what a source reads from outside the store, and the versions of the packages that
    its samples follow from; {} where that is nothing.
    """
    source = config.named_sources()[name]
    kind = SOURCES[source.kind]
    paths = kind.files(source)
    found = {"source files": files_digest(paths, store)} if paths else {}
    return found | {name: version(name) for name in kind.packages}


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
    from pipelines.stages.data.ingest_tables import sized_places

    settings = source.model_dump(mode="json")
    return [
        ShardTask(f"{number:05d}", {**place, "source": settings})
        for number, place in enumerate(sized_places(find_shards(source.shards, source.allow_pipe)))
    ]


def _url_tasks(context: StageContext, source: UrlsSource) -> list[ShardTask]:
    from components.data.url_lists import find_url_lists, split_url_lists

    paths = find_url_lists(source.path)
    return list_tasks(
        context,
        source.model_dump(mode="json"),
        lambda out: split_url_lists(paths, source.columns, source.samples_per_shard, out),
    )


def _folder_tasks(context: StageContext, source: FolderSource) -> list[ShardTask]:
    from components.data.folder import split_folder

    settings = {**source.model_dump(mode="json"), "path": str(Path(source.path).resolve())}
    return list_tasks(
        context, settings, lambda out: split_folder(source.path, source.files, source.samples_per_shard, out)
    )


def _picture_tasks(context: StageContext, source: PicturesSource) -> list[ShardTask]:
    from pipelines.stages.data.ingest_pictures import picture_tasks

    return picture_tasks(context, source)


def _picture_files(source: PicturesSource) -> Sequence[str | Path]:
    from components.pictures.sets import set_files

    return set_files(source.path)


def _picture_credit(source: PicturesSource) -> str:
    from components.pictures.sets import attribution

    return attribution(source.path)


def _url_files(source: UrlsSource) -> Sequence[str | Path]:
    from components.data.list_files import LIST_SUFFIXES, expand_paths

    return expand_paths(source.path, LIST_SUFFIXES)


def _tar_files(source: WebDatasetSource) -> Sequence[str | Path]:
    from components.data.webdataset_source import find_shards

    return find_shards(source.shards, source.allow_pipe)


def _url_forms(source: UrlsSource) -> str:
    from components.data.list_files import unusual_forms
    from components.data.url_lists import find_url_lists

    return unusual_forms(find_url_lists(source.path), source.columns.quoted)


def _folder_forms(source: FolderSource) -> str:
    from components.data.folder import find_captions_files
    from components.data.list_files import unusual_forms

    return unusual_forms(find_captions_files(source.path, source.files))


def _folder_files(source: FolderSource) -> Sequence[str | Path]:
    from components.data.folder import list_files_of

    paths = list_files_of(source.path, source.files)
    if not paths:
        raise ValueError(f"source.path={source.path}: no pictures are there")
    return paths


def _parquet_tasks(context: StageContext, source: ParquetSource) -> list[ShardTask]:
    from pipelines.stages.data.ingest_tables import parquet_tasks

    return parquet_tasks(source)


def _parquet_files(source: ParquetSource) -> Sequence[str | Path]:
    from components.data.row_groups import find_parquet

    return find_parquet(source.path)


def _pair_tasks(context: StageContext, source: EditPairsSource) -> list[ShardTask]:
    from pipelines.stages.data.ingest_tables import pair_tasks

    return pair_tasks(context, source)


def _pair_files(source: EditPairsSource) -> Sequence[str | Path]:
    from pipelines.stages.data.ingest_tables import pair_files

    return pair_files(source)


SOURCES: dict[str, SourceKind] = {
    "scenes": SourceKind(_scene_tasks, "pipelines.stages.data.ingest_scenes:make_shard", lambda source: ()),
    "webdataset": SourceKind(_tar_tasks, "pipelines.stages.data.ingest:copy_shard", _tar_files),
    "urls": SourceKind(_url_tasks, "pipelines.stages.data.ingest:download", _url_files, read_as=_url_forms),
    "pictures": SourceKind(
        _picture_tasks,
        "pipelines.stages.data.ingest_pictures:make_shard",
        _picture_files,
        PACKAGES,
        _picture_credit,
    ),
    "folder": SourceKind(
        _folder_tasks, "pipelines.stages.data.ingest:copy_images", _folder_files, read_as=_folder_forms
    ),
    "parquet": SourceKind(_parquet_tasks, "pipelines.stages.data.ingest_tables:pack_rows", _parquet_files),
    "edit_pairs": SourceKind(_pair_tasks, "pipelines.stages.data.ingest_tables:pack_pairs", _pair_files),
}


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
    plant(context, args["source"].get("faults"))
    counts = {"input": done.total, "kept": done.succeeded, "dropped": 0, "failed": done.failed}
    return ShardResult(counts, {"failed": dict(sorted(done.reasons.items()))})


def copy_shard(context: ShardContext) -> ShardResult:
    """Copy the whole samples of an existing shard."""
    from components.data.options import ShardLimits
    from components.data.webdataset_source import normalise_shard

    source = context.task.args["source"]
    limits = ShardLimits(**source["limits"])
    target = context.file(f"shards/{context.task.name}.tar")
    args = context.task.args
    rows = normalise_shard(
        args["path"],
        target,
        limits,
        source["caption_field"],
        source["require_caption"],
        captions=source["captions"],
        size=args["size"],
    )
    plant(context, source.get("faults"))
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
    plant(context, args["source"].get("faults"))
    return write_rows(context, rows)
