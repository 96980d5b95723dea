"""ingest: brings every source into WebDataset shards, with one row for every input sample: kept, or failed with its reason.

Artifact: `shards/NAME.tar` and `rows/NAME.parquet` (key, status, reason, detail, and what the source knows).
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

from pipelines.config.schema import Config, FolderSource, ScenesSource, UrlsSource, WebDatasetSource
from pipelines.errors import StoreError
from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext
from pipelines.store import Store

CACHE = "cache/source_digests.json"


def run(context: StageContext) -> None:
    """Make the shards of the configured source."""
    from components.data.folder_source import chunks

    source = context.config.source
    if isinstance(source, ScenesSource):
        function = "pipelines.stages.ingest_scenes:make_shard"
        tasks = [
            ShardTask(
                name, {"first": first, "end": end, "source": source.model_dump(mode="json"), "seed": context.seed}
            )
            for name, first, end in chunks(source.count, source.samples_per_shard)
        ]
    elif isinstance(source, UrlsSource):
        function, tasks = "pipelines.stages.ingest:download", _url_tasks(source)
    elif isinstance(source, WebDatasetSource):
        from components.data.shard_source import list_shards

        function = "pipelines.stages.ingest:copy_shard"
        tasks = [
            ShardTask(f"{number:05d}", {"path": str(path.resolve()), "limits": dataclasses.asdict(source.limits)})
            for number, path in enumerate(list_shards(source.shards))
        ]
    else:
        function, tasks = "pipelines.stages.ingest:copy_images", _folder_tasks(source)
    records = context.map_shards(function, tasks)
    reasons: Counter[str] = Counter()
    for record in records:
        reasons.update(record.metrics.get("failed", {}))
    context.metrics["ingest"] = {**context.counts, "failed_by_reason": dict(sorted(reasons.items()))}


def source_digests(config: Config, store: Store) -> dict[str, str]:
    """Return the content digest of what the source reads from outside the store; {} for scenes."""
    from components.data.source_digest import digest_files

    source = config.source
    if isinstance(source, ScenesSource):
        return {}
    if isinstance(source, UrlsSource):
        path = Path(source.path)
        paths, root = [path], path.parent
    elif isinstance(source, WebDatasetSource):
        from components.data.shard_source import list_shards

        paths = list_shards(source.shards)
        root = paths[0].parent
    else:
        from components.data.folder_source import find_captions, list_images

        root = Path(source.path)
        captions = find_captions(root, source.captions)
        paths = [root / name for name in list_images(root)] + ([captions] if captions else [])
        if not captions:
            paths += [p for name in list_images(root) if (p := (root / name).with_suffix(".txt")).is_file()]
    known = _read_cache(store)
    before = json.dumps(known)
    digest = digest_files(paths, root, known)
    if json.dumps(known) != before:
        store.write_json(CACHE, known, durable=False)
    return {"source files": digest}


def _read_cache(store: Store) -> dict[str, list[object]]:
    try:
        return dict(store.read_json(CACHE))
    except (FileNotFoundError, StoreError):
        # Only a memory of digests: without it every file is read again.
        return {}


def _url_tasks(source: UrlsSource) -> list[ShardTask]:
    from components.data.folder_source import chunks
    from components.data.url_lists import count_rows

    columns = [source.url_column, source.caption_column, *source.extra_columns]
    count = count_rows(Path(source.path), columns)
    if count == 0:
        raise ValueError(f"source.path={source.path} has no rows")
    settings = source.model_dump(mode="json") | {"path": str(Path(source.path).resolve())}
    return [
        ShardTask(name, {"first": first, "end": end, "source": settings})
        for name, first, end in chunks(count, source.samples_per_shard)
    ]


def download(context: ShardContext) -> ShardResult:
    """Download one shard of a URL list."""
    from components.data.download import download_shard
    from components.data.download_options import DownloadOptions
    from components.data.tables import read_table
    from components.data.url_lists import read_rows

    args = context.task.args
    source = args["source"]
    columns = [source["url_column"], source["caption_column"], *source["extra_columns"]]
    rows = [
        {
            "key": f"{context.task.name}{position:04d}",
            "url": str(row.get(source["url_column"]) or ""),
            "caption": row.get(source["caption_column"]),
            **{name: row.get(name) for name in source["extra_columns"]},
        }
        for position, row in enumerate(read_rows(Path(source["path"]), columns, args["first"], args["end"]))
    ]
    options = DownloadOptions(**source["download"])
    counts = download_shard(rows, context.task.name, context.out, options)
    context.file(f"shards/{context.task.name}.tar")
    context.file(f"rows/{context.task.name}.parquet")
    (context.out / f"{context.task.name}.tar").rename(context.out / f"shards/{context.task.name}.tar")
    (context.out / f"{context.task.name}.parquet").rename(context.out / f"rows/{context.task.name}.parquet")
    table = read_table(context.out / f"rows/{context.task.name}.parquet", ["status", "reason"])
    return ShardResult(counts, _reasons(table["status"], table["reason"]))


def copy_shard(context: ShardContext) -> ShardResult:
    """Copy the whole samples of an existing shard."""
    from components.data.options import ShardLimits
    from components.data.shard_source import normalise_shard

    args = context.task.args
    limits = ShardLimits(**args["limits"])
    rows = normalise_shard(Path(args["path"]), context.file(f"shards/{context.task.name}.tar"), limits)
    return _write_rows(context, rows)


def _folder_tasks(source: FolderSource) -> list[ShardTask]:
    from components.data.folder_source import chunks, list_samples

    folder = Path(source.path).resolve()
    samples = list_samples(folder, source.captions, source.image_column, source.caption_column)
    limits = dataclasses.asdict(source.limits)
    return [
        ShardTask(
            name,
            {"folder": str(folder), "samples": [dataclasses.asdict(s) for s in samples[first:end]], "limits": limits},
        )
        for name, first, end in chunks(len(samples), source.samples_per_shard)
    ]


def copy_images(context: ShardContext) -> ShardResult:
    """Bring one shard's worth of a folder's images in, their bytes as they are."""
    from components.data.folder_source import FolderSample, read_sample
    from components.data.options import ShardLimits
    from components.data.records import BadRecord, write_records
    from components.data.shard_source import row

    args = context.task.args
    limits = ShardLimits(**args["limits"])
    rows: list[dict[str, Any]] = []

    def whole() -> Any:
        for position, value in enumerate(args["samples"]):
            sample = FolderSample(**{**value, "problem": tuple(value["problem"]) if value["problem"] else None})
            key = f"{context.task.name}{position:04d}"
            record = read_sample(Path(args["folder"]), sample, key, limits)
            bad = record if isinstance(record, BadRecord) else None
            rows.append(row(key, sample.name, bad))
            if not isinstance(record, BadRecord):
                yield record

    write_records(context.file(f"shards/{context.task.name}.tar"), whole())
    return _write_rows(context, rows)


def _write_rows(context: ShardContext, rows: list[dict[str, Any]]) -> ShardResult:
    from components.data.shard_source import ROWS_SCHEMA
    from pipelines.stages.rows import write_rows

    write_rows(context.file(f"rows/{context.task.name}.parquet"), rows, ROWS_SCHEMA)
    statuses = Counter(r["status"] for r in rows)
    counts = {"input": len(rows), "kept": statuses["kept"], "dropped": 0, "failed": statuses["failed"]}
    return ShardResult(counts, _reasons([r["status"] for r in rows], [r["reason"] for r in rows]))


def _reasons(statuses: list[str], reasons: list[str]) -> dict[str, Any]:
    return {"failed": dict(sorted(Counter(r for s, r in zip(statuses, reasons, strict=True) if s == "failed").items()))}
