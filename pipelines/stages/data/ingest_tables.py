"""ingest of parquet files with pictures, and of given edit pairs: their shard tasks, and one shard of each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter

from pipelines.config.source_kinds import EditPairsSource, ParquetSource
from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext
from pipelines.stages.data.ingest_lists import list_tasks, plant, write_rows

if TYPE_CHECKING:
    from components.data.row_groups import Part


def sized_places(places: Sequence[str]) -> list[dict[str, Any]]:
    """Return {path, size} of files: an absolute path without a size, or an address with what its server says."""
    from components.data.addresses import is_remote, local_path
    from components.data.places import describe

    remote = [place for place in places if is_remote(place)]
    sizes = dict(zip(remote, describe(remote), strict=True))
    return [
        {"path": place, "size": sizes[place]["size"]}
        if place in sizes
        else {"path": os.path.realpath(local_path(place)), "size": None}
        for place in places
    ]


def parquet_tasks(source: ParquetSource) -> list[ShardTask]:
    """Return a task for each range of row groups. ValueError where the first file lacks a column."""
    from components.data.parquet_source import columns_of
    from components.data.row_groups import check_columns, find_parquet

    paths = find_parquet(source.path)
    check_columns(paths[0], columns_of(source.columns), [source.columns.image_column])
    return _range_tasks(paths, source)


def _range_tasks(paths: Sequence[str], source: ParquetSource | EditPairsSource) -> list[ShardTask]:
    from components.data.row_groups import plan_parts

    settings = source.model_dump(mode="json")
    places = [place["path"] for place in sized_places(paths)]
    return [
        ShardTask(f"{number:05d}", {"parts": [part.to_dict() for part in parts], "number": number, "source": settings})
        for number, parts in enumerate(plan_parts(places, source.samples_per_shard))
    ]


def _parts(args: dict[str, Any]) -> list[Part]:
    from components.data.row_groups import Part

    return [Part(**part) for part in args["parts"]]


def pack_rows(context: ShardContext) -> ShardResult:
    """Pack the rows of one range of row groups."""
    from components.data.options import ParquetOptions
    from components.data.parquet_source import pack_parquet_shard

    args = context.task.args
    options = TypeAdapter(ParquetOptions).validate_python(args["source"]["columns"])
    target = context.file(f"shards/{context.task.name}.tar")
    rows = pack_parquet_shard(_parts(args), target, f"{args['number']:05d}", options)
    plant(context, args["source"].get("faults"))
    return write_rows(context, rows)


def pair_format(source: EditPairsSource) -> Literal["parquet", "webdataset", "folder"]:
    """Return how the pairs lie there: as configured, or else as the path shows."""
    from components.data.addresses import is_pipe
    from components.data.folder import CAPTIONS_FILES

    if source.format is not None:
        return source.format
    if is_pipe(source.path) or source.path.endswith(".tar"):
        return "webdataset"
    folder = Path(source.path)
    if folder.is_dir():
        names = {path.name for path in folder.iterdir()}
        if source.metadata_file is not None or names & set(CAPTIONS_FILES):
            return "folder"
        if any(name.endswith(".tar") for name in names):
            return "webdataset"
    return "parquet"


def pair_files(source: EditPairsSource) -> Sequence[str | Path]:
    """Return every file that the pairs are read from."""
    from components.data.pair_folders import list_pair_files
    from components.data.row_groups import find_parquet
    from components.data.webdataset_source import find_shards

    kind = pair_format(source)
    if kind == "folder":
        return list_pair_files(source.path, source.metadata_file, source.pairs)
    return find_parquet(source.path) if kind == "parquet" else find_shards(source.path, source.allow_pipe)


def pair_tasks(context: StageContext, source: EditPairsSource) -> list[ShardTask]:
    """Return a task for each shard of pairs. ValueError where a column or a field is missing."""
    from components.data.edit_pairs import columns_of, pictures_of
    from components.data.pair_folders import split_pairs
    from components.data.row_groups import check_columns, find_parquet
    from components.data.webdataset_source import find_shards

    kind = pair_format(source)
    if kind == "parquet":
        paths = find_parquet(source.path)
        check_columns(paths[0], columns_of(source.pairs), pictures_of(source.pairs))
        return _range_tasks(paths, source)
    settings = source.model_dump(mode="json")
    if kind == "webdataset":
        return [
            ShardTask(f"{number:05d}", {**place, "source": settings})
            for number, place in enumerate(sized_places(find_shards(source.path, source.allow_pipe)))
        ]
    settings["path"] = str(Path(source.path).resolve())
    return list_tasks(
        context,
        settings,
        lambda out: split_pairs(source.path, source.metadata_file, source.pairs, source.samples_per_shard, out),
    )


def pack_pairs(context: ShardContext) -> ShardResult:
    """Pack one shard of pairs, from whatever they lie in."""
    from components.curation.pairs.options import PairFaultOptions
    from components.data.edit_pairs import pack_parquet_pairs, pack_tar_pairs
    from components.data.ingest_rows import read_shard_list
    from components.data.options import PairColumns, ShardLimits
    from components.data.pair_folders import pack_folder_pairs
    from pipelines.stages.data.plant import plant_faults
    from pipelines.stages.data.plant_pairs import planted_pairs

    args, name = context.task.args, context.task.name
    columns = TypeAdapter(PairColumns).validate_python(args["source"]["pairs"])
    limits = ShardLimits(**args["source"]["limits"])
    target = context.file(f"shards/{name}.tar")
    if "parts" in args:
        rows = pack_parquet_pairs(_parts(args), name, f"{args['number']:05d}", target, columns, limits)
    elif "list" in args:
        listed = read_shard_list(context.fetch(args["list"]))
        rows = pack_folder_pairs(args["source"]["path"], listed, name, target, columns, limits)
    else:
        rows = pack_tar_pairs(args["path"], name, target, columns, limits, args["size"])
    if args["source"]["faults"]:
        plant_faults(context, PairFaultOptions(**args["source"]["faults"]), planted_pairs)
    return write_rows(context, rows)
