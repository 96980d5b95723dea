"""score: the signal of one published model, for every sample of one source. Each model's signals are cached alone.

Artifact: `scores/NAME.parquet`: shard, key, the signal under its own name, and why it is null where it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from components.curation.options import ImageLimits
from components.vision_models.options import SignalModel
from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext
from pipelines.stages.data.image_text_models import Opener, matcher_of, place_of
from pipelines.stages.data.ingest_lists import of_source
from pipelines.stages.read_ahead import ahead
from pipelines.store.files import Store

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_LOADED: dict[str, Any] = {}  # the model that this worker process has loaded


@dataclass(frozen=True)
class Scoring:
    """What scoring one shard needs."""

    shard: str  # path of its tar in the store
    name: str  # of the signal
    model: SignalModel
    matcher: dict[str, Any] | None  # manifest of train_matcher, where the model is it
    limits: ImageLimits
    threads: int


def run(context: StageContext) -> None:
    """Score every shard of one source by one model."""
    name, source = context.stage.given["signal"], context.stage.given["source"]
    model = context.config.measure.models[name]
    matcher = matcher_of(model, context.inputs)
    threads = max(1, int(context.config.execution.resources.score.cpus))
    (ingested,) = context.inputs_of("ingest")
    tasks = [
        ShardTask(PurePosixPath(path).stem, Scoring(path, name, model, matcher, context.config.measure.limits, threads))
        for path in ingested.files("shards/*.tar")
    ]
    records = context.map_shards("pipelines.stages.data.score:score_shard", tasks)
    figures = {**context.counts, **spread_of(context, name, [record.name for record in records])}
    context.metrics["score"] = of_source(name, source, figures)


def spread_of(context: StageContext, name: str, shards: Sequence[str]) -> dict[str, float]:
    """Return quantiles of the signal, for whoever chooses a threshold: {"p50": ...}; {} where nothing was scored."""
    import numpy as np

    from components.data.tables import read_table

    values: list[float] = []
    for shard in shards:
        with context.fetch(f"{context.work.path}/scores/{shard}.parquet") as local:
            values += [value for value in read_table(local)[name] if value is not None]
    found = np.quantile(values, QUANTILES).tolist() if values else []
    return {f"p{100 * q:g}": value for q, value in zip(QUANTILES, found, strict=False)}


def score_shard(context: ShardContext) -> ShardResult:
    """Score one shard. Pictures are decoded in threads while the model works; the batches are the same every time."""
    import torch

    from pipelines.stages.data.parquet_rows import write_rows

    args: Scoring = context.task.args
    torch.set_num_threads(args.threads)
    scorer = load_once(context.store, args, context.scratch)
    rows: list[dict[str, Any]] = []
    for keys, inputs, captions, reasons in ahead(batches(context.fetch(args.shard), args, scorer)):
        whole = [n for n, reason in enumerate(reasons) if not reason]
        values = scorer.score([inputs[n] for n in whole], [captions[n] for n in whole]) if whole else []
        found: dict[int, float] = dict(zip(whole, values, strict=True))
        for n, (key, reason) in enumerate(zip(keys, reasons, strict=True)):
            value = found.get(n)
            if value is not None and not math.isfinite(value):
                value, reason = None, "not_a_number"
            rows.append({"shard": context.task.name, "key": key, args.name: value, "unscored": reason})
    schema = {"shard": "string", "key": "string", args.name: "float64", "unscored": "string"}
    write_rows(context.file(f"scores/{context.task.name}.parquet"), rows, schema)
    failed = sum(row[args.name] is None for row in rows)
    return ShardResult({"input": len(rows), "kept": len(rows) - failed, "dropped": 0, "failed": failed})


def load_once(store: Store, args: Scoring, scratch: Path) -> Any:
    """Return the model; a worker that scores many shards loads it once."""
    from components.vision_models.signal_kinds import load_signal

    key = f"{args.model} {args.matcher['digest'] if args.matcher else ''}"
    if key not in _LOADED:
        _LOADED.clear()
        place = place_of(args.model.precision, args.threads)
        _LOADED[key] = load_signal(args.model, place, Opener(store, args.matcher, scratch))
    return _LOADED[key]


Batch = tuple[list[str], list[Any], list[str], list[str]]


def batches(path: Path, args: Scoring, scorer: Any) -> Iterator[Batch]:
    """Yield (keys, inputs, captions, reasons) of a shard; a sample with a reason has no input."""
    from components.data.records import read_records

    with ThreadPoolExecutor(args.threads) as pool:
        waiting: list[Any] = []
        for record in read_records(path):
            waiting.append(record)
            if len(waiting) == args.model.batch:
                yield _batch(waiting, args, scorer, pool)
                waiting = []
        if waiting:
            yield _batch(waiting, args, scorer, pool)


def _batch(records: list[Any], args: Scoring, scorer: Any, pool: ThreadPoolExecutor) -> Batch:
    made = list(pool.map(lambda record: _sample(record, args, scorer), records))
    inputs, captions, reasons = ([one[n] for one in made] for n in range(3))
    return [record.key for record in records], inputs, captions, reasons


def _sample(record: Any, args: Scoring, scorer: Any) -> tuple[Any, str, str]:
    """Return (input, caption, ""), or (None, "", reason)."""
    from components.curation.images import ImageError, decode_image
    from components.data.samples import BadRecord, caption_of, image_part

    if isinstance(record, BadRecord):
        return None, "", record.reason
    caption = caption_of(record)
    part = image_part(record)
    if part is None:
        return None, "", "no_image"
    if args.model.reads_captions and not isinstance(caption, str):
        return None, "", caption.reason if isinstance(caption, BadRecord) else "no_caption"
    try:
        rgb = decode_image(part[1], args.limits).rgb
    except ImageError as error:
        return None, "", error.reason
    return scorer.prepare(rgb), caption if isinstance(caption, str) else "", ""
