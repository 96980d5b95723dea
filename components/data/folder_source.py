"""A folder of images as a source: with a captions file (csv, tsv, json, jsonl, parquet), or a text file beside each image."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.data.list_files import ListFormat, RowFault, read_rows
from components.data.options import ShardLimits
from components.data.records import BadRecord, Record
from components.data.samples import IMAGE_EXTENSIONS

METADATA_NAMES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


@dataclass(frozen=True)
class FolderSample:
    """One sample of a folder: the image's path relative to it, its caption, and what else the captions file says.

    `problem` is (reason, detail) where the sample cannot be had: `image_missing`, `outside_folder`, `duplicate_image`.
    """

    name: str
    caption: str | None
    metadata: dict[str, Any] = field(default_factory=dict)
    problem: tuple[str, str] | None = None


def find_captions(folder: Path, captions: str | None) -> Path | None:
    """Return the captions file: the one named, or Hugging Face's `metadata.*` in the folder, or None."""
    if captions is not None:
        path = Path(captions) if Path(captions).is_absolute() or Path(captions).exists() else folder / captions
        if not path.is_file():
            raise ValueError(f"source.captions={captions}: no such file, neither from here nor in {folder}")
        return path
    return next((folder / name for name in METADATA_NAMES if (folder / name).is_file()), None)


def list_images(folder: Path) -> list[str]:
    """Return every image below a folder, relative to it, sorted. Raises ValueError where there is no folder or no image."""
    if not folder.is_dir():
        raise ValueError(f"source.path={folder}: no such folder")
    names = sorted(
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.is_file() and p.suffix.lower().lstrip(".") in IMAGE_EXTENSIONS
    )
    if not names:
        raise ValueError(f"source.path={folder}: no images there ({', '.join(IMAGE_EXTENSIONS)})")
    return names


def list_samples(folder: Path, captions: str | None, image_column: str, caption_column: str) -> list[FolderSample]:
    """Return a sample for every row of the captions file and for every image it does not name.

    A caption may be a list of captions: the first is the caption, all stay in the metadata. An image without a caption
    has caption None. Raises ValueError for a captions file that cannot be read or lacks a column.
    """
    present = list_images(folder)
    path = find_captions(folder, captions)
    if path is None:
        return [FolderSample(name, _text_beside(folder / name)) for name in present]
    inside = set(present)
    seen: set[str] = set()
    samples = []
    for number, row in read_rows(path, [image_column, caption_column], ListFormat()):
        if isinstance(row, RowFault):
            samples.append(FolderSample(f"{path.name}:{number}", None, {}, ("bad_row", row.detail)))
            continue
        name = str(row.get(image_column) or "")
        caption = row.get(caption_column)
        if isinstance(caption, list):
            caption = next((c for c in caption if isinstance(c, str)), None)
        problem = _problem(folder, name, inside, seen)
        seen.add(name)
        samples.append(FolderSample(name, str(caption) if caption is not None else None, row, problem))
    return samples + [FolderSample(name, None) for name in present if name not in seen]


def _problem(folder: Path, name: str, inside: set[str], seen: set[str]) -> tuple[str, str] | None:
    if name in seen:
        return "duplicate_image", "the captions file names this image more than once"
    if name in inside:
        return None
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        return "outside_folder", "the captions file points outside the folder"
    return "image_missing", "the captions file names an image that is not in the folder"


def _text_beside(image: Path) -> str | None:
    path = image.with_suffix(".txt")
    return path.read_text("utf-8", errors="replace").strip() if path.is_file() else None


def read_sample(folder: Path, sample: FolderSample, key: str, limits: ShardLimits) -> Record | BadRecord:
    """Return the sample with its image's bytes as they are, its caption and metadata; or why it cannot be had."""
    if sample.problem:
        return BadRecord(key, *sample.problem)
    path = folder / sample.name
    try:
        if path.stat().st_size > limits.max_member_bytes:
            return BadRecord(key, "too_large", f"{path.stat().st_size:,} bytes")
        data = path.read_bytes()
    except OSError as error:
        return BadRecord(key, "unreadable", str(error.strerror))
    if not path.resolve().is_relative_to(folder.resolve()):
        return BadRecord(key, "outside_folder", "a link points outside the folder")
    metadata = {**sample.metadata, "source": sample.name, "key": key}
    parts = {
        path.suffix.lower().lstrip("."): data,
        "json": json.dumps(metadata, ensure_ascii=False, default=str).encode(),
    }
    if sample.caption is not None:
        parts["txt"] = sample.caption.encode("utf-8", "replace")
    return Record(key, parts)


def chunks(count: int, size: int) -> Iterator[tuple[str, int, int]]:
    """Yield (shard name, first, end) for `count` samples in shards of `size`."""
    for number, first in enumerate(range(0, count, size)):
        yield f"{number:05d}", first, min(first + size, count)
