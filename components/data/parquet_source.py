"""Parquet files with the pictures inside, as Hugging Face datasets write them: packing their rows into shards.

Which rows make a shard is row_groups.py's: ranges of row groups. A group is read in small batches, nothing is loaded
whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.data.caption_origins import PRIVATE, gather_captions, with_captions
from components.data.image_header import picture_format, read_header
from components.data.ingest_rows import IngestRow, SourceRow, failed_row
from components.data.options import ParquetOptions, ShardLimits, caption_columns
from components.data.places import with_retries
from components.data.records import write_records
from components.data.row_groups import Fault, Part, read_part, value_at
from components.data.samples import IMAGE_EXTENSIONS, BadRecord, Record, encode_metadata


@dataclass(frozen=True)
class Picture:
    """A picture as a file holds it: its bytes, their kind as an extension, and the name that they had, if any."""

    data: bytes
    extension: str
    name: str = ""


def columns_of(options: ParquetOptions) -> list[str]:
    """The columns that options name, each once; names may have dots."""
    named = caption_columns(options.captions, options.caption_column).values()
    return list(dict.fromkeys([options.image_column, *named, *options.metadata_columns]))


def pack_parquet_shard(
    parts: Sequence[Part], out_path: str | Path, first_key: str, options: ParquetOptions
) -> list[IngestRow]:
    """Write the pictures of the parts' rows, bytes unchanged, with their captions to the tar `out_path`; one IngestRow
    for each row, in order. Keys are `first_key` and the row's number in the shard.

    The tar is written in place: give a temporary name and rename it. Raises Unreachable where a server fails again and
    again.
    """

    def pack() -> list[IngestRow]:
        results: list[IngestRow] = []
        write_records(out_path, packed(parts, first_key, options, results))
        return results

    return with_retries(parts[0].path, pack)


def keyed_rows(
    parts: Sequence[Part], first_key: str, columns: Sequence[str]
) -> Iterator[tuple[str, str, dict[str, Any] | Fault]]:
    """(key, origin, values) of every row of a shard, in order. A file that cannot be read at all is one Fault with the
    key "".
    """
    number = 0
    for part in parts:
        for row, values in read_part(part, columns):
            if row is None:
                yield "", part.name, values
                continue
            yield f"{first_key}{number:05d}", f"{part.name}:{row}", values
            number += 1


def packed(
    parts: Sequence[Part], first_key: str, options: ParquetOptions, results: list[IngestRow]
) -> Iterator[Record]:
    """The samples of the parts' rows, as they are asked for; a row for each goes to `results`."""
    named = caption_columns(options.captions, options.caption_column)
    for key, origin, values in keyed_rows(parts, first_key, columns_of(options)):
        row = SourceRow(key, origin, None, None, {})
        if isinstance(values, Fault):
            results.append(failed_row(row, values.reason, values.detail))
            continue
        made = _sample(key, values, named, options)
        if isinstance(made, BadRecord):
            results.append(failed_row(row, made.reason, made.detail))
            continue
        record, picture, caption = made
        results.append(success(row, picture, caption))
        yield record


def _sample(
    key: str, values: dict[str, Any], named: dict[str, str], options: ParquetOptions
) -> tuple[Record, bytes, str | None] | BadRecord:
    """(the sample, its picture, its first caption), or why there is none."""
    picture = read_picture(key, value_at(values, options.image_column), options.limits)
    if isinstance(picture, BadRecord):
        return picture
    captions = gather_captions(key, {name: value_at(values, column) for name, column in named.items()})
    if isinstance(captions, BadRecord):
        return captions
    if captions.first is None and named and options.require_caption:
        return BadRecord(key, "no_caption", f"{', '.join(named.values())} has no text")
    metadata = {name: value_at(values, name) for name in options.metadata_columns}
    metadata = {k if k != PRIVATE else f"source_{PRIVATE}": v for k, v in metadata.items() if v is not None}
    if picture.name:
        metadata.setdefault("file_name", picture.name)
    parts = {
        picture.extension: picture.data,
        "json": encode_metadata(with_captions(metadata, captions, bool(options.captions))),
    }
    if captions.first is not None:
        parts["txt"] = captions.first.encode()
    return Record(key, parts), picture.data, captions.first


def success(row: SourceRow, picture: bytes, caption: str | None) -> IngestRow:
    """The row of a sample that was taken."""
    header = read_header(picture)
    size = (header.width, header.height) if header is not None else (None, None)
    sha256 = hashlib.sha256(picture).hexdigest()
    return IngestRow(row.key, row.origin, row.url, caption, "success", "", "", 1, size[0], size[1], sha256)


def read_picture(key: str, value: Any, limits: ShardLimits) -> Picture | BadRecord:
    """The picture in a column's value: bytes, or {bytes, path}. A BadRecord (no_picture, too_large, empty_body,
    not_an_image) for what is none.
    """
    name = ""
    if isinstance(value, dict):
        path = value.get("path")
        name = path if isinstance(path, str) else ""
        if value.get("bytes") is None and name:
            return BadRecord(
                key, "no_picture", f"the file holds the path {name[:200]!r} and no bytes; write it with the pictures in"
            )
        value = value.get("bytes")
    if value is None:
        return BadRecord(key, "no_picture", "the picture is null")
    if not isinstance(value, bytes):
        return BadRecord(key, "no_picture", f"the picture is {type(value).__name__}, not bytes")
    if not value:
        return BadRecord(key, "empty_body", "the picture has no bytes")
    if len(value) > limits.max_member_bytes:
        return BadRecord(key, "too_large", f"{len(value)} bytes; max_member_bytes is {limits.max_member_bytes}")
    extension = picture_format(value) or _extension_of(name)
    if extension not in IMAGE_EXTENSIONS:
        return BadRecord(key, "not_an_image", f"its bytes begin with {value[:8].hex(' ')}, as no picture does")
    return Picture(value, extension, name.rpartition("/")[2])


def _extension_of(name: str) -> str | None:
    extension = name.rpartition(".")[2].lower()
    return extension if extension in IMAGE_EXTENSIONS else None
