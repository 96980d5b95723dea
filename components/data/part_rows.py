"""Tables of rows in parts, one for each shard, used where they lie in memory: any row by its number, without reading
the others.

A part is one uncompressed Arrow IPC file of one record batch. Rows that are wanted are of some roles and of one side of
the held-out split: columns `role` and `held_out`, which every part has. How many of them each part has is known before
any part is opened, so a row's number says its part, and a part is mapped when a row of it is wanted.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.data.tables import arrow_schema, arrow_table

OPEN = 2048  # parts that stay mapped; a mapping takes some 20 KB beside the file's own pages


def write_part(path: str | Path, columns: Mapping[str, Sequence[Any]], schema: Mapping[str, str]) -> int:
    """Write `columns` (None is null) as a part and return the number of rows. Equal input gives equal bytes.

    Written in place: give a temporary name and rename it. Raises ValueError where columns and schema differ or a value
    does not fit.
    """
    table = arrow_table(path, columns, schema).combine_chunks()
    batch = pa.record_batch([c.chunk(0) if c.num_chunks else pa.array([], c.type) for c in table.columns], table.schema)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_batch(batch)
    return int(table.num_rows)


def open_part(path: str | Path, schema: Mapping[str, str]) -> pa.RecordBatch:
    """The rows of a part, a view on a memory map of the file. Raises ValueError for a file that is missing, damaged or
    of another schema.
    """
    try:
        with pa.memory_map(str(path)) as source:
            whole = source.read_buffer()  # stays mapped after the file is closed
        reader = pa.ipc.open_file(whole)
        if not reader.schema.equals(arrow_schema(schema)) or reader.num_record_batches != 1:
            raise ValueError(f"{path} is damaged or was not written by write_part: its columns are others"[:600])
        batch = reader.get_batch(0)
        batch.validate(full=True)  # what its texts and lists point at must lie inside the file
        return batch
    except FileNotFoundError as error:
        raise ValueError(f"there is no part at {path}") from error
    except (pa.ArrowException, OSError, MemoryError, UnicodeError) as error:
        raise ValueError(f"{path} cannot be read as a part, it is damaged or of another kind: {error}"[:600]) from error


def read_part(path: str | Path, schema: Mapping[str, str]) -> dict[str, list[Any]]:
    """A part as {column: list}. Raises ValueError as `open_part`."""
    return dict(open_part(path, schema).to_pydict())


class PartRows:
    """The rows of some roles and one side, part by part, numbered from 0. `rows[column][number]` is a value.

    Memory does not grow with the rows: at most `OPEN` parts are mapped. ValueError where a part is not what was
    counted.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        fetch: Callable[[int], Path],
        schema: Mapping[str, str],
        roles: Collection[str],
        held_out: bool,
    ) -> None:
        """`sizes` are the wanted rows of each part; `fetch` gives the local path of a part by its number."""
        self.sizes = np.asarray(sizes, np.int64)
        self._ends: list[int] = np.cumsum(self.sizes).tolist()
        self._fetch, self._schema, self._roles, self._side = fetch, dict(schema), frozenset(roles), held_out
        self._part = functools.lru_cache(OPEN)(self._open)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __contains__(self, column: object) -> bool:
        return column in self._schema

    def __getitem__(self, column: str) -> PartColumn:
        """One column of all rows. KeyError where there is none."""
        if column not in self._schema:
            raise KeyError(column)
        return PartColumn(self, column)

    def place(self, number: int) -> tuple[int, int]:
        """(part, which of its wanted rows) of a row. IndexError where there is none."""
        if not 0 <= number < len(self):
            raise IndexError(f"row {number} was asked for; there are {len(self)} rows")
        part = bisect.bisect_right(self._ends, number)
        return part, number - (self._ends[part] - int(self.sizes[part]))

    def parts_of(self, numbers: np.ndarray) -> np.ndarray:
        """The part of each row."""
        return np.searchsorted(np.asarray(self._ends, np.int64), numbers, side="right")

    def row(self, number: int, columns: Sequence[str]) -> list[Any]:
        """The values of a row in these columns."""
        part, place = self.place(number)
        batch, chosen = self._part(part)
        at = int(chosen[place])
        return [batch.column(name)[at].as_py() for name in columns]

    def column(self, part: int, name: str) -> pa.Array:
        """A column of all wanted rows of a part that has some, for passes over everything."""
        batch, chosen = self._part(part)
        return batch.column(name).take(pa.array(chosen))

    def matches(self, part: int, name: str, rows: np.ndarray, among: np.ndarray) -> np.ndarray:
        """For each of `rows` the place of the first of `among` that has its value in a column; -1 where none has.
        Both are wanted rows of the part, by their places in it.
        """
        values = self.column(part, name)
        found: np.ndarray = (
            pc.index_in(values.take(pa.array(rows)), values.take(pa.array(among))).fill_null(-1).to_numpy()
        )
        return found

    def filled(self, part: int, column: str) -> np.ndarray:
        """Which of the wanted rows of a part have a text in this column that is not empty, bool."""
        if not self.sizes[part]:
            return np.zeros(0, bool)
        batch, chosen = self._part(part)
        offsets = np.frombuffer(batch.column(column).buffers()[1], np.int32, batch.num_rows + 1)
        return np.diff(offsets)[chosen] > 0

    def equal(self, part: int, column: str, value: str) -> np.ndarray:
        """Which of the wanted rows of a part have this value in a column of few texts, bool."""
        if not self.sizes[part]:
            return np.zeros(0, bool)
        batch, chosen = self._part(part)
        texts = batch.column(column)
        codes = texts.indices.to_numpy(zero_copy_only=False)[chosen]
        return np.isin(codes, [code for code, text in enumerate(texts.dictionary.to_pylist()) if text == value])

    def _open(self, part: int) -> tuple[pa.RecordBatch, np.ndarray]:
        path = self._fetch(part)
        batch = open_part(path, self._schema)
        role = batch.column("role")
        wanted = [code for code, name in enumerate(role.dictionary.to_pylist()) if name in self._roles]
        chosen = np.isin(role.indices.to_numpy(zero_copy_only=False), wanted)
        chosen &= batch.column("held_out").to_numpy(zero_copy_only=False) == self._side
        rows = np.flatnonzero(chosen).astype(np.int32)
        if len(rows) != self.sizes[part]:
            raise ValueError(f"{path} has {len(rows)} rows of what is wanted, {self.sizes[part]} were counted")
        return batch, rows


class PartColumn(Sequence[Any]):
    """One column of `PartRows`."""

    def __init__(self, rows: PartRows, name: str) -> None:
        self._rows, self._name = rows, name

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: Any) -> Any:
        return self._rows.row(number, (self._name,))[0]

    def __iter__(self) -> Iterator[Any]:
        for part in range(len(self._rows.sizes)):
            if self._rows.sizes[part]:
                yield from self._rows.column(part, self._name).to_pylist()
