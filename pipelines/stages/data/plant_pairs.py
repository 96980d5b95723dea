"""Known faults planted into the edit pairs of a shard, so that curate_pairs can be scored on pairs of any origin."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from components.curation.images import ImageError, decode_image, encode_png
from components.curation.options import ImageLimits
from components.curation.pairs.options import PairFaultOptions
from components.curation.pairs.pair_faults import draw_fault, other_edit, spilled
from components.data.samples import BadRecord, Record, metadata_of, side_part
from pipelines.stage import derive_seed

WORDS = ("txt", "json")  # parts that hold what is said of a pair


def planted_pairs(
    records: Iterable[Record | BadRecord], options: PairFaultOptions, seed: int
) -> Iterator[Record | BadRecord]:
    """Yield the pairs, some with a fault and its name in their json. Which get one depends on the seed and their keys.

    A fault that a pair has no room for (a spill where the mask is whole) is not planted.
    """
    before: Record | None = None  # whose instruction a pair may be given
    for record in records:
        if not isinstance(record, Record):
            yield record
            continue
        rng = np.random.default_rng(derive_seed(seed, "pair fault", record.key))
        fault = draw_fault(options, rng)
        yield (record if fault is None else _faulty(record, fault, before, rng)) or record
        before = record


def _faulty(record: Record, fault: str, other: Record | None, rng: np.random.Generator) -> Record | None:
    """Return a pair with a fault; None where it has no room for it, or cannot be read."""
    about = metadata_of(record)
    if not isinstance(about, dict):
        return None
    parts, said = dict(record.parts), {**about, "faults": [fault]}
    if fault == "wrong_instruction":
        if other is None or not _reworded(parts, said, other):
            return None
    else:
        picture = _target(record, fault, rng)
        if picture is None:
            return None
        for name in [name for name in parts if name.startswith("target.")]:
            del parts[name]
        parts["target.png"] = encode_png(picture)
    parts["json"] = json.dumps(said, ensure_ascii=False, sort_keys=True).encode()
    return Record(record.key, parts)


def _reworded(parts: dict[str, bytes], said: dict[str, Any], other: Record) -> bool:
    """Give a pair the instruction of another; False where they have the same."""
    theirs = metadata_of(other)
    if other.parts.get("txt") in (None, parts.get("txt")) or not isinstance(theirs, dict):
        return False
    parts["txt"] = other.parts["txt"]
    own, their = said.get("pixsem"), theirs.get("pixsem")
    if isinstance(own, dict) and "instructions" in own:
        told = their.get("instructions") if isinstance(their, dict) else None
        said["pixsem"] = {**own, "instructions": told or [other.parts["txt"].decode()]}
    return True


def _target(record: Record, fault: str, rng: np.random.Generator) -> np.ndarray | None:
    """Return the target, uint8 [H, W, 3], with a fault of the picture."""
    pictures = {}
    for side in ("source", "target", "mask"):
        part = side_part(record.parts, side)
        try:
            pictures[side] = decode_image(part[1], ImageLimits()).rgb if part else None
        except ImageError:
            return None  # curate_pairs names it, with its reason
    source, target, mask = pictures["source"], pictures["target"], pictures["mask"]
    if source is None or target is None:
        return None
    if fault == "unchanged":
        return source
    if fault == "wrong_edit":
        return other_edit(source, target, rng)
    if mask is None or mask.shape != target.shape:
        return None
    return spilled(target, mask[..., 0] > 127, rng)
