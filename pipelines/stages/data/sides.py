"""On which side a sample is, held out or trained on: by the name of its group, as its source says, or, where its
picture is in another source too, with that one.

Curation keeps one of the pictures that are alike, but edit pairs have pictures of their own. A photograph with a
caption, and its edit in a set of pairs, must not be held out in one and trained on in the other.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext, source_of
from pipelines.store.artifacts import ShardRecord

if TYPE_CHECKING:
    from components.curation.one_side import PictureRows
    from components.data.shard_index import IndexedSample

KNOWN = {"held_out", "captions", "instructions", "group"}  # what the index takes from `pixsem`
SIDE_SCHEMA = {
    "group": "uint64", "held_out": "bool", "said": "bool", "compared": "bool", "pixels": "uint64", "phash": "uint64",
    "thumbnail": "binary",
}  # fmt: skip


def group_of(shard: str, key: str) -> str:
    """Return the name of a group: keys of two sources may be alike."""
    source = source_of(shard)
    return f"{source}/{key}" if source else key


def group_number(group: str) -> int:
    """Return a 64-bit number for a group's name; the first 48 bits say its side."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big")


def is_held_out(group: str, share: float) -> bool:
    """True for about `share` of all samples, by the hash of their key: the same whatever else is in the data."""
    return group_number(group) >> 16 < share * 2**48


def said_of(metadata: str) -> dict[str, Any]:
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


def group_of_pair(shard: str, about: str) -> str:
    """Return the name of the group of an edit pair, whose json is `about`."""
    return group_of(shard, said_of(about).get("group") or json.loads(about)["source_key"])


def read_shard(path: Path) -> Iterator[tuple[IndexedSample, Callable[[str], str]]]:
    """Yield the samples of a shard, each with what reads one of its parts as text ("" where it has none)."""
    from components.data.shard_index import index_shard

    with path.open("rb") as handle:
        for sample in index_shard(path):

            def text(part: str, parts: dict[str, tuple[int, int]] = sample.parts) -> str:
                if part not in parts:
                    return ""
                handle.seek(parts[part][0])
                return handle.read(parts[part][1]).decode("utf-8-sig").strip()

            yield sample, text


def moved_groups(
    context: StageContext, shards: dict[str, str], edits: dict[str, str]
) -> tuple[dict[str, list[int]], dict[str, int]]:
    """Return {shard: numbers of its groups that leave the side of their name}, and how many groups share pictures.

    `shards` and `edits` are the curated shards of pictures and of pairs, {name: path}. Without given pairs nothing is
    looked for: curation has left no duplicates.
    """
    given = _tables(context, "measure_pairs", "pictures")
    if not given:
        return {}, {}
    common = {"held_out": context.config.held_out, "min_contrast": context.config.curate.min_contrast}
    tasks = [
        ShardTask(f"{name}.pictures", {"shard": place[name], "signals": path, "pairs": place is edits, **common})
        for place, tables in ((shards, _tables(context, "measure", "signals")), (edits, given))
        for name, path in tables.items()
        if name in place
    ]
    records = context.map_shards("pipelines.stages.data.sides:list_pictures", tasks)
    context.progress(f"looking for pictures that are in two of {len(tasks):,} shards")
    rows, ends = _read(context, records, [task.args["pairs"] for task in tasks])
    return _of_shards(context, tasks, rows, ends)


def _tables(context: StageContext, base: str, folder: str) -> dict[str, str]:
    """Return {shard: path} of the tables of the inputs that are instances of a stage."""
    paths = [path for artifact in context.inputs_of(base) for path in artifact.files(f"{folder}/*.parquet")]
    return {PurePosixPath(path).stem: path for path in sorted(paths)}


def _of_shards(
    context: StageContext, tasks: list[ShardTask], rows: PictureRows, ends: list[int]
) -> tuple[dict[str, list[int]], dict[str, int]]:
    import numpy as np

    from components.curation.one_side import one_side

    rules = context.config.curate
    moved = one_side(rows, rules.near_duplicate_distance, rules.near_duplicate_colour, rules.near_duplicate_peak)
    leaving = np.isin(rows.groups, moved.groups)
    found, first = {}, 0
    for task, end in zip(tasks, ends, strict=True):
        numbers = rows.groups[first:end][leaving[first:end]]
        found[task.name.removesuffix(".pictures")] = np.unique(numbers).tolist()
        first = end
    figures = {"sharing": moved.sharing, "largest_chain": moved.largest, "conflicts": moved.conflicts}
    return found, figures


def _read(context: StageContext, records: list[ShardRecord], pairs: list[bool]) -> tuple[PictureRows, list[int]]:
    """Return the rows of all shards, and where each shard's end. `pairs` says which shards are of edit pairs."""
    import numpy as np

    from components.curation.image_signals import THUMBNAIL
    from components.curation.one_side import NOT_SAID, PictureRows
    from components.data.tables import read_table

    parts: list[PictureRows] = []
    for record, of_pairs in zip(records, pairs, strict=True):
        with context.fetch(f"{context.work.path}/{record.files[0].path}") as local:
            table = read_table(local)
        cells = np.frombuffer(b"".join(table["thumbnail"]), np.uint8)
        parts.append(
            PictureRows(
                groups=np.array(table["group"], np.uint64),
                held_out=np.array(table["held_out"], bool),
                said=np.array([NOT_SAID if said is None else said for said in table["said"]], np.int8),
                of_pictures=np.full(len(table["group"]), not of_pairs),
                compared=np.array(table["compared"], bool),
                pixels=np.array(table["pixels"], np.uint64),
                hashes=np.array(table["phash"], np.uint64),
                thumbnails=cells.reshape(-1, 3 * THUMBNAIL**2),
            )
        )
    names = [field.name for field in dataclasses.fields(PictureRows)]
    ends = np.cumsum([len(part.groups) for part in parts]).tolist()
    return PictureRows(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}), ends


def list_pictures(context: ShardContext) -> ShardResult:
    """Write a row for each picture of a curated shard: its group, its side as far as the sample itself says, and the
    signals that were measured of it.
    """
    from components.data.tables import read_table
    from pipelines.stages.data.parquet_rows import write_rows

    args, name = context.task.args, context.task.name.removesuffix(".pictures")
    prefixes = ("source_", "target_") if args["pairs"] else ("",)
    wanted = [f"{prefix}{signal}" for prefix in prefixes for signal in ("pixel_hash", "phash", "thumbnail", "contrast")]
    signals = read_table(context.fetch(args["signals"]), ["key", *wanted])
    at = {key: row for row, key in enumerate(signals["key"])}
    rows: list[dict[str, Any]] = []
    # A flat picture is no sign of anything: the edits of many others may end in black.
    for sample, text in read_shard(context.fetch(args["shard"])):
        about, row = text("json"), at[sample.key]
        group = group_of_pair(name, about) if args["pairs"] else group_of(name, sample.key)
        known = {"group": group_number(group), "held_out": is_held_out(group, args["held_out"]),
                 "said": said_of(about).get("held_out")}  # fmt: skip
        for prefix in prefixes:
            pixels, phash, thumbnail, contrast = (
                signals[f"{prefix}{signal}"][row] for signal in ("pixel_hash", "phash", "thumbnail", "contrast")
            )
            rows.append({**known, "compared": contrast >= args["min_contrast"], "pixels": int(pixels[:16], 16),
                         "phash": phash, "thumbnail": thumbnail})  # fmt: skip
    write_rows(context.file(f"pictures/{name}.parquet"), rows, SIDE_SCHEMA)
    return ShardResult({})
