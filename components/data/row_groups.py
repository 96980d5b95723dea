"""Rows of parquet files anywhere fsspec reaches, as streams of values; which rows a shard has. What the columns mean is
the caller's.

What is wrong with a file, a row group or a row is a Fault in its place, so that every row is counted. What is wrong
with the server is raised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.data.addresses import is_remote, shown
from components.data.places import Unreachable, base_name, find_places, open_place, reaching
from components.data.tables import missing_column

BATCH_BYTES = 64 * 2**20  # of the columns that are read, about, in memory at once
BATCH_ROWS = 256
BUFFER = 2**20  # bytes of a column that are fetched at once
READERS = 8  # footers read at once
_ARROW_ERRORS = (pa.ArrowException, OSError, MemoryError, OverflowError, UnicodeError, ValueError)


@dataclass(frozen=True)
class Fault:
    """What cannot be read, and why."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Part:
    """Row groups `first` to `end` (exclusive) of a file; `row` is the number of their first row in the file, from 0. A
    file whose footer cannot be read has no groups, and a `fault`.
    """

    path: str
    name: str  # in messages and origins
    first: int
    end: int
    row: int
    rows: int
    fault: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def find_parquet(spec: str) -> list[str]:
    """The parquet files meant by a path, an address, a folder (with all below it), a glob or braces, sorted."""
    return find_places(spec, (".parquet",), deep=True)


def plan_parts(paths: Sequence[str], per_shard: int) -> list[list[Part]]:
    """Divide the row groups of files, in order, into shards of at most `per_shard` rows, or of one larger group. Only
    footers are read.
    """
    names = _names(paths)
    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(_groups_of, paths, names))
    shards: list[list[Part]] = []
    current: list[Part] = []
    rows = 0
    for part in (part for parts in found for part in parts):
        if current and rows + part.rows > per_shard:
            shards.append(current)
            current, rows = [], 0
        last = current[-1] if current else None
        if last is not None and (last.path, last.end) == (part.path, part.first) and not part.fault:
            current[-1] = Part(last.path, last.name, last.first, part.end, last.row, last.rows + part.rows)
        else:
            current.append(part)
        rows += part.rows
    return [*shards, current] if current else shards


def _groups_of(path: str, name: str) -> list[Part]:
    """One part for each row group of a file that has rows."""
    try:
        with _open(path) as parquet:
            sizes = [parquet.metadata.row_group(n).num_rows for n in range(parquet.metadata.num_row_groups)]
    except DamagedFile as error:
        return [Part(path, name, 0, 0, 0, 0, str(error))]
    parts, row = [], 0
    for number, size in enumerate(sizes):
        if size > 0:
            parts.append(Part(path, name, number, number + 1, row, size))
        row += size
    return parts


def _names(paths: Sequence[str]) -> list[str]:
    """The files' names, with as many of their folders as tell them apart."""
    parts = [path.split("/") for path in paths]
    for depth in range(1, max(len(p) for p in parts) + 1):
        names = ["/".join(p[-depth:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    return [base_name(path) for path in paths]


class DamagedFile(ValueError):
    """A file that is no whole parquet file."""


class _Watched:
    """A file whose own failures can be told from what Arrow says of its content."""

    def __init__(self, path: str) -> None:
        self._file = open_place(path)
        self.path = path
        self.failure: BaseException | None = None
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        try:
            with reaching(self.path):
                return self._file.read(size)
        except BaseException as error:
            self.failure = error
            raise

    def seek(self, place: int, whence: int = 0) -> int:
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True
        self._file.close()


@contextmanager
def _open(path: str) -> Iterator[pq.ParquetFile]:
    """A file's footer and rows. Raises DamagedFile, Unreachable, or ValueError where there is no such file."""
    file = _Watched(path)
    try:
        with _telling(file):
            parquet = pq.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False)
        parquet.watched = file
        yield parquet
    finally:
        file.close()


@contextmanager
def _telling(file: _Watched) -> Iterator[None]:
    """Tell a file's damage (DamagedFile) from a failure of what it lies on."""
    try:
        yield
    except _ARROW_ERRORS as error:
        if file.failure is not None:
            if isinstance(file.failure, Unreachable) or not is_remote(file.path):
                raise file.failure from None
            raise Unreachable(f"{shown(file.path)} cannot be read: {file.failure}") from error
        raise DamagedFile(f"damaged, or no parquet: {' '.join(str(error).split())[:300]}") from error


def read_part(part: Part, columns: Sequence[str]) -> Iterator[tuple[int | None, dict[str, Any] | Fault]]:
    """(number in the file, {column: value}) of every row of a part, in order; a Fault in the place of each row that
    cannot be read. A file that cannot be read at all is one Fault without a number.

    `columns`: names of the file's columns; of one with dots the column that it leads into is read.
    """
    if part.fault:
        yield None, Fault("bad_parquet", part.fault)
        return
    try:
        with _open(part.path) as parquet:
            roots = [root_of(column, parquet.schema_arrow) for column in columns]
            missing = [column for column, root in zip(columns, roots, strict=True) if root is None]
            row = part.row
            for number in range(part.first, part.end):
                size = parquet.metadata.row_group(number).num_rows
                if missing:
                    detail = missing_column(part.name, missing[0], parquet.schema_arrow.names)
                    yield from ((row + n, Fault("missing_column", detail)) for n in range(size))
                else:
                    wanted = list(dict.fromkeys(root for root in roots if root is not None))
                    for place, values in _group_rows(parquet, number, wanted, size):
                        yield row + place, values
                row += size
    except DamagedFile as error:  # since its footer was read
        yield from ((part.row + n, Fault("bad_parquet", str(error))) for n in range(part.rows))


def _group_rows(
    parquet: pq.ParquetFile, number: int, columns: list[str], size: int
) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
    group = parquet.metadata.row_group(number)
    chunks = [group.column(n) for n in range(group.num_columns)]
    bytes_of_it = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.partition(".")[0] in columns)
    rows = max(1, min(BATCH_ROWS, BATCH_BYTES * size // max(1, bytes_of_it)))
    place, problem = 0, ""
    try:
        with _telling(parquet.watched):
            batches = parquet.iter_batches(batch_size=rows, row_groups=[number], columns=columns, use_threads=False)
        while place < size:
            with _telling(parquet.watched):
                batch = next(batches, None)
            if batch is None:
                break
            for n in range(batch.num_rows):
                yield place, _row(batch, columns, n)
                place += 1
    except DamagedFile as error:
        problem = str(error)
    for rest in range(place, size):
        yield rest, Fault("bad_row_group", f"row group {number}: {problem or 'it has fewer rows than its file says'}")


def _row(batch: pa.RecordBatch, columns: list[str], n: int) -> dict[str, Any] | Fault:
    try:
        return {name: batch.column(name)[n].as_py() for name in columns}
    except (pa.ArrowException, UnicodeDecodeError, ValueError, OverflowError) as error:
        return Fault("bad_row", f"a value cannot be read: {error}"[:300])


def root_of(column: str, schema: pa.Schema) -> str | None:
    """The column of the file that a name means: itself, or the one before a dot; None where there is none."""
    if column in schema.names:
        return column
    found = [name for name in schema.names if column.startswith(f"{name}.")]
    root = max(found, key=len, default=None)
    if root is None:
        return None
    return root if _leads_on(schema.field(root).type, column[len(root) + 1 :].split(".")) else None


def _leads_on(kind: pa.DataType, path: list[str]) -> bool:
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    if not path:
        return True
    if not pa.types.is_struct(kind) or kind.get_field_index(path[0]) < 0:
        return False
    return _leads_on(kind.field(path[0]).type, path[1:])


def value_at(values: dict[str, Any], column: str) -> Any:
    """The value of a column's name in a row as `read_part` gives it. A name with dots leads into structs, and through
    lists of them to a list.
    """
    if column in values:
        return values[column]
    root = max((name for name in values if column.startswith(f"{name}.")), key=len, default=None)
    return None if root is None else _within(values[root], column[len(root) + 1 :].split("."))


def _within(value: Any, path: list[str]) -> Any:
    if not path or value is None:
        return value
    if isinstance(value, list):
        return [_within(item, path) for item in value]
    return _within(value.get(path[0]), path[1:]) if isinstance(value, dict) else None


def schema_of(path: str) -> dict[str, str]:
    """{column: Arrow type} of a file. Raises DamagedFile where it is no whole parquet file."""
    with _open(path) as parquet:
        return {field.name: str(field.type) for field in parquet.schema_arrow}


def count_rows(path: str) -> int:
    """Rows of a file, by its footer."""
    with _open(path) as parquet:
        return int(parquet.metadata.num_rows)


def check_columns(path: str, columns: Sequence[str], pictures: Sequence[str]) -> None:
    """Raise ValueError where a file lacks one of the columns, naming the nearest, or where a column of pictures holds
    none. A file that cannot be read is not this function's.
    """
    try:
        with _open(path) as parquet:
            schema = parquet.schema_arrow
    except DamagedFile:
        return
    for column in [*columns, *pictures]:
        if root_of(column, schema) is None:
            raise ValueError(missing_column(path, column, _nested_names(schema) if "." in column else schema.names))
    for column in pictures:
        kind = schema.field(column).type if column in schema.names else None
        if kind is not None and not _holds_pictures(kind):
            others = [field.name for field in schema if _holds_pictures(field.type)]
            hint = f"Columns that hold pictures: {', '.join(others)}" if others else "No column of the file does"
            raise ValueError(
                f"{path}: the column {column!r} is {kind}, and pictures are binary or struct<bytes, path>. {hint}"
            )


def picture_columns(path: str) -> list[str]:
    """The columns of a file that hold pictures, by their types. Raises DamagedFile."""
    with _open(path) as parquet:
        return [field.name for field in parquet.schema_arrow if _holds_pictures(field.type)]


def _nested_names(schema: pa.Schema) -> list[str]:
    found = []
    for field in schema:
        kind = field.type
        while pa.types.is_list(kind) or pa.types.is_large_list(kind):
            kind = kind.value_type
        inner = [kind.field(n).name for n in range(kind.num_fields)] if pa.types.is_struct(kind) else []
        found += [f"{field.name}.{name}" for name in inner] or [field.name]
    return found


def _holds_pictures(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_binary(kind.field(index).type)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )  # fmt: skip
