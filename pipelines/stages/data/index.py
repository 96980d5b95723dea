"""index: where each picture lies and which samples are held out. Training, encoding and evaluation agree on it.

Artifact: `index/NAME.parquet`, one row per picture of a curated shard (role `picture`) and of its edit pairs (roles
`source` and `target`). A sample is held out by its key alone, with all pictures made from it; or as its source says,
in `pixsem.held_out` of its json. Of a named source, and of the turns of one edit, the group's name decides.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from pipelines.errors import UserError
from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext, source_of

INDEX_SCHEMA = {
    "shard": "string",
    "key": "string",
    "group": "string",
    "role": "string",
    "caption": "string",
    "instruction": "string",
    "offset": "int64",
    "size": "int64",
    "held_out": "bool",
    "texts": "list<string>",  # of a picture its captions, of a target its instructions; null: the one text alone
    "origins": "list<string>",  # of each of a picture's captions where it comes from; null: not known
}


PAIRS = "curate_pairs"  # whose edit pairs are indexed


def is_held_out(group: str, share: float) -> bool:
    """True for about `share` of all samples, by the hash of their key: the same whatever else is in the data."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:6], "big") < share * 2**48


def run(context: StageContext) -> None:
    """Index every shard."""
    shards = context.curated_shards()
    edits = {PurePosixPath(path).stem: path for path in context.inputs[PAIRS].files("shards/*.tar")}
    tasks = [
        ShardTask(name, {"shard": shards.get(name), "edits": edits.get(name), "held_out": context.config.held_out})
        for name in dict.fromkeys([*shards, *edits])
    ]
    records = context.map_shards("pipelines.stages.data.index:index_one", tasks)
    totals: dict[str, int] = {}
    sources: dict[str, dict[str, int]] = {}
    for record in records:
        of_source = sources.setdefault(source_of(record.name), {})
        for name, value in record.metrics["pictures"].items():
            totals[name] = totals.get(name, 0) + value
            of_source[name] = of_source.get(name, 0) + value
    named = {name: counts for name, counts in sorted(sources.items()) if name}
    context.metrics["index"] = {**totals, "sources": named} if named else totals
    if not totals.get("train") or not totals.get("held_out"):
        raise UserError(
            f"of {context.counts.get('input', 0)} curated samples {totals.get('held_out', 0)} pictures are held "
            f"out and {totals.get('train', 0)} are left to train on; both are needed. Bring more samples, or change "
            "held_out."
        )


KNOWN = {"held_out", "captions", "instructions", "group"}  # what the index takes from `pixsem`


def _said(metadata: str) -> dict[str, Any]:
    """Return what a source says of a sample's side and texts; {} where it says nothing, or somebody else wrote it."""
    try:
        found = json.loads(metadata) if metadata else {}
    except ValueError:
        return {}  # of somebody's own metadata, which nothing here needs
    said = found.get("pixsem") if isinstance(found, dict) else None
    if not isinstance(said, dict) or not KNOWN & said.keys():
        return {}
    if not isinstance(said.get("held_out", False), bool) or not isinstance(said.get("group", ""), str):
        return {}
    for name in ("captions", "instructions", "caption_origins"):
        texts = said.get(name, [])
        if not (isinstance(texts, list) and all(isinstance(text, str) for text in texts)):
            return {}
    if "caption_origins" in said and len(said["caption_origins"]) != len(said.get("captions", [])):
        return {}
    return said


def index_one(context: ShardContext) -> ShardResult:
    """Index one curated shard and its edit pairs."""
    from components.data.samples import IMAGE_EXTENSIONS, side_part
    from components.data.shard_index import index_shard
    from pipelines.stages.data.parquet_rows import write_rows

    args, source = context.task.args, source_of(context.task.name)
    rows: list[dict[str, Any]] = []
    samples: list[Any] = []

    def group_of(key: str) -> str:
        """Keys of two sources may be alike."""
        return f"{source}/{key}" if source else key

    with contextlib.ExitStack() as stack:

        def opened(path: str) -> tuple[list[Any], Callable[[tuple[int, int] | None], str]]:
            local = context.fetch(path)
            handle = stack.enter_context(local.open("rb"))

            def text(place: tuple[int, int] | None) -> str:
                if place is None:
                    return ""
                handle.seek(place[0])
                return handle.read(place[1]).decode("utf-8-sig").strip()

            return index_shard(local), text

        if args["shard"]:
            samples, text = opened(args["shard"])
            for sample in samples:
                image = next(sample.parts[e] for e in IMAGE_EXTENSIONS if e in sample.parts)
                said, group = _said(text(sample.parts.get("json"))), group_of(sample.key)
                held = said.get("held_out", is_held_out(group, args["held_out"]))
                shown = said.get("split") != "reconstruction"  # for pictures alone: its words were never taught
                texts = said.get("captions") if shown else []
                rows.append(
                    {"shard": args["shard"], "key": sample.key, "group": group, "role": "picture",
                     "caption": text(sample.parts.get("txt")) if shown else "", "instruction": "", "offset": image[0],
                     "size": image[1], "held_out": held, "texts": texts,
                     "origins": said.get("caption_origins") if texts else None}
                )  # fmt: skip
        if args["edits"]:
            pairs, text = opened(args["edits"])
            samples = samples if args["shard"] else pairs
            for sample in pairs:
                about = json.loads(text(sample.parts["json"]))
                said = _said(text(sample.parts["json"]))
                group = group_of(said.get("group") or about["source_key"])
                held = said.get("held_out", is_held_out(group, args["held_out"]))
                for role in ("source", "target"):
                    found = side_part(sample.parts, role)
                    assert found is not None, "curation keeps no pair without both pictures"
                    image = found[1]
                    caption = about.get("target_caption") if role == "target" else about.get("caption")
                    rows.append(
                        {"shard": args["edits"], "key": sample.key, "group": group, "role": role,
                         "caption": caption or "", "instruction": text(sample.parts["txt"]), "offset": image[0],
                         "size": image[1], "held_out": held, "origins": None,
                         "texts": said.get("instructions") if role == "target" else None}
                    )  # fmt: skip
    write_rows(context.file(f"index/{context.task.name}.parquet"), rows, INDEX_SCHEMA)
    held_out = sum(row["held_out"] for row in rows)
    counts = {"input": len(samples), "kept": len(samples), "dropped": 0, "failed": 0}
    return ShardResult(counts, {"pictures": {"train": len(rows) - held_out, "held_out": held_out}})
