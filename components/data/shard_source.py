"""Existing WebDataset shards as a source: finding them, and copying each one's whole samples into a clean shard."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from pathlib import Path

from components.data.options import ShardLimits
from components.data.records import BadRecord, Record, read_records, write_records
from components.data.samples import image_part

ROWS_SCHEMA = {"key": "string", "source": "string", "status": "string", "reason": "string", "detail": "string"}


def list_shards(pattern: str) -> list[Path]:
    """Return the tars of a folder, a glob, or a brace pattern (`shards/{00000..00031}.tar`), sorted.

    Raises ValueError where there is none, or one that a brace pattern names is missing.
    """
    found: list[Path] = []
    for part in _expand(pattern):
        path = Path(part)
        if path.is_dir():
            found += sorted(path.glob("*.tar"))
        elif glob.has_magic(part):
            found += [Path(p) for p in sorted(glob.glob(part))]
        elif path.is_file():
            found.append(path)
        else:
            raise ValueError(f"source.shards={pattern}: {part} does not exist")
    if not found:
        raise ValueError(f"source.shards={pattern}: no .tar file is there. Give a folder, a glob or a brace pattern.")
    return found


def _expand(pattern: str) -> Iterator[str]:
    match = re.search(r"\{([^{}]*)\}", pattern)
    if not match:
        yield pattern
        return
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    if numbers:
        width = len(numbers[1]) if numbers[1].startswith("0") else 0
        choices = [f"{n:0{width}d}" for n in range(int(numbers[1]), int(numbers[2]) + 1)]
    else:
        choices = match[1].split(",")
    for choice in choices:
        yield from _expand(pattern[: match.start()] + choice + pattern[match.end() :])


def normalise_shard(source: Path, target: Path, limits: ShardLimits) -> list[dict[str, str]]:
    """Copy the whole samples of a tar into a clean one; return a row (`ROWS_SCHEMA`) for every sample met.

    A sample is whole where it was read without fault and holds an image. Its caption may be missing: that is a matter
    of curation.
    """
    rows: list[dict[str, str]] = []

    def whole() -> Iterator[Record]:
        for record in read_records(source, limits):
            bad = record if isinstance(record, BadRecord) else None
            if isinstance(record, Record) and image_part(record) is None:
                bad = BadRecord(record.key, "no_image", f"it holds only {', '.join(sorted(record.parts))}")
            rows.append(row(record.key, str(source), bad))
            if isinstance(record, Record) and bad is None:
                yield record

    write_records(target, whole())
    return rows


def row(key: str, source: str, bad: BadRecord | None) -> dict[str, str]:
    """Return the row of one input sample: kept, or failed with its reason."""
    if bad is None:
        return {"key": key, "source": source, "status": "kept", "reason": "", "detail": ""}
    return {"key": key, "source": source, "status": "failed", "reason": bad.reason, "detail": bad.detail[:500]}
