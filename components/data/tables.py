"""Tables: parquet files of one row per sample, with a written schema. Columns go in and out as plain lists."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

# The names a schema may use, and what parquet calls them.
TYPES = ("string", "int32", "int64", "uint64", "float32", "float64", "bool", "binary", "list<string>")


def write_table(path: Path, columns: dict[str, list[Any]], schema: dict[str, str]) -> None:
    """Write columns of equal length as parquet. `schema` gives each column's type, one of `TYPES`, in order.

    Equal columns give equal bytes. The file is whole only when this returns: write aside and rename.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert set(columns) == set(schema), f"columns {sorted(set(columns) ^ set(schema))} are not in both"
    fields = pa.schema([(name, _type(kind)) for name, kind in schema.items()])
    pq.write_table(pa.table({name: columns[name] for name in schema}, schema=fields), path, compression="zstd")


def write_rows(path: Path, rows: Iterable[dict[str, Any]], schema: dict[str, str]) -> int:
    """Write rows (dicts with every key of the schema) as parquet; return how many."""
    listed = list(rows)
    write_table(path, {name: [row[name] for row in listed] for name in schema}, schema)
    return len(listed)


def read_table(path: Path, columns: list[str] | None = None) -> dict[str, list[Any]]:
    """Read a parquet file as columns. Raises ValueError where it is damaged or a column is missing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=columns)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} is not a readable parquet file: {error}") from None
    missing = set(columns or []) - set(table.column_names)
    if missing:
        raise ValueError(f"{path} has no column {sorted(missing)[0]}; it has {', '.join(table.column_names)}")
    return {name: table.column(name).to_pylist() for name in table.column_names}


def read_tables(paths: Iterable[Path], columns: list[str] | None = None) -> dict[str, list[Any]]:
    """Read several parquet files of one schema, one after the other."""
    merged: dict[str, list[Any]] = {}
    for path in paths:
        for name, values in read_table(path, columns).items():
            merged.setdefault(name, []).extend(values)
    return merged


def _type(kind: str) -> Any:
    import pyarrow as pa

    assert kind in TYPES, kind
    return pa.list_(pa.string()) if kind == "list<string>" else pa.type_for_alias(kind)
