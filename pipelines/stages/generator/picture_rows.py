"""What is kept of every picture that an evaluation makes: a row of a table, and features by set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# `pictures/SHARD.parquet`. `rows` is {judge: its row} as JSON. `chance`, `ceiling` and `of_source` are such rows of
# another prompt's picture, of the true one through the tokenizer, and of an edit's source; "" where they were not asked
# for. `about` is what the case says of its truth.
SCHEMA = {
    "split": "string", "kind": "string", "category": "string", "source_name": "string", "prompt": "string",
    "guidance_scale": "float64", "seed": "int64", "picture": "binary", "source": "binary", "truth": "binary",
    "right": "bool", "rows": "string", "number": "int64", "about": "string", "chance": "string", "ceiling": "string",
    "of_source": "string", "removal": "string",
}  # fmt: skip
PICTURES = ("picture", "source", "truth")
JSON = ("rows", "about", "chance", "ceiling", "of_source", "removal")
PROMPT, EDIT = "prompt", "edit"  # kinds


def write_pictures(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as a table; equal rows give equal bytes."""
    from components.data.tables import write_table

    columns = {name: [row.get(name) for row in rows] for name in SCHEMA}
    for name in JSON:
        columns[name] = [as_json(value) if value else "" for value in columns[name]]
    write_table(path, columns, SCHEMA)


def read_rows(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the rows of tables without their pictures; `path` and `at` say where those lie."""
    from components.data.tables import read_table

    names = [name for name in SCHEMA if name not in PICTURES]
    found = []
    for path in paths:
        table = read_table(path, names)
        for at, values in enumerate(zip(*table.values(), strict=True)):
            row = dict(zip(names, values, strict=True))
            row |= {name: json.loads(row[name]) if row[name] else {} for name in JSON}
            found.append(row | {"path": path, "at": at})
    return found


def read_pictures(rows: Sequence[dict[str, Any]], column: str) -> list[np.ndarray]:
    """Return a picture of each row, uint8 [S, S, 3]; of rows that have one. Only the tables of these rows are read."""
    import io

    from PIL import Image

    from components.data.tables import read_table

    tables = {path: read_table(path, [column])[column] for path in dict.fromkeys(row["path"] for row in rows)}
    return [np.asarray(Image.open(io.BytesIO(tables[row["path"]][row["at"]])).convert("RGB")) for row in rows]


def write_features(path: Path, features: dict[str, np.ndarray]) -> None:
    """Write {`SET.NAME`: float32 [N, D]}; equal features give equal bytes."""
    with path.open("wb") as file:
        np.savez(file, **features)  # type: ignore[arg-type]


def read_features(paths: Iterable[Path]) -> dict[str, np.ndarray]:
    """Return the features of shards one after another, by `SET.NAME`."""
    found: dict[str, list[np.ndarray]] = {}
    for path in paths:
        with np.load(path, allow_pickle=False) as features:
            for name in features.files:
                found.setdefault(name, []).append(features[name])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def as_json(value: Any) -> str:
    """Return JSON; numpy's numbers are numbers."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=lambda found: found.item())
