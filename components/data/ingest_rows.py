"""Rows of a source on their way in: what a list or folder promises (SourceRow), split into shard lists, and what became
of each (IngestRow).

Reading lists is url_lists.py's and folder.py's, making shards from them download.py's and folder.py's.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

from components.data import tables
from components.data.samples import encode_metadata

_LIST_SCHEMA = {
    "key": "string",
    "origin": "string",
    "url": "string",
    "caption": "string",
    "metadata": "string",
    "reason": "string",
    "detail": "string",
}

INGEST_SCHEMA = {
    "key": "string",
    "origin": "string",
    "url": "string",
    "caption": "string",
    "status": "string",
    "reason": "string",
    "detail": "string",
    "attempts": "int32",
    "width": "int32",
    "height": "int32",
    "sha256": "string",
}


@dataclass(frozen=True)
class SourceRow:
    """One row of a list or one picture of a folder; a `reason` says that it is already known to fail."""

    key: str
    origin: str  # where in the source: "list.tsv:17", "images/a.jpg"
    url: str | None
    caption: str | None
    metadata: dict[str, Any]
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class ShardList:
    """The rows of one shard to be, in a parquet file at `path`; `name` is the shard's ("00000")."""

    name: str
    path: str
    rows: int


@dataclass(frozen=True)
class IngestRow:
    """What became of one input sample: status "success", or "dropped" or "failed" with a reason. Columns as in
    INGEST_SCHEMA.
    """

    key: str
    origin: str
    url: str | None
    caption: str | None
    status: str
    reason: str
    detail: str
    attempts: int
    width: int | None  # of the stored picture, pixels; null where unknown
    height: int | None
    sha256: str | None  # of the picture's bytes as they came from the source


def failed_row(row: SourceRow, reason: str, detail: str, attempts: int = 0) -> IngestRow:
    """The row for a sample that is lost, with why."""
    return IngestRow(
        row.key, row.origin, row.url, row.caption, "failed", reason, detail[:500], attempts, None, None, None
    )


def dropped_row(row: SourceRow, reason: str, detail: str) -> IngestRow:
    """The row for a sample that is left out on purpose, with why."""
    return IngestRow(row.key, row.origin, row.url, row.caption, "dropped", reason, detail[:500], 0, None, None, None)


def write_ingest_table(path: str | Path, rows: Sequence[IngestRow]) -> int:
    """Write rows to parquet with INGEST_SCHEMA. In place: give a temporary name and rename it."""
    columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(IngestRow)}
    return tables.write_table(path, columns, INGEST_SCHEMA)


def count_reasons(rows: Iterable[IngestRow], status: str = "failed") -> dict[str, int]:
    """Number of failed rows, or of those dropped, by reason, sorted by reason."""
    return dict(sorted(Counter(row.reason for row in rows if row.status == status).items()))


def row_key(position: int, rows_per_shard: int) -> str:
    """The key that `split_rows` gives to the row at a position, from 0."""
    digits = max(4, len(str(rows_per_shard - 1)))
    return f"{position // rows_per_shard:05d}{position % rows_per_shard:0{digits}d}"


def split_rows(rows: Iterable[SourceRow], rows_per_shard: int, out_dir: str | Path) -> list[ShardList]:
    """Cut rows into shard lists of `rows_per_shard`, in order, named 00000, 00001, ...; keys are SSSSSRRRR (shard,
    row).

    Rows are taken as a stream: those of one shard are in memory at once. Raises ValueError where rows_per_shard is not
    1 to 1,000,000.
    """
    if not 1 <= rows_per_shard <= 1_000_000:
        raise ValueError(f"rows_per_shard is {rows_per_shard}; it must be 1 to 1000000")
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    source = iter(rows)
    lists: list[ShardList] = []
    while (first := next(source, None)) is not None:
        name = f"{len(lists):05d}"
        path = out / f"{name}.parquet"
        rows_of_it = _chain(first, islice(source, rows_per_shard - 1))
        count = _write_list(path, rows_of_it, len(lists) * rows_per_shard, rows_per_shard)
        lists.append(ShardList(name, str(path), count))
    return lists


def _chain(first: SourceRow, rest: Iterable[SourceRow]) -> Iterator[SourceRow]:
    yield first
    yield from rest


def _write_list(path: Path, rows: Iterator[SourceRow], start: int, rows_per_shard: int) -> int:
    columns: dict[str, list[Any]] = {column: [] for column in _LIST_SCHEMA}
    count = 0
    for count, row in enumerate(rows, start=1):
        columns["key"].append(row_key(start + count - 1, rows_per_shard))
        columns["origin"].append(row.origin)
        columns["url"].append(row.url)
        columns["caption"].append(row.caption)
        columns["metadata"].append(encode_metadata(row.metadata).decode() if row.metadata else "")
        columns["reason"].append(row.reason)
        columns["detail"].append(row.detail)
    partial = path.with_name(f".{path.name}.partial")
    tables.write_table(partial, columns, _LIST_SCHEMA)
    partial.replace(path)
    return count


def read_shard_list(path: str | Path) -> list[SourceRow]:
    """The rows of one shard list written by split_rows."""
    columns = tables.read_table(path, list(_LIST_SCHEMA))
    rows = zip(*(columns[name] for name in _LIST_SCHEMA), strict=True)
    return [
        SourceRow(key, origin, url, caption, json.loads(metadata) if metadata else {}, reason, detail)
        for key, origin, url, caption, metadata, reason, detail in rows
    ]
