"""Existing WebDataset shards as a source: which tars there are, and copying one into a clean shard with a row for every
sample.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.data.addresses import is_pipe
from components.data.caption_origins import Captions, gather_captions, with_captions
from components.data.image_header import read_header
from components.data.ingest_rows import IngestRow, SourceRow, failed_row
from components.data.options import ShardLimits
from components.data.places import base_name, find_places, with_retries
from components.data.records import APART, UnsortedTar, gather_records, read_records, write_records
from components.data.samples import BadRecord, Record, caption_of, encode_metadata, image_part, metadata_of
from components.data.streams import open_shard


def find_shards(spec: str | Path, allow_pipe: bool = False) -> list[str]:
    """The tars meant by a path, folder, glob, braces ("shards/{00000..00012}.tar"), an address of them, or `pipe:` and
    a command that writes one, sorted. Raises ValueError where there is none, and for a command that is not allowed.
    """
    text = str(spec)
    if is_pipe(text) and not allow_pipe:
        raise ValueError(f"{text} runs a command of the shell. Set allow_pipe=true where that is meant")
    return find_places(text, (".tar",))


def normalise_shard(
    path: str | Path,
    out_path: str | Path,
    limits: ShardLimits,
    caption_field: str | None = None,
    require_caption: bool = True,
    key_prefix: str = "",
    captions: dict[str, str] | None = None,
    size: int | None = None,
) -> list[IngestRow]:
    """Copy the whole samples of the tar at `path` (or at an address, or of a command), parts unchanged, to a clean tar
    at `out_path`; one row per input sample, in order.

    `caption_field`: take captions from this field of each json part instead of the txt part (the txt part is then made
    from it). `captions`: {origin: part with text, or field of the json part} of several, kept in the json part. `size`:
    bytes that a server says the tar has. `key_prefix` is put before every key, for sources whose shards use the same
    keys.

    Samples without a picture or (where required) a caption, and bad ones, are rows with a reason; a fault of the tar
    itself is a row with the key "". The tar is written in place: give a temporary name and rename it. Raises ValueError
    where there is no such file, Unreachable where a server fails again and again.
    """

    def copy(apart: bool = False) -> list[IngestRow]:
        results: list[IngestRow] = []
        wanted = Wanted(caption_field, captions or {}, require_caption)
        with open_shard(str(path), size) as stream:
            records = gather_records(stream, limits) if apart else read_records(stream, limits, refuse_unsorted=True)
            write_records(out_path, packed(base_name(str(path)), records, wanted, key_prefix, results))
        return [replace(row, detail=row.detail or APART) for row in results] if apart else results

    try:
        return with_retries(str(path), copy)
    except UnsortedTar:
        return with_retries(str(path), lambda: copy(apart=True))


@dataclass(frozen=True)
class Wanted:
    """Where a shard's captions are: see `normalise_shard`."""

    caption_field: str | None
    captions: dict[str, str]
    require_caption: bool


def packed(
    name: str, records: Iterable[Record | BadRecord], wanted: Wanted, prefix: str, results: list[IngestRow]
) -> Iterator[Record]:
    """The whole samples of a tar called `name`, as they are asked for; a row for each goes to `results`."""
    for record in records:
        origin = f"{name}:{record.key}"
        key = prefix + record.key if record.key else ""
        usable = _use(record, wanted)
        if isinstance(usable, BadRecord):
            source = SourceRow(key, origin, None, None, {})
            results.append(failed_row(source, usable.reason, usable.detail))
            continue
        record, picture, caption, url = usable
        header = read_header(picture)
        results.append(
            IngestRow(
                key=key,
                origin=origin,
                url=url,
                caption=caption,
                status="success",
                reason="",
                detail="",
                attempts=1,
                width=header.width if header is not None else None,
                height=header.height if header is not None else None,
                sha256=hashlib.sha256(picture).hexdigest(),
            )
        )
        yield Record(key, record.parts)


def _use(record: Record | BadRecord, wanted: Wanted) -> BadRecord | tuple[Record, bytes, str | None, str | None]:
    """(record, picture, caption, url), or why the sample cannot be used."""
    if isinstance(record, BadRecord):
        return record
    image = image_part(record)
    if image is None:
        return BadRecord(record.key, "no_picture", f"its parts are {', '.join(sorted(record.parts))}")
    metadata = metadata_of(record)
    if isinstance(metadata, BadRecord):
        return metadata
    captions = _captions(record, metadata, wanted)
    if isinstance(captions, BadRecord):
        return captions
    caption = captions.first
    if caption is None and wanted.require_caption:
        named = ", ".join(wanted.captions.values()) or wanted.caption_field or "txt"
        return BadRecord(record.key, "no_caption", f"it has no {named} with text")
    parts = record.parts
    if caption is not None and (wanted.captions or wanted.caption_field is not None):
        parts = {**parts, "txt": caption.encode()}
    kept = with_captions(metadata, captions, bool(wanted.captions))
    if kept is not metadata:
        parts = {**parts, "json": encode_metadata(kept)}
    url = metadata.get("url")
    return Record(record.key, parts), image[1], caption, url if isinstance(url, str) else None


def _captions(record: Record, metadata: dict[str, Any], wanted: Wanted) -> Captions | BadRecord:
    if not wanted.captions and wanted.caption_field is None:
        found = caption_of(record)
        if isinstance(found, BadRecord):
            return found
        return Captions() if found is None else Captions((found,), ("txt",))
    values: dict[str, Any] = {}
    for origin, name in (wanted.captions or {str(wanted.caption_field): str(wanted.caption_field)}).items():
        values[origin] = metadata.get(name)
        if wanted.captions and name in record.parts:
            text = caption_of(Record(record.key, {"txt": record.parts[name]}))
            if isinstance(text, BadRecord):
                return text
            values[origin] = text
    return gather_captions(record.key, values)
