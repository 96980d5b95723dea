"""index: where each picture lies and which samples are held out. Training, encoding and evaluation agree on it.

Artifact: `index/NAME.arrow`, a mapped part (`components.data.part_rows`) with one row per picture of a curated shard
(role `picture`) and of its edit pairs (roles `source` and `target`), and `counts.parquet`. A sample is held out by its
key alone, with all pictures made from it; or as its source says, in `pixsem.held_out` of its json. Of a named source,
and of the turns of one edit, the group's name decides. Groups that share a picture with given pairs are on one side
(`sides.py`; `pictures/NAME.parquet` is what was compared).
"""

from __future__ import annotations

import functools
import json
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.errors import UserError
from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext, source_of
from pipelines.stages.data.sides import (
    group_number,
    group_of,
    group_of_pair,
    is_held_out,
    moved_groups,
    read_shard,
    said_of,
)
from pipelines.stages.indexed_rows import INDEX_SCHEMA, counted, write_counts


def run(context: StageContext) -> None:
    """Index every shard."""
    shards = context.curated_shards()
    edits = {PurePosixPath(path).stem: path for path in context.inputs["curate_pairs"].files("shards/*.tar")}
    moved, figures = moved_groups(context, shards, edits)
    common = {"held_out": context.config.held_out}
    tasks = [
        ShardTask(name, {"shard": shards.get(name), "edits": edits.get(name), "moved": moved.get(name, []), **common})
        for name in dict.fromkeys([*shards, *edits])
    ]
    records = context.map_shards("pipelines.stages.data.index:index_one", tasks)
    write_counts(context, records)
    totals: dict[str, int] = {}
    sources: dict[str, dict[str, int]] = {}
    for record in records:
        of_source = sources.setdefault(source_of(record.name), {})
        for name, value in record.metrics["pictures"].items():
            totals[name] = totals.get(name, 0) + value
            of_source[name] = of_source.get(name, 0) + value
    named = {name: counts for name, counts in sorted(sources.items()) if name}
    context.metrics["index"] = {**totals, **figures, **({"sources": named} if named else {})}
    if not totals.get("train") or not totals.get("held_out"):
        raise UserError(
            f"of {context.counts.get('input', 0)} curated samples {totals.get('held_out', 0)} pictures are held "
            f"out and {totals.get('train', 0)} are left to train on; both are needed. Bring more samples, or change "
            "held_out."
        )


def index_one(context: ShardContext) -> ShardResult:
    """Index one curated shard and its edit pairs."""
    from components.data.part_rows import write_part
    from components.data.samples import IMAGE_EXTENSIONS, side_part
    from components.data.shard_index import ShardFiles, digest_of

    args, name = context.task.args, context.task.name
    leaving = frozenset(args["moved"])
    rows: list[dict[str, Any]] = []
    sizes: dict[str, int] = {}
    moved = {"pictures": 0, "pairs": 0}

    def side(group: str, said: dict[str, Any], what: str) -> bool:
        own = is_held_out(group, args["held_out"])
        if "held_out" in said or group_number(group) not in leaving:
            return bool(said.get("held_out", own))
        moved[what] += 1
        return not own

    @functools.cache  # a remote store's shard is fetched once
    def opened(shard: str) -> Path:
        path = context.fetch(shard)
        sizes[shard] = path.stat().st_size
        return path

    files = ShardFiles(opened)

    if args["shard"]:
        for sample, text in read_shard(opened(args["shard"])):
            image = next(sample.parts[e] for e in IMAGE_EXTENSIONS if e in sample.parts)
            said, group = said_of(text("json")), group_of(name, sample.key)
            shown = said.get("split") != "reconstruction"  # for pictures alone: its words were never taught
            texts = said.get("captions") if shown else []
            rows.append(
                {"shard": args["shard"], "key": sample.key, "group": group, "role": "picture",
                 "caption": text("txt") if shown else "", "instruction": "", "offset": image[0], "size": image[1],
                 "held_out": side(group, said, "pictures"), "texts": texts,
                 "digest": digest_of(files.read(args["shard"], *image)),
                 "origins": said.get("caption_origins") if texts else None}
            )  # fmt: skip
    count = len(rows)
    if args["edits"]:
        for sample, text in read_shard(opened(args["edits"])):
            about, said = json.loads(text("json")), said_of(text("json"))
            group = group_of_pair(name, text("json"))
            held = side(group, said, "pairs")
            count += not args["shard"]
            for role in ("source", "target"):
                found = side_part(sample.parts, role)
                assert found is not None, "curation keeps no pair without both pictures"
                image = found[1]
                caption = about.get("target_caption") if role == "target" else about.get("caption")
                rows.append(
                    {"shard": args["edits"], "key": sample.key, "group": group, "role": role,
                     "caption": caption or "", "instruction": text("txt"), "offset": image[0],
                     "size": image[1], "held_out": held, "origins": None,
                     "texts": said.get("instructions") if role == "target" else None,
                     "digest": digest_of(files.read(args["edits"], *image))}
                )  # fmt: skip
    columns = {column: [row[column] for row in rows] for column in INDEX_SCHEMA}
    write_part(context.file(f"index/{name}.arrow"), columns, INDEX_SCHEMA)
    held_out = sum(row["held_out"] for row in rows)
    counts = {"input": count, "kept": count, "dropped": 0, "failed": 0}
    pictures = {"train": len(rows) - held_out, "held_out": held_out}
    pictures |= {f"moved_{what}": n for what, n in moved.items() if n}
    return ShardResult(counts, {"pictures": pictures, "rows": counted(rows, sizes)})
