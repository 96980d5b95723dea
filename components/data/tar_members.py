"""A bounded, forward-only walk over the members of a tar file from strangers. Nothing is ever written by member name.

Samples and keys are records.py's. Why not tarfile's or webdataset's own iteration: both stop in silence at a damaged
header (all later samples vanish uncounted), follow links, read extended headers of any size, and recurse on chains of
them. Single 512-byte headers are still parsed by tarfile.TarInfo.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from components.data.options import ShardLimits

BLOCK = 512
MAX_EXTENDED_HEADER = 2**16
MAX_TRAILING_SCAN = 2**20
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


@dataclass(frozen=True)
class Member:
    """One file of a tar: its bytes, or (data is None) why they were not read."""

    name: str
    data: bytes | None
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class TarFault:
    """What is wrong with the tar as a whole; nothing can be read after it. `member` was being read when it happened."""

    reason: str
    detail: str
    member: str | None = None


class _Stop(Exception):
    def __init__(self, reason: str, detail: str, member: str | None = None) -> None:
        super().__init__(reason)
        self.fault = TarFault(reason, detail, member)


def walk_members(stream: BinaryIO, limits: ShardLimits) -> Iterator[Member | TarFault]:
    """Every file of the tar in `stream` in order; a TarFault, if any, comes last. Directories are passed over.

    Content never raises; only the operating system's own read errors (OSError) do.
    """
    walker = _Walker(stream, limits)
    try:
        yield from walker.members()
    except _Stop as stop:
        yield stop.fault


class _Walker:
    def __init__(self, stream: BinaryIO, limits: ShardLimits) -> None:
        self.stream = stream
        self.limits = limits
        self.offset = 0
        self.last_name: str | None = None

    def members(self) -> Iterator[Member]:
        count = 0
        long_name: str | None = None
        long_size: int | None = None
        while True:
            header_at = self.offset
            info = self._header()
            if info is None:
                self._check_tail()
                return
            if info.type == tarfile.GNUTYPE_LONGNAME:
                long_name = _text(self._extended(info).rstrip(b"\0"))
                continue
            if info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                pax = _pax_fields(self._extended(info), header_at)
                long_name = pax.get("path", long_name)
                long_size = _pax_size(pax, header_at)
                continue
            if info.type in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
                self._extended(info)
                continue
            name = long_name if long_name is not None else info.name
            size = long_size if long_size is not None else info.size
            long_name, long_size = None, None
            count += 1
            if count > self.limits.max_members:
                raise _Stop("too_many_members", f"more than {self.limits.max_members} files; the rest was not read")
            if not info.isdir():
                yield self._member(info, name, size)
            self.last_name = name

    def _member(self, info: tarfile.TarInfo, name: str, size: int) -> Member:
        if info.type == tarfile.GNUTYPE_SPARSE:
            self._skip_sparse_map(info)
        # links, devices and pipes carry no data whatever size they claim; tarfile reads them the same way
        carries_data = info.isreg() or info.type not in tarfile.SUPPORTED_TYPES
        if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and size <= self.limits.max_member_bytes:
            data = self._read(size, name)
            self._skip(-size % BLOCK, name)
            return Member(name, data)
        if carries_data:
            self._skip(size + -size % BLOCK, name)
        if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
            limit = self.limits.max_member_bytes
            return Member(name, None, "member_too_large", f"{_show(name)} has {size} bytes; the limit is {limit}")
        kind = _KINDS.get(info.type, f"of the unknown tar type {info.type!r}")
        return Member(name, None, "unsafe_member", f"{_show(name)} is {kind}; only plain files are read")

    def _header(self) -> tarfile.TarInfo | None:
        """The next header block; None at the end-of-archive mark."""
        at = self.offset
        block = self.stream.read(BLOCK)
        self.offset += len(block)
        after = f"after {_show(self.last_name)}" if self.last_name is not None else "at its start"
        if at == 0:
            self._check_start(block)
        if len(block) < BLOCK:
            why = "without an end mark" if not block else "inside a header"
            raise _Stop("truncated_tar", f"the tar ends at byte {self.offset} {after}, {why}: later files are lost")
        if not block.strip(b"\0"):
            return None
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError, OverflowError) as error:
            if at == 0:
                raise _Stop("not_a_tar", f"the first 512 bytes are no tar header ({error})") from None
            raise _Stop("corrupt_tar", f"unreadable header at byte {at} {after}; the rest was not read") from None
        if info.size < 0:
            raise _Stop("corrupt_tar", f"negative size in the header at byte {at}; the rest was not read")
        return info

    def _check_start(self, block: bytes) -> None:
        if not block:
            raise _Stop("empty_file", "the file has no bytes")
        for magic, name in _COMPRESSED.items():
            if block.startswith(magic):
                raise _Stop("compressed_tar", f"the file is {name}-compressed; decompress it to a plain .tar first")
        if len(block) < BLOCK:
            raise _Stop("not_a_tar", f"the file has only {len(block)} bytes, a tar has at least 512")

    def _check_tail(self) -> None:
        """Content after the end mark (tars put one behind the other) would be lost in silence: say so."""
        end = self.offset
        while self.offset - end < MAX_TRAILING_SCAN:
            block = self.stream.read(2**16)
            if not block:
                return
            if block.strip(b"\0"):
                raise _Stop(
                    "data_after_end", f"there is content after the tar's end mark at byte {end}; it was not read"
                )
            self.offset += len(block)

    def _extended(self, info: tarfile.TarInfo) -> bytes:
        if info.size > MAX_EXTENDED_HEADER:
            raise _Stop(
                "corrupt_tar", f"extended header of {info.size} bytes at byte {self.offset}; the rest was not read"
            )
        data = self._read(info.size, info.name)
        self._skip(-info.size % BLOCK, info.name)
        return data

    def _read(self, size: int, name: str) -> bytes:
        data = self.stream.read(size)
        self.offset += len(data)
        if len(data) < size:
            raise _Stop("truncated_tar", f"the tar ends inside {_show(name)}: {len(data)} of {size} bytes", name)
        return data

    def _skip(self, size: int, name: str) -> None:
        """Pass over `size` bytes; seeking past the end of a truncated file must not pass for a whole member."""
        if size > 2**16 and self.stream.seekable():
            here = self.stream.tell()
            end = self.stream.seek(0, os.SEEK_END)
            if end < here + size:
                raise _Stop("truncated_tar", f"the tar ends inside {_show(name)}: {end - here} of {size} bytes", name)
            self.stream.seek(here + size)
            self.offset += size
            return
        while size > 0:
            size -= len(self._read(min(size, 2**16), name))

    def _skip_sparse_map(self, info: tarfile.TarInfo) -> None:
        # only the old GNU form has map blocks behind the header; TarInfo keeps (structs, isextended, origsize)
        extended = bool(info._sparse_structs[1])  # type: ignore[attr-defined]
        while extended:
            extended = bool(self._read(BLOCK, info.name)[504])


def _pax_fields(data: bytes, at: int) -> dict[str, str]:
    """The `length key=value` lines of a pax header."""
    fields: dict[str, str] = {}
    position = 0
    while position < len(data) and data[position] != 0:
        space = data.find(b" ", position, position + 8)
        digits = data[position:space] if space > 0 else b""
        length = int(digits) if digits.isdigit() else 0
        line = data[position : position + length]
        if len(line) != length or not line.endswith(b"\n") or b"=" not in line:
            raise _Stop("corrupt_tar", f"unreadable pax header at byte {at}; the rest was not read")
        key, _, value = line[space - position + 1 : -1].partition(b"=")
        fields[_text(key)] = _text(value)
        position += length
    return fields


def _pax_size(fields: dict[str, str], at: int) -> int | None:
    text = fields.get("size")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise _Stop("corrupt_tar", f"unreadable size in the pax header at byte {at}; the rest was not read")
    return int(text)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _show(name: str | None) -> str:
    """A name fit for a message: no raw control characters or broken utf-8, at most 120 characters."""
    shown = repr("" if name is None else name)[1:-1].encode("utf-8", "backslashreplace").decode("utf-8")
    return shown if len(shown) <= 120 else shown[:117] + "..."
