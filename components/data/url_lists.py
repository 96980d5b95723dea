"""URL lists (csv, tsv, parquet, json, jsonl, txt) as a stream of rows, and split into shard lists. Downloading is
download.py's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from components.data.caption_origins import gather_captions, with_captions
from components.data.ingest_rows import ShardList, SourceRow, split_rows
from components.data.list_files import LIST_SUFFIXES, ListFormat, RowFault, expand_paths, read_rows
from components.data.options import UrlListOptions, caption_columns
from components.data.samples import BadRecord

UNSEEN = "\u200b\u200c\u200d\u2060\ufeff"  # characters without width, which come along when addresses are copied


def find_url_lists(spec: str | Path) -> list[Path]:
    """The list files meant by a path, folder, glob or braces, sorted. Raises ValueError where there is none."""
    return expand_paths(spec, LIST_SUFFIXES)


def read_url_list(path: str | Path, options: UrlListOptions) -> Iterator[SourceRow]:
    """Every row of one list, in order, with an empty key. Bad rows carry their reason: bad_row, no_url, bad_caption,
    no_caption.

    Raises ValueError where the file or a configured column is missing, naming the nearest.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no URL list {path}")
    if path.suffix.lower() == ".txt":
        yield from _plain_list(path, options)
        return
    columns = [options.url_column]
    columns += caption_columns(options.captions, options.caption_column).values()
    columns = list(dict.fromkeys([*columns, *options.metadata_columns]))
    for number, row in read_rows(path, columns, ListFormat(options.column_names, options.quoted)):
        origin = f"{path.name}:{number}"
        if isinstance(row, RowFault):
            yield SourceRow("", origin, None, None, {}, "bad_row", row.detail)
        else:
            yield _source_row(origin, row, options)


def _source_row(origin: str, row: dict[str, Any], options: UrlListOptions) -> SourceRow:
    metadata = {name: row[name] for name in options.metadata_columns}
    if any(isinstance(value, str) and not _is_text(value) for value in metadata.values()):
        return SourceRow("", origin, None, None, {}, "bad_row", "a metadata column is not utf-8")
    url = row[options.url_column]
    url = url.strip().strip(UNSEEN).strip() if isinstance(url, str) else ""
    if not url or not _is_text(url):
        return SourceRow("", origin, None, None, metadata, "no_url", "the row has no address, or one that is not text")
    named = caption_columns(options.captions, options.caption_column)
    captions = gather_captions("", {name: row[column] for name, column in named.items()})
    if isinstance(captions, BadRecord):
        return SourceRow("", origin, url, None, metadata, captions.reason, captions.detail)
    if named and captions.first is None and options.require_caption:
        return SourceRow("", origin, url, None, metadata, "no_caption", "the row's caption is empty")
    metadata = with_captions(metadata, captions, bool(options.captions))
    return SourceRow("", origin, url, captions.first, metadata)


def _plain_list(path: Path, options: UrlListOptions) -> Iterator[SourceRow]:
    if caption_columns(options.captions, options.caption_column) or options.metadata_columns:
        raise ValueError(f"{path} has one address a line and no columns; set caption_column to null, or use csv or tsv")
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _source_row(f"{path.name}:{number}", {options.url_column: line}, options)


def split_url_lists(
    paths: Sequence[str | Path], options: UrlListOptions, rows_per_shard: int, out_dir: str | Path
) -> list[ShardList]:
    """Split the rows of all lists, in order, into shard lists of `rows_per_shard` under `out_dir`. See
    rows.split_rows.
    """
    return split_rows((row for path in paths for row in read_url_list(path, options)), rows_per_shard, out_dir)


def _is_text(value: str) -> bool:
    return not any(0xD800 <= ord(character) <= 0xDFFF for character in value)
