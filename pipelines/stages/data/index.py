"""index: where each picture lies and which samples are held out. Training, encoding and evaluation agree on it.

Artifact: `index/NAME.parquet`, one row per picture of a curated shard (role `picture`) and of its edit pairs (roles
`source` and `target`). A sample is held out by its key alone, with all pictures made from it; or as its source says,
in `pixsem.held_out` of its json.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath
from typing import Any

from pipelines.errors import UserError
from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext

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
}


def is_held_out(group: str, share: float) -> bool:
    """True for about `share` of all samples, by the hash of their key: the same whatever else is in the data."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:6], "big") < share * 2**48


def run(context: StageContext) -> None:
    """Index every shard."""
    edits = {PurePosixPath(p).stem: p for p in context.inputs["synthesize_edits"].files("shards/*.tar")}
    tasks = [
        ShardTask(
            PurePosixPath(path).stem,
            {"shard": path, "edits": edits[PurePosixPath(path).stem], "held_out": context.config.held_out},
        )
        for path in context.curated.files("shards/*.tar")
    ]
    records = context.map_shards("pipelines.stages.data.index:index_one", tasks)
    totals: dict[str, int] = {}
    for record in records:
        for name, value in record.metrics["pictures"].items():
            totals[name] = totals.get(name, 0) + value
    context.metrics["index"] = totals
    if not totals.get("train") or not totals.get("held_out"):
        raise UserError(
            f"of {context.counts.get('input', 0)} curated samples {totals.get('held_out', 0)} pictures are held "
            f"out and {totals.get('train', 0)} are left to train on; both are needed. Bring more samples, or change "
            "held_out."
        )


def _said(metadata: str) -> dict[str, Any]:
    """Return what a source says of a sample's side and texts; {} where it says nothing, or somebody else wrote it."""
    try:
        found = json.loads(metadata) if metadata else {}
    except ValueError:
        return {}  # of somebody's own metadata, which nothing here needs
    said = found.get("pixsem") if isinstance(found, dict) else None
    if not isinstance(said, dict) or not isinstance(said.get("held_out"), bool):
        return {}
    for name in ("captions", "instructions"):
        texts = said.get(name, [])
        if not (isinstance(texts, list) and all(isinstance(text, str) for text in texts)):
            return {}
    return said


def index_one(context: ShardContext) -> ShardResult:
    """Index one curated shard and its edit pairs."""
    from components.data.samples import IMAGE_EXTENSIONS
    from components.data.shard_index import index_shard
    from pipelines.stages.data.parquet_rows import write_rows

    args = context.task.args
    rows: list[dict[str, Any]] = []
    path = context.fetch(args["shard"])
    samples = index_shard(path)
    with path.open("rb") as handle:

        def text(place: tuple[int, int] | None) -> str:
            if place is None:
                return ""
            handle.seek(place[0])
            return handle.read(place[1]).decode("utf-8-sig").strip()

        for sample in samples:
            image = next(sample.parts[e] for e in IMAGE_EXTENSIONS if e in sample.parts)
            said = _said(text(sample.parts.get("json")))
            held = said.get("held_out", is_held_out(sample.key, args["held_out"]))
            shown = said.get("split") != "reconstruction"  # which is for pictures alone: its words were never taught
            texts = said.get("captions") if shown else []
            rows.append(
                {"shard": args["shard"], "key": sample.key, "group": sample.key, "role": "picture",
                 "caption": text(sample.parts.get("txt")) if shown else "", "instruction": "", "offset": image[0],
                 "size": image[1], "held_out": held, "texts": texts}
            )  # fmt: skip
    path = context.fetch(args["edits"])
    with path.open("rb") as handle:
        for sample in index_shard(path):
            about = json.loads(text(sample.parts["json"]))
            group, said = about["source_key"], _said(text(sample.parts["json"]))
            held = said.get("held_out", is_held_out(group, args["held_out"]))
            for role in ("source", "target"):
                image = sample.parts[f"{role}.png"]
                caption = about.get("target_caption") if role == "target" else about.get("caption")
                rows.append(
                    {"shard": args["edits"], "key": sample.key, "group": group, "role": role, "caption": caption or "",
                     "instruction": text(sample.parts["txt"]), "offset": image[0], "size": image[1], "held_out": held,
                     "texts": said.get("instructions") if role == "target" else None}
                )  # fmt: skip
    write_rows(context.file(f"index/{context.task.name}.parquet"), rows, INDEX_SCHEMA)
    held_out = sum(row["held_out"] for row in rows)
    counts = {"input": len(samples), "kept": len(samples), "dropped": 0, "failed": 0}
    return ShardResult(counts, {"pictures": {"train": len(rows) - held_out, "held_out": held_out}})
