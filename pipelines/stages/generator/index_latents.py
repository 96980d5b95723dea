"""index_latents: what each row of the latents is to the generator: a captioned picture or an edit, its texts, its side.

Latents and index are joined by key here, once, and not by every worker of a training. Artifact: `rows/KIND-NAME.arrow`,
a mapped part (`components.data.part_rows`) for each latent shard, and `counts.parquet`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext
from pipelines.stages.indexed_rows import INDEX_SCHEMA, ROWS_SCHEMA, counted, write_counts


def run(context: StageContext) -> None:
    """Join every latent shard with its part of the index."""
    latents, index = context.inputs["encode_latents"], context.inputs["index"]
    sizes = {entry.path: entry.size for entry in latents.manifest.files}
    parts = {PurePosixPath(path).stem: path for path in index.files("index/*.arrow")}
    tasks = []
    for path in latents.files("*.arrow"):
        kind, name = path.split("/")[-2], PurePosixPath(path).stem
        args = {"shard": path, "keys": f"{latents.path}/keys/{kind}-{name}.parquet", "index": parts[name],
                "bytes": sizes[f"{kind}/{name}.arrow"], "edits": kind == "edits"}  # fmt: skip
        tasks.append(ShardTask(f"{kind}-{name}", args))
    write_counts(context, context.map_shards("pipelines.stages.generator.index_latents:index_one", tasks))


def index_one(context: ShardContext) -> ShardResult:
    """Join one latent shard with its part of the index."""
    from components.data.part_rows import read_part, write_part
    from components.data.tables import read_table

    args = context.task.args
    indexed = of_index(read_part(context.fetch(args["index"]), INDEX_SCHEMA), args["edits"])
    table = read_table(context.fetch(args["keys"]))
    rows = [{"shard": args["shard"], **row} for row in joined(table, indexed, args["edits"])]
    columns = {column: [row[column] for row in rows] for column in ROWS_SCHEMA}
    write_part(context.file(f"rows/{context.task.name}.arrow"), columns, ROWS_SCHEMA)
    count = len(table["key"])
    counts = {"input": count, "kept": count, "dropped": 0, "failed": 0}
    return ShardResult(counts, {"rows": counted(rows, {args["shard"]: args["bytes"]})})


@dataclass
class Indexed:
    """What the index says of the samples, or of the edit pairs, of one shard, by key."""

    held: dict[str, bool] = field(default_factory=dict)  # out
    captions: dict[str, str] = field(default_factory=dict)  # of an edit's target
    texts: dict[str, tuple[Sequence[str], Sequence[str] | None]] = field(default_factory=dict)
    # where there are several or none, with the origin of each


def of_index(table: Mapping[str, Sequence[Any]], edits: bool) -> Indexed:
    """Return what an index says of a shard's samples, or of its edit pairs. A pair's key is made of its sample's and a
    number, and the data may have a sample of that very key: so they are kept apart.
    """
    found = Indexed()
    columns = (table[name] for name in ("key", "role", "held_out", "caption", "texts", "origins"))
    for key, role, side, caption, said, of in zip(*columns, strict=True):
        if role != ("target" if edits else "picture"):
            continue
        found.held[key] = side
        if said is not None:
            found.texts[key] = said, of
        if edits and caption:
            found.captions[key] = caption
    return found


def joined(table: Mapping[str, Sequence[Any]], indexed: Indexed, edits: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each that a generator can be trained or judged on; one without texts is for reconstruction
    alone.
    """
    for number, (key, text, flipped) in enumerate(zip(table["key"], table["text"], table["flipped"], strict=True)):
        own, origins = indexed.texts.get(key, ((text,), None))
        if flipped:  # a text may name a side, and only the first is known not to
            own = own[:1]
        if origins is not None and (edits or len(origins) != len(own)):
            origins = None
        row = {"row": number, "key": key, "held_out": indexed.held[key], "origins": origins}
        if own:
            yield {**row, "role": "edit" if edits else "caption", "texts": own}
        if edits and not flipped and key in indexed.captions:
            yield {**row, "role": "caption_of_edit", "texts": [indexed.captions[key]]}
