"""Rows to tables: what stages write of their samples, one dict each, as parquet columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def write_rows(path: Path, rows: list[dict[str, Any]], schema: dict[str, str]) -> None:
    """Write rows, each with every key of the schema, as one parquet table."""
    from components.data.tables import write_table

    write_table(path, {name: [row[name] for row in rows] for name in schema}, schema)
