"""Existing WebDataset shards as a source: which tars there are, and copying one into a clean shard with a row for every
sample.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from components.data.image_header import read_header
from components.data.ingest_rows import IngestRow, SourceRow, failed_row
from components.data.list_files import expand_paths
from components.data.options import ShardLimits
from components.data.records import read_records, write_records
from components.data.samples import BadRecord, Record, caption_of, image_part, metadata_of


def find_shards(spec: str | Path) -> list[Path]:
    """The tars meant by a path, folder, glob or braces ("shards/{00000..00012}.tar"), sorted. Raises ValueError where
    there is none.
    """
    return expand_paths(spec, (".tar",))


def normalise_shard(
    path: str | Path,
    out_path: str | Path,
    limits: ShardLimits,
    caption_field: str | None = None,
    require_caption: bool = True,
    key_prefix: str = "",
) -> list[IngestRow]:
    """Copy the whole samples of the tar `path`, parts unchanged, to a clean tar at `out_path`; one row per input
    sample, in order.

    `caption_field`: take captions from this field of each json part instead of the txt part (the txt part is then made
    from it). `key_prefix` is put before every key, for sources whose shards use the same keys. Samples without a
    picture or (where required) a caption, and bad ones, are rows with a reason; a fault of the tar itself is a row with
    the key "". The tar is written in place: give a temporary name and rename it. Raises ValueError where there is no
    such file.
    """
    results: list[IngestRow] = []
    write_records(out_path, _clean(Path(path), limits, caption_field, require_caption, key_prefix, results))
    return results


def _clean(
    path: Path,
    limits: ShardLimits,
    caption_field: str | None,
    require_caption: bool,
    prefix: str,
    results: list[IngestRow],
) -> Iterator[Record]:
    for record in read_records(path, limits):
        origin = f"{path.name}:{record.key}"
        key = prefix + record.key if record.key else ""
        usable = _use(record, caption_field, require_caption)
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


def _use(
    record: Record | BadRecord, caption_field: str | None, require_caption: bool
) -> BadRecord | tuple[Record, bytes, str | None, str | None]:
    """(record, picture, caption, url), or why the sample cannot be used."""
    if isinstance(record, BadRecord):
        return record
    image = image_part(record)
    if image is None:
        return BadRecord(record.key, "no_picture", f"its parts are {', '.join(sorted(record.parts))}")
    metadata = metadata_of(record)
    if isinstance(metadata, BadRecord):
        return metadata
    caption = caption_of(record, caption_field)
    if isinstance(caption, BadRecord):
        return caption
    if caption is None and require_caption:
        return BadRecord(record.key, "no_caption", f"it has no {caption_field or 'txt'} with text")
    url = metadata.get("url")
    if caption_field is not None and caption is not None:
        record = Record(record.key, {**record.parts, "txt": caption.encode()})
    return record, image[1], caption, url if isinstance(url, str) else None
