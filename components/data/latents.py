"""Latent shards: their Arrow schema, the writer, and opening one with all its checks. Reading rows in bulk is
latent_reader.py's.

A shard is one uncompressed Arrow IPC file, so that rows are used where the file lies in memory. Its schema's metadata
say which tokenizer and statistics the latents belong to, and hold a checksum of every byte but the latents' own (those
are left to the store's digests).
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

import numpy as np
import pyarrow as pa

Kind = Literal["captions", "edits"]
FORMAT = 1
_PREFIX = b"pixsem."
_CHECK = b"pixsem.check"
_UNSEALED = b"<the checksum is written at last>"[:32]  # as long as the hexadecimal digest that replaces it


@dataclass(frozen=True)
class LatentSpec:
    """What all latents of a shard share: shape, tokenizer, statistics and kind."""

    channels: int
    height: int  # in latent positions, not pixels
    width: int
    tokenizer: str  # fingerprint of the tokenizer that encoded them
    mean: tuple[float, ...]  # per channel: the stored latents are (encoded - mean) / std already
    std: tuple[float, ...]
    kind: Kind  # captions: text describes latent; edits: text is the instruction that leads from source to latent

    def __post_init__(self) -> None:
        if min(self.channels, self.height, self.width) < 1:
            raise ValueError(f"latents of shape {self.shape} have no values; channels, height and width are 1 or more")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels or not all(map(math.isfinite, values)):
                raise ValueError(f"{name} must be {self.channels} finite numbers, one per channel; it is {values}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be above 0 in every channel; it is {self.std}")
        if not self.tokenizer:
            raise ValueError("tokenizer is empty; give the fingerprint of the tokenizer that made the latents")
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind is {self.kind!r}; it must be one of {', '.join(get_args(Kind))}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one latent."""
        return self.channels, self.height, self.width

    @property
    def values(self) -> int:
        """Numbers in one latent."""
        return self.channels * self.height * self.width


def latent_schema(spec: LatentSpec) -> pa.Schema:
    """The columns of a shard, without metadata. Captions have a source_latent of type null: same columns, no bytes."""
    latent = pa.list_(pa.float16(), spec.values)
    return pa.schema(
        [
            pa.field("key", pa.string(), nullable=False),
            pa.field("text", pa.string(), nullable=False),
            pa.field("latent", latent, nullable=False),
            # null slots of a fixed-size list take room all the same: as a list, captions' sources would double the file
            pa.field("source_latent", latent, nullable=False)
            if spec.kind == "edits"
            else pa.field("source_latent", pa.null()),
            pa.field("flipped", pa.bool_(), nullable=False),
        ]
    )


class LatentWriter:
    """Writes one shard in place: give a temporary name and rename it. Equal input gives equal bytes, however it is cut
    into `add`s.

    A context manager. A file whose writer was left by an exception stays unsealed, and every reader here refuses it.
    """

    def __init__(self, path: str | Path, spec: LatentSpec, rows_per_batch: int = 256) -> None:
        if rows_per_batch < 1:
            raise ValueError(f"rows_per_batch is {rows_per_batch}; it must be above 0")
        self.path, self.spec, self.rows = Path(path), spec, 0
        self._schema = latent_schema(spec).with_metadata(_metadata(spec, rows_per_batch))
        self._keys: list[str] = []
        self._texts: list[str] = []
        self._latents = np.empty((rows_per_batch, spec.values), np.float16)
        self._sources = np.empty_like(self._latents) if spec.kind == "edits" else None
        self._flipped = np.empty(rows_per_batch, np.bool_)
        self._file = self.path.open("wb")
        self._arrow = pa.ipc.new_file(self._file, self._schema)

    def add(
        self,
        keys: Sequence[str],
        texts: Sequence[str],
        latents: np.ndarray,
        sources: np.ndarray | None,
        flipped: Sequence[bool] | np.ndarray,
    ) -> None:
        """Append n rows. `latents`, and `sources` of edits: [n, C, H, W] float16 or float32, already standardised; kept
        as float16.

        Raises ValueError, and adds nothing, for other shapes or types, and for values that are not finite in float16
        (names the keys).
        """
        n = len(keys)
        if not len(texts) == len(flipped) == n:
            raise ValueError(
                f"{self.path}: {n} keys, {len(texts)} texts and {len(flipped)} flips; give one of each per row"
            )
        if (sources is None) != (self._sources is None):
            need = "takes no source latents" if self._sources is None else "needs the source latents of every row"
            raise ValueError(f"{self.path}: a shard of {self.spec.kind} {need}")
        for key, text in zip(keys, texts, strict=True):
            if not (key + text).isascii() and not _encodable(key + text):
                raise ValueError(f"{self.path}: key or text of {key!r} cannot be written as utf-8")
        rows = self._checked(keys, latents, "latents")
        source_rows = None if sources is None else self._checked(keys, sources, "sources")
        start = 0
        while start < n:
            have = len(self._keys)
            take = min(len(self._latents) - have, n - start)
            part, room = slice(start, start + take), slice(have, have + take)
            self._keys += keys[part]
            self._texts += texts[part]
            self._latents[room] = rows[part]
            self._flipped[room] = flipped[part]
            if self._sources is not None and source_rows is not None:
                self._sources[room] = source_rows[part]
            start += take
            if len(self._keys) == len(self._latents):
                self._write_batch()
        self.rows += n

    def _checked(self, keys: Sequence[str], latents: np.ndarray, what: str) -> np.ndarray:
        if latents.dtype not in (np.float16, np.float32) or latents.shape != (len(keys), *self.spec.shape):
            raise ValueError(
                f"{self.path}: {what} are {latents.dtype} of shape {latents.shape}; give float16 or float32 of shape "
                f"{(len(keys), *self.spec.shape)}"
            )
        with np.errstate(over="ignore"):
            rows = latents.reshape(len(keys), self.spec.values).astype(np.float16, copy=False)
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if bad.size:
            named = ", ".join(repr(keys[i]) for i in bad[:10]) + (", ..." if bad.size > 10 else "")
            raise ValueError(
                f"{self.path}: {bad.size} {what} have values that are not finite or beyond float16 (65504), of "
                f"the keys {named}; look at their pictures, and at the statistics the latents are standardised by"
            )
        return rows

    def _write_batch(self) -> None:
        n = len(self._keys)
        kind = self._schema.field("latent").type

        def lists(values: np.ndarray) -> pa.Array:
            return pa.FixedSizeListArray.from_arrays(pa.array(values[:n].reshape(-1)), type=kind)

        columns = [
            pa.array(self._keys, pa.string()),
            pa.array(self._texts, pa.string()),
            lists(self._latents),
            pa.nulls(n) if self._sources is None else lists(self._sources),
            pa.array(self._flipped[:n]),
        ]
        self._arrow.write_batch(pa.record_batch(columns, schema=self._schema))
        self._keys, self._texts = [], []

    def close(self) -> None:
        """Write what is left, and seal the file with its checksum."""
        if self._file.closed:
            return
        if self._keys:
            self._write_batch()
        self._arrow.close()
        self._file.close()
        whole, batches = _open(self.path)[1:]
        check = _checksum(whole, batches, self.spec, _UNSEALED)
        with self.path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
            # the schema stands twice, before all rows and after them, so a text like the mark is never taken for it
            for at in (data.find(_UNSEALED), data.rfind(_UNSEALED)):
                data[at : at + len(check)] = check

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()


def open_shard(path: str | Path) -> tuple[LatentSpec, int, list[pa.RecordBatch]]:
    """(spec, rows per batch, record batches) of a shard, its latents left on disk: the batches are views on a memory
    map of the file.

    All batches but the last have `rows per batch` rows. Every byte but the latents' is read and checked. Raises
    ValueError for a file that is missing, no latent shard, of another format version, damaged, or left unfinished by
    its writer.
    """
    schema, whole, batches = _open(path)
    metadata: dict[bytes, bytes] = schema.metadata or {}
    if _PREFIX + b"format" not in metadata:
        raise ValueError(f"{path} is an Arrow file but no latent shard: its schema has no metadata pixsem.format")
    if metadata[_PREFIX + b"format"] != str(FORMAT).encode():
        found = metadata[_PREFIX + b"format"].decode(errors="replace")
        raise ValueError(f"{path} has format {found}; this version reads format {FORMAT}: encode the images again")
    spec, rows_per_batch = _read_metadata(path, metadata)
    if not schema.equals(latent_schema(spec)):
        types = ", ".join(str(kind) for kind in schema.types)  # not the names: damaged ones may be no utf-8
        raise ValueError(f"{path} is damaged or was not written by LatentWriter: its columns are of {types}"[:600])
    if metadata.get(_CHECK) == _UNSEALED:
        raise ValueError(f"{path} was left unfinished by its writer; encode the shard again")
    if _checksum(whole, batches, spec, metadata.get(_CHECK, b"")) != metadata.get(_CHECK):
        raise ValueError(f"{path} is damaged: its checksum does not match its content; encode the shard again")
    if not all(batch.num_rows == rows_per_batch for batch in batches[:-1]):
        raise ValueError(f"{path} was not written by LatentWriter: its batches are not of {rows_per_batch} rows")
    try:
        for batch in batches:
            batch.validate(full=True)  # a checksum can be forged: keys and texts must lie inside the file all the same
    except pa.ArrowException as error:
        raise ValueError(f"{path} was not written by LatentWriter: {error}"[:600]) from error
    return spec, rows_per_batch, batches


def latent_values(column: pa.Array) -> np.ndarray:
    """A latent column of a record batch as a read-only view [rows, C * H * W], nothing copied."""
    return np.frombuffer(column.buffers()[-1], np.float16, len(column) * column.type.list_size).reshape(len(column), -1)


def _open(path: str | Path) -> tuple[pa.Schema, pa.Buffer, list[pa.RecordBatch]]:
    try:
        with pa.memory_map(str(path)) as source:
            whole = source.read_buffer()  # stays mapped after the file is closed: thousands of shards, no open file
        reader = pa.ipc.open_file(whole)
        return reader.schema, whole, [reader.get_batch(i) for i in range(reader.num_record_batches)]
    except FileNotFoundError as error:
        raise ValueError(f"no latent shard at {path}") from error
    except (pa.ArrowException, OSError, MemoryError, UnicodeError) as error:
        reason = str(error)[:300]
        raise ValueError(
            f"{path} cannot be read as an Arrow file, it is damaged or of another kind: {reason}"
        ) from error


def _checksum(whole: pa.Buffer, batches: Sequence[pa.RecordBatch], spec: LatentSpec, written: bytes) -> bytes:
    """Digest of all bytes outside the latents, with `written` (the digest already there) read as the mark of an
    unsealed file.

    b"" where the latents are not inside the file one after the other, as they are in every undamaged one.
    """
    end, parts = 0, []
    data = memoryview(whole)
    for batch in batches:
        for name in ("latent", "source_latent") if spec.kind == "edits" else ("latent",):
            buffer = batch.column(name).buffers()[-1]
            start = -1 if buffer is None else buffer.address - whole.address
            if not end <= start <= len(data) - batch.num_rows * spec.values * 2:
                return b""
            parts.append(data[end:start])
            end = start + batch.num_rows * spec.values * 2
    parts.append(data[end:])
    kept = b"".join(parts)
    return hashlib.blake2b(kept.replace(written, _UNSEALED) if written else kept, digest_size=16).hexdigest().encode()


def _metadata(spec: LatentSpec, rows_per_batch: int) -> dict[bytes, bytes]:
    values: dict[str, Any] = {"format": FORMAT, "kind": spec.kind, "dtype": "float16", "tokenizer": spec.tokenizer}
    values |= {"channels": spec.channels, "height": spec.height, "width": spec.width, "rows_per_batch": rows_per_batch}
    values |= {"mean": json.dumps(spec.mean), "std": json.dumps(spec.std)}
    return {_PREFIX + name.encode(): str(value).encode() for name, value in values.items()} | {_CHECK: _UNSEALED}


def _read_metadata(path: str | Path, metadata: dict[bytes, bytes]) -> tuple[LatentSpec, int]:
    try:
        text = {name.removeprefix(_PREFIX).decode(): value.decode() for name, value in metadata.items()}
        mean, std = ([float(value) for value in json.loads(text[name])] for name in ("mean", "std"))
        sizes = [int(text[name]) for name in ("channels", "height", "width", "rows_per_batch")]
        kind: Any = text["kind"]
        channels, height, width, rows = sizes
        spec = LatentSpec(channels, height, width, text["tokenizer"], tuple(mean), tuple(std), kind)
        if text["dtype"] != "float16" or spec.values >= 2**31 or rows < 1:
            raise ValueError(f"latents of {text['dtype']}, {spec.values} values each, {rows} rows in a batch")
    except KeyError as error:
        raise ValueError(f"{path} is damaged or no latent shard: its metadata lack pixsem.{error.args[0]}") from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} is damaged or no latent shard: its metadata do not fit: {error}"[:600]) from error
    return spec, rows


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
