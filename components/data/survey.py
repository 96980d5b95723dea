"""What a source holds, read cheaply: how many samples, and how large their pictures are. Nothing is downloaded, copied
or decoded.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from components.data.folder import list_files_of
from components.data.image_header import read_header
from components.data.list_files import ListFormat, read_rows
from components.data.options import FolderOptions, UrlListOptions
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


def survey_shards(spec: str) -> Survey:
    """Count the samples of the first tar, and take the others to be alike by their bytes. ValueError as of
    `find_shards`.
    """
    paths = find_shards(spec)
    first = paths[0]
    keys: set[str] = set()
    pixels: list[int] = []
    try:
        with tarfile.open(first, "r:") as tar:
            for member in tar:
                name = member.name.rpartition("/")[2]
                key, _, extension = name.partition(".")
                if not member.isfile() or not extension:
                    continue
                keys.add(member.name[: len(member.name) - len(name)] + key)
                if extension.lower() in IMAGE_EXTENSIONS and len(pixels) < LOOKED_AT:
                    stream = tar.extractfile(member)
                    pixels += _pixels(stream.read(HEADER) if stream else b"")
    except (tarfile.TarError, OSError) as error:
        raise ValueError(f"{first} cannot be read as a tar: {error}") from error
    if not keys:
        raise ValueError(f"{first} holds no samples")
    size = first.stat().st_size
    total = sum(path.stat().st_size for path in paths)
    samples = round(len(keys) * total / size)
    how = "samples of the only tar" if len(paths) == 1 else f"samples of {first.name}, and {len(paths)} tars by size"
    return Survey(samples, how, size / len(keys), _mean(pixels))


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
