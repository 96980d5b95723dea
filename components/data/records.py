"""Samples in WebDataset shards: reading any tar into whole samples or reasons, and writing byte-identical shards.

The walk over a tar's bytes is tar_members.py's; what a sample's parts mean is samples.py's. Written with plain tarfile,
in the very bytes of webdataset.TarWriter(mtime=0): importing webdataset imports torch (2 s and 200 MB for every
worker).
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from components.data.names import split_name
from components.data.options import ShardLimits
from components.data.samples import BadRecord, Record, caption_of, image_part, metadata_of
from components.data.tar_members import Member, TarFault, walk_members

__all__ = ["BadRecord", "Record", "caption_of", "image_part", "metadata_of", "read_records", "write_records"]

APART = "its files do not stand together in the tar"
SORT = "make the tar with its files sorted by name: tar --sort=name"
GATHERED_BYTES = 2**30  # of a tar whose samples' files stand apart: what is held in memory to read it all the same


class UnsortedTar(ValueError):
    """A tar in which the files of one sample do not stand together."""


class _Group:
    """The files of one key as they arrive; the first fault spoils the sample."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.parts: dict[str, bytes] = {}
        self.size = 0
        self.fault: tuple[str, str] | None = None

    def add(self, extension: str, member: Member, limits: ShardLimits) -> None:
        if member.data is None:
            self.spoil(member.reason, member.detail)
            return
        self.size += len(member.data)
        if self.size > limits.max_sample_bytes:
            self.spoil("sample_too_large", f"its files have over {limits.max_sample_bytes} bytes together")
        elif len(self.parts) >= limits.max_parts_per_sample:
            self.spoil("too_many_parts", f"it has over {limits.max_parts_per_sample} files")
        if self.fault is None:
            self.parts[extension] = member.data

    def spoil(self, reason: str, detail: str) -> None:
        self.fault = self.fault or (reason, detail)
        self.parts = {}


def read_records(
    source: str | Path | BinaryIO, limits: ShardLimits | None = None, refuse_unsorted: bool = False
) -> Iterator[Record | BadRecord]:
    """Every sample of a tar shard in order, each once, as a Record or as a BadRecord with its reason.

    `source`: a local path, or an open binary stream. One sample is in memory at a time. Files of one sample stand
    together, and its key ends at the first dot of the file's name, as in webdataset. Faults of the shard itself
    (truncated, no tar, compressed) are one BadRecord: of the sample they cut, else with the key "". The later files of
    a sample that stand apart from its first ones are a BadRecord `unsorted_tar`; or, with `refuse_unsorted`, raise
    UnsortedTar, for `gather_records`. Raises ValueError where there is no such file, OSError where reading fails.
    """
    limits = limits or ShardLimits()
    if isinstance(source, str | Path):
        path = Path(source)
        if not path.is_file():
            raise ValueError(f"no shard at {path}; give the path of a .tar file")
        with path.open("rb") as stream:
            yield from _read_stream(stream, limits, refuse_unsorted)
    else:
        yield from _read_stream(source, limits, refuse_unsorted)


def gather_records(stream: BinaryIO, limits: ShardLimits | None = None) -> Iterator[Record | BadRecord]:
    """Every sample of a tar whose samples' files stand apart, in the order of their first files. What does not fit into
    `GATHERED_BYTES` is a BadRecord `unsorted_tar`.
    """
    limits = limits or ShardLimits()
    groups: dict[str, _Group] = {}
    faults: list[BadRecord] = []
    held = 0
    for item in walk_members(stream, limits):
        if isinstance(item, TarFault):
            key = _printable(split_name(item.member)[0]) if item.member is not None else ""
            if key in groups:
                groups[key].spoil(item.reason, item.detail)
            else:
                faults.append(BadRecord(key, item.reason, item.detail))
            continue
        if _is_shard_metadata(item.name):
            continue
        raw_key, extension = split_name(item.name)
        group = groups.setdefault(_printable(raw_key), _Group(_printable(raw_key)))
        before = sum(map(len, group.parts.values()))
        fault = _name_fault(item.name, raw_key, extension, limits)
        if fault is not None:
            group.spoil(*fault)
        elif extension in group.parts:
            faults.append(BadRecord(group.key, "duplicate_key", f"{_printable(item.name)} is there twice"))
            continue
        elif held + len(item.data or b"") > GATHERED_BYTES:
            group.spoil("unsorted_tar", f"{APART}, and those before fill {GATHERED_BYTES} bytes of memory: {SORT}")
        group.add(extension, item, limits)
        held += sum(map(len, group.parts.values())) - before
    for group in groups.values():
        yield _finish(group, {})
    yield from faults


def _read_stream(stream: BinaryIO, limits: ShardLimits, refuse_unsorted: bool) -> Iterator[Record | BadRecord]:
    seen: dict[str, frozenset[str]] = {}  # key -> the extensions of its files
    group: _Group | None = None
    for item in walk_members(stream, limits):
        if isinstance(item, TarFault):
            key = _printable(split_name(item.member)[0]) if item.member is not None else ""
            if group is not None and group.key == key:
                group.spoil(item.reason, item.detail)
            elif group is not None:
                yield _finish(group, seen, refuse_unsorted)
                group = None
            if group is None:
                yield BadRecord(key, item.reason, item.detail)
            continue
        if _is_shard_metadata(item.name):
            continue
        raw_key, extension = split_name(item.name)
        key = _printable(raw_key)
        fault = _name_fault(item.name, raw_key, extension, limits)
        if group is None or group.key != key or extension in group.parts:
            if group is not None:
                yield _finish(group, seen, refuse_unsorted)
            group = _Group(key)
        if fault is not None:
            group.spoil(*fault)
        group.add(extension, item, limits)
    if group is not None:
        yield _finish(group, seen, refuse_unsorted)


def _finish(group: _Group, seen: dict[str, frozenset[str]], refuse_unsorted: bool = False) -> Record | BadRecord:
    if group.fault is None and group.key in seen:
        if seen[group.key].isdisjoint(group.parts):
            if refuse_unsorted:
                raise UnsortedTar(f"the sample {group.key!r}: {APART}")
            group.spoil("unsorted_tar", f"{APART}; the first ones were read as the sample. {SORT}")
        group.spoil("duplicate_key", f"the key {group.key!r} was there before in this shard; the first one counts")
    if group.fault is not None:
        return BadRecord(group.key, *group.fault)
    seen[group.key] = frozenset(group.parts)
    return Record(group.key, group.parts)


def _name_fault(name: str, key: str, extension: str, limits: ShardLimits) -> tuple[str, str] | None:
    shown = _printable(name)[:120]
    if name.startswith("/") or "\\" in name or ".." in name.split("/") or name[1:3] == ":/":
        return "unsafe_member", f"{shown} leads out of the shard"
    if _printable(name) != name:
        return "bad_name", f"{shown} is not readable utf-8 text"
    if len(name.encode()) > limits.max_name_bytes:
        return "bad_name", f"{shown}... is longer than {limits.max_name_bytes} bytes"
    if not key:
        return "no_key", f"{shown} has no name before its first dot"
    if not extension:
        return "no_extension", f"{shown} has no extension, so its part in a sample is not known"
    return None


def _is_shard_metadata(name: str) -> bool:
    """Files like `__info__` and `__meta__/x` describe the shard, in webdataset's convention; they are of no sample."""
    first = name.partition("/")[0]
    return len(first) >= 4 and first.startswith("__") and first.endswith("__")


def _printable(text: str) -> str:
    """Broken utf-8 and control characters as backslash escapes; other text unchanged."""
    if text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode("ascii") if _is_control(c) else c for c in text)


def _is_control(character: str) -> bool:
    code = ord(character)
    return code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code <= 0xDFFF


def write_records(path: str | Path, records: Iterable[Record]) -> int:
    """Write records to a tar at `path` in the order given and return their number. Equal records give equal bytes.

    Raises ValueError for a key or extension that would not read back as the same sample. The file is written in place:
    give a temporary name and rename it.
    """
    count = 0
    seen: set[str] = set()
    limits = ShardLimits()
    # PAX falls back to plain ustar headers unless a name needs more: the bytes TarWriter writes, and long keys still
    # fit
    with tarfile.open(Path(path), "w", format=tarfile.PAX_FORMAT) as tar:
        for record in records:
            if record.key in seen or not record.parts:
                what = "is there twice" if record.key in seen else "has no parts"
                raise ValueError(f"cannot write {path}: the sample {record.key!r} {what}")
            seen.add(record.key)
            for extension in sorted(record.parts):
                name = f"{record.key}.{extension}"
                if split_name(name) != (record.key, extension) or _name_fault(name, record.key, extension, limits):
                    raise ValueError(
                        f"cannot write {path}: {name!r} would not read back as sample {record.key!r} with part "
                        f"{extension!r}; a key has no dot in its last part and no '..', an extension is lower case"
                    )
                info = tarfile.TarInfo(name)
                info.size = len(record.parts[extension])
                info.mode = 0o644
                tar.addfile(info, io.BytesIO(record.parts[extension]))
            count += 1
    return count
