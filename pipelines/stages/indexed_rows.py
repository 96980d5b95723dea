"""The rows of `index` and of `index_latents` as later stages read them: mapped parts, and one table that counts them.

`counts.parquet` has a row for each part, role and side: how many rows, the shard in the store that they are of, and its
bytes. So who reads knows how many rows there are, and where, before any part is opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from components.data.order import Layout
from components.data.part_rows import PartRows
from components.data.tables import read_table
from pipelines.stage import StageContext, source_of
from pipelines.stages.data.parquet_rows import write_rows
from pipelines.stages.evaluation import few_parts
from pipelines.store.artifacts import Artifact, ShardRecord

COUNTS = "counts.parquet"
COUNTS_SCHEMA = {
    "part": "string", "shard": "string", "role": "string", "held_out": "bool", "rows": "int64", "bytes": "int64",
}  # fmt: skip
INDEX_SCHEMA = {
    "shard": "dictionary<string>",
    "key": "string",
    "group": "string",
    "role": "dictionary<string>",
    "caption": "string",
    "instruction": "string",
    "offset": "int64",
    "size": "int64",
    "digest": "int64",  # of those bytes (`components.data.shard_index.digest_of`)
    "held_out": "bool",
    "texts": "list<string>",  # of a picture its captions, of a target its instructions; null: the one text alone
    "origins": "list<string>",  # of each of a picture's captions where it comes from; null: not known
}
ROWS_SCHEMA = {
    "shard": "dictionary<string>",  # of latents
    "row": "int32",  # in that shard
    "key": "string",
    "role": "dictionary<string>",  # caption; edit; caption_of_edit: what an edit made, where that has a caption
    "held_out": "bool",
    "texts": "list<string>",  # of which a step takes one
    "origins": "list<string>",  # of each of a caption's texts where it comes from; null: not known
}
# Stage -> the folder of its parts, and their columns.
TABLES = {"index": ("index", INDEX_SCHEMA), "index_latents": ("rows", ROWS_SCHEMA)}
Fetch = Callable[[str], Path]  # a store path -> a local path of the file, checked


def counted(rows: Iterable[Mapping[str, Any]], sizes: Mapping[str, int]) -> list[list[Any]]:
    """Return what a part's record says of its rows: [shard, role, held out, how many, the shard's bytes]. `sizes` are
    those of the shards.
    """
    counts = Counter((row["shard"], row["role"], row["held_out"]) for row in rows)
    return [[shard, role, held, n, sizes[shard]] for (shard, role, held), n in sorted(counts.items())]


def write_counts(context: StageContext, records: list[ShardRecord]) -> None:
    """Write the table of counts, from the `rows` of the parts' records."""
    names = ("shard", "role", "held_out", "rows", "bytes")
    rows = [
        {"part": record.name, **dict(zip(names, row, strict=True))}
        for record in records
        for row in record.metrics["rows"]
    ]
    with context.output(COUNTS) as path:
        write_rows(path, rows, COUNTS_SCHEMA)


class IndexedRows(PartRows):
    """The rows of some roles and one side of an artifact, in the order of the parts' names.

    `shards` are those that the rows of each part are of, `shard_bytes` the bytes of every one of them, `layout` says
    how the rows lie in the parts, `paths` are the parts' own in the store.
    """

    def __init__(
        self,
        artifact: Artifact,
        fetch: Fetch,
        roles: Mapping[str, Collection[str] | None],
        held_out: bool,
        few: Mapping[str, int] | None = None,
    ) -> None:
        """`roles` names for each wanted role the sources whose rows are wanted; None: all. `few` says how many rows of
        each role will be chosen, and only parts that have so many are taken (`few_parts`); None: all parts.
        """
        folder, schema = TABLES[artifact.manifest.stage]
        table = read_table(fetch(f"{artifact.path}/{COUNTS}"), list(COUNTS_SCHEMA))
        sizes: dict[str, dict[str, int]] = {}
        shards: dict[str, dict[str, None]] = {}
        shard_bytes: dict[str, int] = {}
        for part, shard, role, side, count, size in zip(*table.values(), strict=True):
            if role not in roles or side != held_out:
                continue
            sources = roles[role]
            if sources is None or source_of(shard) in sources:
                own = sizes.setdefault(part, {})
                own[role] = own.get(role, 0) + count
                shards.setdefault(part, {})[shard] = None
                shard_bytes[shard] = size
        parts = sorted(sizes, key=lambda part: f"{part}.arrow")
        if few is not None:
            kinds = [source_of(part) for part in parts]
            chosen: set[int] = set()
            for role, count in few.items():
                chosen |= few_parts([sizes[part].get(role, 0) for part in parts], kinds, count)
            parts = [parts[number] for number in sorted(chosen)]
        self.shards = [tuple(shards[part]) for part in parts]
        self.shard_bytes = {shard: shard_bytes[shard] for own in self.shards for shard in own}
        self.paths = [f"{artifact.path}/{folder}/{part}.arrow" for part in parts]
        wanted = [sum(sizes[part].values()) for part in parts]
        super().__init__(wanted, lambda n: fetch(self.paths[n]), schema, roles, held_out)
        self.layout = Layout(self.sizes, [source_of(own[0]) for own in self.shards])
