"""Given edit pairs: what makes a pair of a row's values, and packing the pairs of parquet files and of WebDataset
shards into shards as `synthesize_edits` writes them. Those of folders are pair_folders.py's.

A pair has the parts `source.EXT` and `target.EXT` (bytes as they came), `mask.png` where it has a mask, `txt` (its
first instruction) and `json`: `source_key`, `source_shard`, `caption`, `target_caption`, `kind`, `family`, `quality`,
and under `pixsem` its `group`, and where there are some its `turn` and all `instructions`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from components.data.caption_origins import PRIVATE, gather_captions
from components.data.edit_masks import mask_png
from components.data.ingest_rows import IngestRow, SourceRow, failed_row
from components.data.options import PairColumns, ShardLimits
from components.data.parquet_source import Picture, keyed_rows, read_picture, success
from components.data.places import base_name, with_retries
from components.data.records import read_records, write_records
from components.data.row_groups import Fault, Part, value_at
from components.data.samples import IMAGE_EXTENSIONS, BadRecord, Record, encode_metadata, metadata_of
from components.data.streams import open_shard
from components.data.tables import missing_column

FAMILY = "given"

# (key, origin, value of a name as PairColumns has it); a Fault in the place of what cannot be read
Row = tuple[str, str, Callable[[str], Any] | Fault]


def columns_of(options: PairColumns) -> list[str]:
    """The names that options mention, each once."""
    single = (options.mask, options.caption, options.target_caption, options.kind, options.group, options.turn)
    named = [options.source, options.target, *options.instruction, *(n for n in single if n), *options.metadata]
    return list(dict.fromkeys(named))


def pictures_of(options: PairColumns) -> list[str]:
    """The names that options mention for pictures."""
    return [name for name in (options.source, options.target, options.mask) if name]


def pack_pairs(
    rows: Iterable[Row], shard: str, out_path: str | Path, options: PairColumns, limits: ShardLimits
) -> list[IngestRow]:
    """Write the pairs of rows to the tar `out_path`; one IngestRow for each row, in order, with the source's size and
    hash, and the first instruction as its caption. `shard` is the name of the shard that is written.

    The tar is written in place: give a temporary name and rename it.
    """
    results: list[IngestRow] = []
    write_records(out_path, packed(rows, shard, options, limits, results))
    return results


def packed(
    rows: Iterable[Row], shard: str, options: PairColumns, limits: ShardLimits, results: list[IngestRow]
) -> Iterator[Record]:
    """The pairs of rows, as they are asked for; a row for each goes to `results`."""
    for key, origin, values in rows:
        row = SourceRow(key, origin, None, None, {})
        if isinstance(values, Fault):
            results.append(failed_row(row, values.reason, values.detail))
            continue
        made = make_pair(key, shard, values, options, limits)
        if isinstance(made, BadRecord):
            results.append(failed_row(row, made.reason, made.detail))
            continue
        record, source = made
        results.append(success(row, source, record.parts["txt"].decode()))
        yield record


def make_pair(
    key: str, shard: str, value: Callable[[str], Any], options: PairColumns, limits: ShardLimits
) -> tuple[Record, bytes] | BadRecord:
    """(the pair, the source's bytes), or why there is none: no_source, no_target, no_instruction, bad_mask and more."""
    pictures: dict[str, Picture] = {}
    for role, name in (("source", options.source), ("target", options.target)):
        found = read_picture(key, value(name), limits)
        if isinstance(found, BadRecord):
            reason = f"no_{role}" if found.reason == "no_picture" else found.reason
            return BadRecord(key, reason, f"{role}: {found.detail}")
        pictures[role] = found
    texts = gather_captions(key, {name: value(name) for name in options.instruction})
    if isinstance(texts, BadRecord):
        return BadRecord(key, "bad_instruction", texts.detail)
    if texts.first is None:
        return BadRecord(key, "no_instruction", f"{', '.join(options.instruction)} has no text")
    parts = {f"{role}.{picture.extension}": picture.data for role, picture in pictures.items()}
    mask = value(options.mask) if options.mask else None
    if mask is not None:
        made = mask_png(key, read_picture(key, mask, limits), options.mask_marks)
        if isinstance(made, BadRecord):
            return made
        parts["mask.png"] = made
    parts["txt"] = texts.first.encode()
    parts["json"] = encode_metadata(_about(key, shard, value, options, texts.texts, pictures["source"].data))
    if sum(map(len, parts.values())) > limits.max_sample_bytes:
        return BadRecord(key, "sample_too_large", f"its parts have over {limits.max_sample_bytes} bytes together")
    return Record(key, parts), pictures["source"].data


def _about(
    key: str, shard: str, value: Callable[[str], Any], options: PairColumns, instructions: Sequence[str], source: bytes
) -> dict[str, Any]:
    def text(name: str | None) -> str | None:
        found = gather_captions(key, {name: value(name)}) if name else None
        return None if found is None or isinstance(found, BadRecord) else found.first

    group = _plain(value(options.group)) if options.group else ""
    said: dict[str, Any] = {"group": group or hashlib.sha256(source).hexdigest()[:32]}
    turn = value(options.turn) if options.turn else None
    if turn is not None:
        said["turn"] = turn if isinstance(turn, int) else _plain(turn)
    if len(instructions) > 1:
        said["instructions"] = list(instructions)
    about = {
        "source_key": key,
        "source_shard": shard,
        "caption": text(options.caption),
        "target_caption": text(options.target_caption),
        "kind": (_plain(value(options.kind)) if options.kind else "") or FAMILY,
        "family": FAMILY,
        "quality": {},
        PRIVATE: said,
    }
    theirs = {name: value(name) for name in options.metadata}
    ours = {*about, "faults"}  # what is planted in a pair has that name
    kept = {(f"source_{name}" if name in ours else name): found for name, found in theirs.items() if found is not None}
    whole = {**kept, **about}
    return {name: whole[name] for name in sorted(whole)}


def _plain(value: Any) -> str:
    return "" if value is None else str(value).strip()[:200]


def pack_parquet_pairs(
    parts: Sequence[Part], shard: str, first_key: str, out_path: str | Path, options: PairColumns, limits: ShardLimits
) -> list[IngestRow]:
    """Pack the pairs of parquet rows; see `pack_pairs`. Raises Unreachable where a server fails again and again."""

    def pack() -> list[IngestRow]:
        return pack_pairs(parquet_pairs(parts, first_key, options), shard, out_path, options, limits)

    return with_retries(parts[0].path, pack)


def parquet_pairs(parts: Sequence[Part], first_key: str, options: PairColumns) -> Iterator[Row]:
    """The rows of parquet files, for `packed`."""
    for key, origin, values in keyed_rows(parts, first_key, columns_of(options)):
        yield key, origin, values if isinstance(values, Fault) else partial(value_at, values)


def pack_tar_pairs(
    place: str,
    shard: str,
    out_path: str | Path,
    options: PairColumns,
    limits: ShardLimits,
    size: int | None = None,
) -> list[IngestRow]:
    """Pack the pairs of a WebDataset shard; see `pack_pairs`. A name means a part (`src_img` also `src_img.jpg`), or
    else a field of the json part. Raises Unreachable where a server fails again and again.
    """

    def pack() -> list[IngestRow]:
        with open_shard(place, size) as stream:
            rows = tar_pairs(read_records(stream, limits), base_name(place), options)
            return pack_pairs(rows, shard, out_path, options, limits)

    return with_retries(place, pack)


def check_parts(place: str, options: PairColumns, limits: ShardLimits) -> None:
    """Raise ValueError where the first sample of a tar lacks the pictures that are named, naming the nearest part."""
    with open_shard(place) as stream:
        record = next((found for found in read_records(stream, limits) if isinstance(found, Record)), None)
    if record is None:
        return  # ingest says what is wrong with it
    metadata = metadata_of(record)
    value = _of_sample(record, metadata if isinstance(metadata, dict) else {}, set(pictures_of(options)))
    for name in (options.source, options.target):
        if value(name) is None:
            parts = sorted({part.rpartition(".")[0] or part for part in record.parts})
            raise ValueError(missing_column(f"{base_name(place)}: the sample {record.key}", name, parts))


def tar_pairs(records: Iterable[Record | BadRecord], name: str, options: PairColumns) -> Iterator[Row]:
    """The samples of a WebDataset shard, for `packed`."""
    for record in records:
        origin = f"{name}:{record.key}"
        metadata = record if isinstance(record, BadRecord) else metadata_of(record)
        if isinstance(record, BadRecord) or isinstance(metadata, BadRecord):
            assert isinstance(metadata, BadRecord)
            yield record.key, origin, Fault(metadata.reason, metadata.detail)
        else:
            yield record.key, origin, _of_sample(record, metadata, set(pictures_of(options)))


def _of_sample(record: Record, metadata: dict[str, Any], pictures: set[str]) -> Callable[[str], Any]:
    def value(name: str) -> Any:
        extension = name.lower()
        if name in pictures:
            found = (extension, *(f"{extension}.{kind}" for kind in IMAGE_EXTENSIONS))
            return next((record.parts[part] for part in found if part in record.parts), None)
        for part in (extension, f"{extension}.txt"):
            if part in record.parts and part != "json":
                return _text(record.parts[part])
        if f"{extension}.json" in record.parts:
            return _json(record.parts[f"{extension}.json"])
        return value_at(metadata, name)

    return value


def _text(data: bytes) -> str:
    return data.decode("utf-8-sig", "surrogateescape")  # what is no utf-8 is refused with its reason where it is used


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return b""  # no text: refused with its reason where it is used
