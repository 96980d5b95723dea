"""Parquet tables, one row per sample: written with a stated schema, read back as plain lists. Equal input gives equal
bytes.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint64": pa.uint64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "binary": pa.binary(),
    "list<string>": pa.list_(pa.string()),
    "dictionary<string>": pa.dictionary(pa.int8(), pa.string()),  # of texts of which there are few
}
_ROW_GROUP = 65536


def arrow_schema(schema: Mapping[str, str]) -> pa.Schema:
    """The Arrow schema for {column: type name}; type names are string, int32, int64, uint64, float32, ...,
    list<string>.
    """
    unknown = {name: kind for name, kind in schema.items() if kind not in _TYPES}
    if unknown:
        raise ValueError(f"unknown column types {unknown}; the types are {', '.join(_TYPES)}")
    return pa.schema([pa.field(name, _TYPES[kind]) for name, kind in schema.items()])


def write_table(path: str | Path, columns: Mapping[str, Sequence[Any]], schema: Mapping[str, str]) -> int:
    """Write `columns` (lists or numpy arrays of one length; None is null) to parquet and return the number of rows.

    Written in place: give a temporary name and rename it. Raises ValueError where columns and schema differ or a value
    does not fit.
    """
    table = arrow_table(path, columns, schema)
    pq.write_table(table, str(path), compression="zstd", row_group_size=_ROW_GROUP)
    return table.num_rows


def arrow_table(path: str | Path, columns: Mapping[str, Sequence[Any]], schema: Mapping[str, str]) -> pa.Table:
    """`columns` as an Arrow table of a schema, to be written to `path`. Raises ValueError as `write_table`."""
    wanted = arrow_schema(schema)
    if set(columns) != set(schema):
        missing, extra = sorted(set(schema) - set(columns)), sorted(set(columns) - set(schema))
        raise ValueError(f"cannot write {path}: columns missing {missing}, columns not in the schema {extra}")
    lengths = {name: len(columns[name]) for name in schema}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"cannot write {path}: columns of different lengths {lengths}")
    arrays = []
    for field in wanted:
        try:
            arrays.append(pa.array(columns[field.name], type=field.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeError) as error:
            raise ValueError(f"cannot write {path}: column {field.name!r} is no {field.type}: {error}") from error
    return pa.Table.from_arrays(arrays, schema=wanted)


def read_table(path: str | Path, columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
    """The table as {column: list}, all columns or those named, in that order. Raises ValueError for what cannot be
    read.
    """
    with _open(path) as parquet, _worded(path):
        names = _known(path, parquet.schema_arrow.names, columns)
        table = parquet.read(columns=names)
        return {name: table.column(name).to_pylist() for name in names}


def iter_table(
    path: str | Path, columns: Sequence[str] | None = None, batch_rows: int = 8192
) -> Iterator[dict[str, list[Any]]]:
    """The table in batches of at most `batch_rows` rows, for what must not be in memory at once."""
    with _open(path) as parquet:
        names = _known(path, parquet.schema_arrow.names, columns)
        batches = parquet.iter_batches(batch_size=batch_rows, columns=names)
        while True:
            with _worded(path):
                batch = next(batches, None)
                if batch is None:
                    return
                values = {name: batch.column(name).to_pylist() for name in names}
            yield values


def count_rows(path: str | Path) -> int:
    """Number of rows, read from the footer alone."""
    with _open(path) as parquet:
        return int(parquet.metadata.num_rows)


def column_names(path: str | Path) -> list[str]:
    """The table's columns, in order."""
    with _open(path) as parquet:
        return list(parquet.schema_arrow.names)


def _open(path: str | Path) -> pq.ParquetFile:
    if not Path(path).exists():
        raise ValueError(f"no table at {path}")
    with _worded(path):
        return pq.ParquetFile(str(path))


@contextlib.contextmanager
def _worded(path: str | Path) -> Iterator[None]:
    """What Arrow raises on damaged tables, of many types, as a ValueError that names the file."""
    try:
        yield
    except (pa.ArrowException, OSError, MemoryError, OverflowError, UnicodeError) as error:
        raise ValueError(
            f"{path} cannot be read as parquet, it is damaged or of another kind: {error}"[:600]
        ) from error


def _known(path: str | Path, names: list[str], wanted: Sequence[str] | None) -> list[str]:
    if wanted is None:
        return names
    for name in wanted:
        if name not in names:
            raise ValueError(missing_column(path, name, names))
    return list(wanted)


def missing_column(path: str | Path, name: str, names: Sequence[str]) -> str:
    """The message for a column that is not there: which ones are, and the nearest."""
    near = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=0.5)
    hint = next((f"; did you mean {n!r}?" for n in names if near and n.lower() == near[0]), "")
    shown = ", ".join(repr(n[:60]) for n in names[:30]) + (", ..." if len(names) > 30 else "")
    return f"{path} has no column {name!r}; its columns are {shown}{hint}"
