"""Whether a source can be opened: its files are there and may be read, and its lists have the columns that are
named.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from components.data.addresses import is_pipe, is_remote
from pipelines.config.compose import NOT_GIVEN
from pipelines.config.schema import Config
from pipelines.config.source_kinds import (
    EditPairsSource,
    FolderSource,
    ParquetSource,
    Source,
    UrlsSource,
    Use,
    WebDatasetSource,
    serving_sources,
    source_key,
)
from pipelines.stage import instance_name
from pipelines.stages.data.ingest import SOURCES

FROM_ADDRESSES = (WebDatasetSource, ParquetSource, EditPairsSource)  # the others are read from a file system


def check_source(config: Config, stages: Collection[str] | None = None) -> Iterator[str]:
    """Check the configured sources, of those alone that the stages (None: all) bring in."""
    for name, source in config.named_sources().items():
        if stages is None or instance_name("ingest", name) in stages:
            yield from check_one(source, source_key(name))


def check_uses(config: Config, stages: Collection[str] | None = None) -> Iterator[str]:
    """Check that something serves each training among the stages (None: all)."""
    serving = serving_sources(config.named_sources())
    tokenizer = ("train_semantic", "train_tokenizer", *(() if config.encoder.path else ("train_encoder",)))
    editing = ("train_editor",) if config.generator.edit_share else ()
    needed: dict[Use, tuple[str, ...]] = {
        "tokenizer": tokenizer, "text_to_image": ("train_generator",), "editing": editing
    }  # fmt: skip
    for use, trainings in needed.items():
        lacking = [stage for stage in trainings if stages is None or stage in stages]
        if lacking and not serving[use]:
            yield (
                f"sources: none serves {use}, and {lacking[0]} has nothing to train on. Add {use} to the `use` of a "
                "source, or end before with --until."
            )


def check_one(source: Source, key: str) -> Iterator[str]:
    """Check one source, whose section is at `key`."""
    if NOT_GIVEN in source.model_dump().values():
        return  # a plan's, of samples that are only counted
    place = str(getattr(source, "shards", None) or getattr(source, "path", ""))
    if is_remote(place) and not isinstance(source, FROM_ADDRESSES):
        yield (
            f"{key}: {place} is an address, and sources of kind {source.kind} are read from a file system. Mount it or "
            "copy it to a disk, and give that path."
        )
        return
    if place.startswith(("http://", "https://")) and _of_shards(source) and not shutil.which("curl"):
        yield f"{key}: {place} is read with curl, which is not installed. Install it with your system's packages."
    try:
        paths = [str(path) for path in SOURCES[source.kind].files(source)]
        if is_remote(place):
            _check_remote(paths)
        else:
            yield from _check_local([Path(path) for path in paths], source, key)
        _check_names(source, paths)
    except (ValueError, OSError) as error:
        yield f"{key}: {error}"


def _of_shards(source: Source) -> bool:
    from pipelines.stages.data.ingest_tables import pair_format

    return isinstance(source, WebDatasetSource) or (
        isinstance(source, EditPairsSource) and pair_format(source) == "webdataset"
    )


def _check_remote(paths: Sequence[str]) -> None:
    """ValueError where the first file is not there, or may not be seen."""
    from components.data.places import describe

    if not is_pipe(paths[0]):
        describe(paths[:1])


def _check_local(paths: Sequence[Path], source: Source, key: str) -> Iterator[str]:
    locked = [path for path in paths if not os.access(path, os.R_OK)]
    if locked:
        more = f" and {len(locked) - 1} more" if len(locked) > 1 else ""
        yield f"{key}: {locked[0]}{more} may not be read by this user. Change its permissions, or leave it out."
        return
    empty = [] if isinstance(source, FolderSource) else [path for path in paths if not path.stat().st_size]
    if paths and len(empty) == len(paths):  # one that is empty among others is ingest's to report
        yield f"{key}: {empty[0]} is empty{' and so are all others' if len(empty) > 1 else ''}. Fetch the files again."


def _check_names(source: Source, paths: Sequence[str]) -> None:
    """ValueError where the first file lacks a column that the source names."""
    if isinstance(source, UrlsSource):
        _check_columns(source, Path(paths[0]))
    elif isinstance(source, FolderSource):
        _check_captions(source)
    elif isinstance(source, ParquetSource | EditPairsSource):
        _check_parts(source, paths[0])


def _check_parts(source: ParquetSource | EditPairsSource, path: str) -> None:
    from components.data import edit_pairs, parquet_source
    from components.data.row_groups import check_columns
    from pipelines.stages.data.ingest_tables import pair_format

    if isinstance(source, ParquetSource):
        check_columns(path, parquet_source.columns_of(source.columns), [source.columns.image_column])
    elif pair_format(source) == "parquet":
        check_columns(path, edit_pairs.columns_of(source.pairs), edit_pairs.pictures_of(source.pairs))
    elif pair_format(source) == "webdataset" and not is_pipe(path):
        edit_pairs.check_parts(path, source.pairs, source.limits)


def _check_columns(source: UrlsSource, path: Path) -> None:
    """ValueError where the first list lacks a column."""
    from components.data.url_lists import read_url_list

    next(read_url_list(path, source.columns), None)


def _check_captions(source: FolderSource) -> None:
    """ValueError where the captions file lacks a column."""
    from components.data.folder import find_captions_file
    from components.data.list_files import ListFormat, read_rows
    from components.data.options import caption_columns

    captions = find_captions_file(source.path, source.files)
    if captions is not None:
        named = caption_columns(source.files.captions, source.files.caption_column).values()
        next(read_rows(captions, [source.files.file_column, *named], ListFormat()), None)
