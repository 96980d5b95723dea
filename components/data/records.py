"""Samples in WebDataset shards: writing them byte for byte the same every time, and reading tars nobody should trust.

Writing is webdataset's own `TarWriter`. Reading is `tarfile`, because webdataset's reader neither bounds a member nor
says what it left out; no member is ever written to disk under its own name.
"""

from __future__ import annotations

import json
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from components.data.options import ShardLimits

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm", "avif", "jxl")


@dataclass(frozen=True)
class Record:
    """One sample: its key, and its files by extension (lower case, no leading dot; may hold dots: `source.png`)."""

    key: str
    parts: dict[str, bytes]


@dataclass(frozen=True)
class BadRecord:
    """A sample that could not be read: `reason` in snake_case, `detail` for people."""

    key: str
    reason: str
    detail: str


def write_records(path: Path, records: Iterable[Record]) -> int:
    """Write samples as an uncompressed tar in the given order; return how many. Equal samples give equal bytes."""
    from webdataset.writer import TarWriter

    count = 0
    with TarWriter(str(path), encoder=False, mtime=0, user="pixsem", group="pixsem", mode=0o644) as writer:
        for record in records:
            writer.write({"__key__": record.key, **record.parts})
            count += 1
    return count


def read_records(path: Path, limits: ShardLimits | None = None) -> Iterator[Record | BadRecord]:
    """Yield every sample of a tar: whole, or as a `BadRecord` that says why not.

    Nothing in the file's content raises. Consecutive members of one key are one sample. A tar that ends in the middle
    yields what came before and then one `truncated_tar`; what is no tar at all yields one `not_a_tar`.
    Raises FileNotFoundError.
    """
    limits = limits or ShardLimits()
    name = path.name
    seen: set[str] = set()
    current: _Sample | None = None
    # Uncompressed only ("r:"): a compressed shard could unpack without bound, and cannot be read from its middle.
    with path.open("rb") as handle:
        if path.stat().st_size == 0:
            yield BadRecord(name, "empty_file", "the shard has no bytes")
            return
        try:
            with tarfile.open(fileobj=handle, mode="r:") as tar:
                for index in range(limits.max_members):
                    member = tar.next()
                    if member is None:
                        break
                    refused = _refuse(member)
                    if refused is not None:
                        if refused:
                            yield BadRecord(_printable(member.name), "unsafe_member", refused)
                        continue
                    key, extension = split_name(member.name)
                    if current is not None and current.key != key:
                        yield current.finish()
                        current = None
                    if current is None:
                        current = _Sample(key, duplicate=key in seen)
                        seen.add(key)
                    current.add(extension, member, tar, limits)
                    if index == limits.max_members - 1:
                        yield BadRecord(name, "too_many_members", f"more than {limits.max_members} files; the rest was not read")
                # tarfile takes a cut in the padding or in a header for the end of the archive; the size tells.
                if current is None and not seen and not _is_tar_end(path):
                    yield BadRecord(name, "not_a_tar", "no tar header was found")
        except (tarfile.TarError, EOFError, OSError, ValueError, UnicodeError, zlib.error) as error:
            if current is not None:
                yield BadRecord(current.key, "truncated_tar", f"the tar ends or breaks inside this sample: {error}")
                return
            reason = "truncated_tar" if seen else "not_a_tar"
            yield BadRecord(name, reason, f"{error}" or type(error).__name__)
            return
    if current is not None:
        yield current.finish()


def _is_tar_end(path: Path) -> bool:
    # A tar without members is two blocks of zeros.
    with path.open("rb") as handle:
        return not handle.read(1024).strip(b"\0")


def _refuse(member: tarfile.TarInfo) -> str | None:
    """Return why a member is not read ('' for a folder, which is no sample), or None where it is fine."""
    if member.isdir():
        return ""
    if not member.isreg():
        return "a link, device or other special member"
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name:
        return "its name points outside the shard"
    if any(0xD800 <= ord(c) <= 0xDFFF for c in member.name):
        return "its name is not utf-8"
    key, extension = split_name(member.name)
    return None if key and extension else "its name has no key or no extension"


def split_name(name: str) -> tuple[str, str]:
    """Split a member's name at the first dot of its last part, as WebDataset does: (key, extension)."""
    folder, _, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return (f"{folder}/{stem}" if folder else stem) if stem else "", extension.lower()


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode("utf-8")[:200]


class _Sample:
    """A sample as it is read, member by member."""

    def __init__(self, key: str, duplicate: bool) -> None:
        self.key = key
        self.parts: dict[str, bytes] = {}
        self.bad: tuple[str, str] | None = ("duplicate_key", "an earlier sample of this shard has the same key") if duplicate else None
        self._bytes = 0

    def add(self, extension: str, member: tarfile.TarInfo, tar: tarfile.TarFile, limits: ShardLimits) -> None:
        if member.size > limits.max_member_bytes or self._bytes + member.size > limits.max_sample_bytes:
            self.bad = self.bad or ("too_large", f".{extension} has {member.size:,} bytes")
        elif extension in self.parts:
            self.bad = self.bad or ("duplicate_member", f"two files named .{extension}")
        if self.bad:
            return
        handle = tar.extractfile(member)
        assert handle is not None
        data = handle.read()
        if len(data) != member.size:
            raise tarfile.ReadError(f".{extension} has {len(data)} of {member.size} bytes")
        self._bytes += len(data)
        self.parts[extension] = data

    def finish(self) -> Record | BadRecord:
        return BadRecord(self.key, *self.bad) if self.bad else Record(self.key, self.parts)


def image_part(record: Record) -> tuple[str, bytes] | None:
    """Return (extension, bytes) of a sample's image, or None where it has none."""
    for extension in IMAGE_EXTENSIONS:
        if extension in record.parts:
            return extension, record.parts[extension]
    return None


def caption_of(record: Record) -> str | None:
    """Return a sample's caption, or None where it has none. Raises ValueError where it is not utf-8."""
    data = record.parts.get("txt")
    if data is None:
        value = metadata_of(record).get("caption")
        return value if isinstance(value, str) else None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"the caption of {record.key} is not utf-8 ({error.reason} at byte {error.start})") from None


def metadata_of(record: Record) -> dict[str, Any]:
    """Return a sample's metadata, {} where it has none. Raises ValueError where it is not a JSON object."""
    data = record.parts.get("json")
    if data is None:
        return {}
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the metadata of {record.key} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"the metadata of {record.key} is a JSON {type(value).__name__}, not an object")
    return value
