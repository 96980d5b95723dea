"""Known faults planted into a shard that ingest brought in, so that curation can be scored on data of any source.

A duplicate's other sample, and a wrong caption's, is of the same shard. The rows of ingest say what the source held.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from components.curation.faults import CAPTION_FAULTS, apply_fault, plan_faults
from components.curation.images import ImageError, decode_image
from components.curation.options import FaultOptions, ImageLimits
from components.data.caption_origins import without_captions
from components.data.records import Record, caption_of, image_part, metadata_of, read_records, write_records
from components.data.samples import IMAGE_EXTENSIONS
from pipelines.stage import ShardContext, derive_seed


def plant_faults(context: ShardContext, options: Any, planting: Callable[[Iterable[Record], Any, int], Any]) -> None:
    """Plant faults into the shard that a task has written: `planted` those of samples, `planted_pairs` those of edit
    pairs.
    """
    path = context.file(f"shards/{context.task.name}.tar")
    found = (record for record in read_records(path) if isinstance(record, Record))
    partial = path.with_suffix(".partial")
    write_records(partial, planting(found, options, context.seed))
    partial.replace(path)


def planted(records: Iterable[Record], options: FaultOptions, seed: int) -> Iterator[Record]:
    """Yield the records, some with a fault and its name in their json; those that cannot be read stay as they are."""
    records = list(records)
    sound = [record for record in records if _picture(record) is not None and isinstance(caption_of(record), str)]
    plans = dict(
        zip((r.key for r in sound), plan_faults(len(sound), options, derive_seed(seed, "faults")), strict=True)
    )
    for record in records:
        plan = plans.get(record.key)
        if plan is None or plan.fault is None:
            yield record
            continue
        place = next(i for i, other in enumerate(sound) if other.key == record.key)
        shown = record if plan.source is None else sound[plan.source]
        rng = np.random.default_rng(derive_seed(seed, "fault", record.key))
        wrong = str(caption_of(sound[(place + 1) % len(sound)]))
        data, extension, caption = apply_fault(plan.fault, _picture(shown), str(caption_of(shown)), wrong, rng)
        parts = {name: value for name, value in record.parts.items() if name not in IMAGE_EXTENSIONS}
        if plan.fault in CAPTION_FAULTS:  # the picture's own bytes stay
            extension, data = image_part(record) or (extension, data)
        metadata = metadata_of(record)
        about = {**without_captions(metadata if isinstance(metadata, dict) else {}), "faults": [plan.fault]}
        about |= {} if plan.source is None else {"fault_source": shown.key}
        parts |= {extension: data, "txt": caption.encode(), "json": json.dumps(about, sort_keys=True).encode()}
        yield Record(record.key, parts)


def _picture(record: Record) -> Any:
    """Return a record's picture, uint8 [H, W, 3]; None where it cannot be read."""
    part = image_part(record)
    try:
        return None if part is None else decode_image(part[1], ImageLimits()).rgb
    except ImageError:
        return None  # curation names it, with its reason
