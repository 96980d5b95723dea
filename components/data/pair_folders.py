"""Edit pairs in a folder: a metadata file (jsonl, csv, tsv, parquet, json) whose fields are texts, and paths of
pictures inside the folder. Nothing outside the folder is read, whatever the file says.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from components.data.edit_pairs import Row, columns_of, pack_pairs, pictures_of
from components.data.folder import find_captions_file, read_inside
from components.data.ingest_rows import IngestRow, ShardList, SourceRow, split_rows
from components.data.list_files import ListFormat, RowFault, read_rows
from components.data.options import FolderOptions, PairColumns, ShardLimits
from components.data.row_groups import Fault, value_at
from components.data.samples import encode_metadata


def metadata_file(folder: str | Path, name: str | None) -> Path:
    """The folder's metadata file, or the one named. ValueError where there is none, or there are several."""
    found = find_captions_file(folder, FolderOptions(captions_file=name))
    if found is None:
        raise ValueError(
            f"{folder} has no metadata.jsonl, .csv, .tsv, .parquet or .json; name the file with metadata_file"
        )
    return found


def scan_pairs(folder: str | Path, name: str | None, options: PairColumns) -> Iterator[SourceRow]:
    """A row of the metadata file for each pair, its values as metadata. Raises ValueError for a missing field."""
    path = metadata_file(folder, name)
    columns = list(dict.fromkeys(column.partition(".")[0] for column in columns_of(options)))
    for number, values in read_rows(path, columns, ListFormat()):
        origin = f"{path.name}:{number}"
        if isinstance(values, RowFault):
            yield SourceRow("", origin, None, None, {}, "bad_row", values.detail)
        elif _unwritable(values):
            yield SourceRow("", origin, None, None, {}, "bad_row", "its values are no utf-8, or hold bytes")
        else:
            yield SourceRow("", origin, None, None, values)


def _unwritable(values: dict[str, Any]) -> bool:
    text = encode_metadata(values).decode()
    return "\\udc" in text.lower() or any(isinstance(value, bytes) for value in values.values())


def split_pairs(
    folder: str | Path, name: str | None, options: PairColumns, rows_per_shard: int, out_dir: str | Path
) -> list[ShardList]:
    """Split the folder's pairs into shard lists under `out_dir`. See ingest_rows.split_rows."""
    return split_rows(scan_pairs(folder, name, options), rows_per_shard, out_dir)


def list_pair_files(folder: str | Path, name: str | None, options: PairColumns) -> list[Path]:
    """Every file that makes up the source: the metadata file, and the pictures inside the folder that it names."""
    path = metadata_file(folder, name)
    root = Path(folder).resolve()
    named: set[Path] = set()
    for row in scan_pairs(folder, name, options):
        for column in pictures_of(options):
            value = _single(value_at(row.metadata, column))
            found = Path(folder) / value if isinstance(value, str) and value and "\0" not in value else None
            if found is not None and found.is_file() and found.resolve().is_relative_to(root):
                named.add(found)
    return [path, *sorted(named)]


def pack_folder_pairs(
    folder: str | Path,
    rows: Sequence[SourceRow],
    shard: str,
    out_path: str | Path,
    options: PairColumns,
    limits: ShardLimits,
    follow_links: bool = False,
) -> list[IngestRow]:
    """Pack the pairs of listed rows; see edit_pairs.pack_pairs."""
    listed = folder_pairs(folder, rows, options, limits, follow_links)
    return pack_pairs(listed, shard, out_path, options, limits)


def folder_pairs(
    folder: str | Path, rows: Iterable[SourceRow], options: PairColumns, limits: ShardLimits, follow_links: bool = False
) -> Iterator[Row]:
    """The rows of a folder's metadata file, for edit_pairs.packed."""
    reading = FolderOptions(follow_links=follow_links, limits=limits)
    for row in rows:
        if row.reason:
            yield row.key, row.origin, Fault(row.reason, row.detail)
            continue
        pictures = _pictures(Path(folder), row, options, reading)
        yield row.key, row.origin, pictures if isinstance(pictures, Fault) else _of_row(row, pictures)


def _single(value: Any) -> Any:
    """A path, or the only one of a list of paths."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _pictures(root: Path, row: SourceRow, options: PairColumns, reading: FolderOptions) -> dict[str, Any] | Fault:
    """{name: {bytes, path}} of the pictures that a row names, or why one cannot be read."""
    found: dict[str, Any] = {}
    for column in pictures_of(options):
        value = _single(value_at(row.metadata, column))
        if value is None or value == "":
            found[column] = None
            continue
        if isinstance(value, list):
            return Fault("several_pictures", f"{column} names {len(value)} pictures; a pair has one before, one after")
        if not isinstance(value, str) or "\0" in value:
            return Fault("bad_row", f"{column} is no path: {str(value)[:100]!r}")
        data = read_inside(root, os.path.normpath(value.strip()).replace("\\", "/"), reading)
        if isinstance(data, tuple):
            return Fault(data[0], f"{column}: {data[1]}")
        found[column] = {"bytes": data, "path": value}
    return found


def _of_row(row: SourceRow, pictures: dict[str, Any]) -> Callable[[str], Any]:
    return lambda name: pictures[name] if name in pictures else value_at(row.metadata, name)
