"""What a source holds, read cheaply: how many samples, and how large their pictures are. Nothing is downloaded, copied
or decoded.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from components.data import row_groups
from components.data.addresses import is_pipe, is_remote, shown
from components.data.folder import list_files_of
from components.data.image_header import read_header
from components.data.list_files import ListFormat, read_rows
from components.data.options import FolderOptions, PairColumns, ShardLimits, UrlListOptions
from components.data.pair_folders import folder_pairs, scan_pairs
from components.data.places import base_name, describe, open_place
from components.data.row_groups import DamagedFile, Fault, find_parquet
from components.data.samples import IMAGE_EXTENSIONS
from components.data.sizes import CAPTION_BYTES, METADATA_BYTES, tar_sample_bytes
from components.data.tables import count_rows
from components.data.url_lists import find_url_lists
from components.data.webdataset_source import find_shards

LOOKED_AT = 64  # pictures whose size in pixels is read
HEADER = 65_536  # bytes of a picture in which its size stands
CHUNK = 1 << 20


@dataclass(frozen=True)
class Survey:
    """`sample_bytes` and `pixels` are means of one sample, None where they can only be known later."""

    samples: int
    how: str  # in words, how the samples were counted
    sample_bytes: float | None = None  # in a tar, headers included
    pixels: float | None = None  # of a picture


def survey_url_lists(spec: str, options: UrlListOptions) -> Survey:
    """Count the rows of URL lists: parquet by its footer, json by its objects, the others by their lines. ValueError as
    of `find_url_lists`.
    """
    paths = find_url_lists(spec)
    kinds = {path.suffix.lower() for path in paths}
    how = "rows of the lists" if kinds <= {".parquet", ".json"} else "lines of the lists"
    return Survey(sum(_list_rows(path, options) for path in paths), how)


def _list_rows(path: Path, options: UrlListOptions) -> int:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return count_rows(path)
    if suffix == ".json":
        return sum(1 for _ in read_rows(path, [], ListFormat()))
    header = suffix in (".csv", ".tsv") and not options.column_names
    return max(0, count_lines(path) - header)


def count_lines(path: Path) -> int:
    """Return the lines of a text file, the last one counted with or without its end."""
    lines, last = 0, b"\n"
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            lines += chunk.count(b"\n")
            last = chunk[-1:]
    return lines + (last != b"\n")


def _sizes(places: Sequence[str]) -> list[int]:
    remote = iter(describe([place for place in places if is_remote(place)]))
    return [int(next(remote)["size"] or 1) if is_remote(place) else os.path.getsize(place) for place in places]


def survey_shards(spec: str, allow_pipe: bool = False) -> Survey:
    """Count the samples of the first tar, and take the others to be alike by their bytes. ValueError as of
    `find_shards`.
    """
    places = find_shards(spec, allow_pipe)
    first = places[0]
    if is_pipe(first):
        raise ValueError(f"{first} is a command, and its samples are only counted when it runs")
    keys: set[str] = set()
    pixels: list[int] = []
    looked_at = 0
    try:
        with open_place(first) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                name = member.name.rpartition("/")[2]
                key, _, extension = name.partition(".")
                if not member.isfile() or not extension:
                    continue
                keys.add(member.name[: len(member.name) - len(name)] + key)
                if extension.lower().rpartition(".")[2] in IMAGE_EXTENSIONS and len(pixels) < LOOKED_AT:
                    stream = tar.extractfile(member)
                    pixels += _pixels(stream.read(HEADER) if stream else b"")
                if is_remote(first) and len(keys) > LOOKED_AT:
                    looked_at = member.offset  # the rest would have to be fetched
                    keys.discard(member.name[: len(member.name) - len(name)] + key)
                    break
    except (tarfile.TarError, OSError) as error:
        raise ValueError(f"{first} cannot be read as a tar: {error}") from error
    if not keys:
        raise ValueError(f"{first} holds no samples")
    bytes_of = _sizes(places)
    size, total = looked_at or bytes_of[0], sum(bytes_of)
    samples = round(len(keys) * total / size)
    name = base_name(first)
    how = "samples of the only tar" if len(places) == 1 else f"samples of {name}, and {len(places)} tars by size"
    return Survey(samples, how, size / len(keys), _mean(pixels))


def survey_parquet(spec: str, pictures: Sequence[str]) -> Survey:
    """Count the rows of parquet files by their footers, and look at the pictures of the first. ValueError as of
    `find_parquet`. `pictures`: columns with pictures, of one sample each.
    """
    paths = find_parquet(spec)
    counts = []
    for path in paths:
        try:
            counts.append(row_groups.count_rows(path))
        except DamagedFile:
            counts.append(0)  # ingest reports it
    samples = sum(counts)
    if not samples:
        raise ValueError(f"{shown(spec)} holds no rows that can be read")
    first = paths[next(number for number, count in enumerate(counts) if count)]
    sizes, pixels = [], []
    part = row_groups.Part(first, base_name(first), 0, 1, 0, 0)
    for _, values in islice(row_groups.read_part(part, list(pictures)), LOOKED_AT):
        if isinstance(values, row_groups.Fault):
            continue
        found = [_bytes(row_groups.value_at(values, column)) for column in pictures]
        sizes.append(tar_sample_bytes((*map(len, found), CAPTION_BYTES, METADATA_BYTES)))
        pixels += _pixels(found[0][:HEADER])
    how = f"rows of {len(paths)} parquet file{'s' if len(paths) > 1 else ''}"
    return Survey(samples, how, sum(sizes) / len(sizes) if sizes else None, _mean(pixels))


def survey_pair_folder(folder: str, name: str | None, options: PairColumns) -> Survey:
    """Count the rows of a folder's metadata file, and look at the first pairs. ValueError as of `scan_pairs`."""
    rows = list(scan_pairs(folder, name, options))
    looked_at = folder_pairs(folder, rows[:LOOKED_AT], options, ShardLimits())
    sizes, pixels = [], []
    for _, _, values in looked_at:
        if isinstance(values, Fault):
            continue
        found = [_bytes(values(column)) for column in (options.source, options.target)]
        sizes.append(tar_sample_bytes((*map(len, found), CAPTION_BYTES, METADATA_BYTES)))
        pixels += _pixels(found[0][:HEADER])
    if not rows:
        raise ValueError(f"{folder} holds no pairs")
    return Survey(len(rows), "rows of the metadata file", sum(sizes) / len(sizes) if sizes else None, _mean(pixels))


def _bytes(value: object) -> bytes:
    data = value.get("bytes") if isinstance(value, dict) else value
    return data if isinstance(data, bytes) else b""


def survey_folder(folder: str, options: FolderOptions) -> Survey:
    """Count the pictures of a folder. ValueError where there is no such folder, or no picture in it."""
    pictures = [p for p in list_files_of(folder, options) if p.suffix.lower().removeprefix(".") in IMAGE_EXTENSIONS]
    if not pictures:
        raise ValueError(f"{folder} holds no pictures")
    each = max(1, len(pictures) // LOOKED_AT)
    pixels = [value for path in islice(pictures, 0, None, each) for value in _head(path)]
    mean = sum(path.stat().st_size for path in pictures) / len(pictures)
    size = tar_sample_bytes((mean, CAPTION_BYTES, METADATA_BYTES))
    return Survey(len(pictures), "pictures of the folder", size, _mean(pixels))


def _head(path: Path) -> Iterator[int]:
    with path.open("rb") as file:
        yield from _pixels(file.read(HEADER))


def _pixels(data: bytes) -> list[int]:
    header = read_header(data)
    return [] if header is None else [header.width * header.height]


def _mean(values: list[int]) -> float | None:
    return sum(values) / len(values) if values else None
