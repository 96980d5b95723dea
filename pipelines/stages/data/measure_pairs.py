"""measure_pairs: one row of signals per edit pair, as parquet, and no decision. The expensive half of judging pairs.

Made pairs (of synthesize_edits) and given ones (of a source of pairs) are measured alike; only made ones are compared
with their own description, which nobody else can have written.

Artifact: `signals/NAME.parquet` with `components.curation.pairs.pair_signals.PAIR_SCHEMA`, and columns of the models
that are asked for. Of given pairs `pictures/NAME.parquet`, too (`PICTURES_SCHEMA`): what tells that a picture is in
another source.
"""

from __future__ import annotations

import dataclasses
from pathlib import PurePosixPath
from typing import Any

from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext, base_of
from pipelines.stages.data.pair_models import PairModels, Waiting
from pipelines.store.artifacts import Artifact

MADE = "synthesize_edits"


def pair_shards(inputs: dict[str, Artifact]) -> dict[str, tuple[str, str]]:
    """Return {shard name: (path, stage that it comes from)} of the pairs among a stage's inputs."""
    found: dict[str, tuple[str, str]] = {}
    for stage, artifact in inputs.items():
        if base_of(stage) in (MADE, "ingest"):
            found |= {PurePosixPath(path).stem: (path, stage) for path in artifact.files("shards/*.tar")}
    return found


def run(context: StageContext) -> None:
    """Measure every shard of pairs."""
    settings = context.config.measure_pairs
    common: dict[str, Any] = {
        "limits": dataclasses.asdict(context.config.measure.limits),
        "image_text": settings.image_text, "judge": settings.judge,
        "threads": max(1, int(context.config.execution.resources.measure_pairs.cpus)),
    }  # fmt: skip
    curated = context.curated_shards() if MADE in context.inputs else {}  # whose drawings a description speaks of
    origin = {name: "/".join(PurePosixPath(path).parts[-4:-2]) for name, path in curated.items()}
    tasks = [
        ShardTask(name, {"shard": path, "made": stage == MADE, "curated": origin.get(name), **common})
        for name, (path, stage) in sorted(pair_shards(context.inputs).items())
    ]
    context.map_shards("pipelines.stages.data.measure_pairs:measure_shard", tasks)


def measure_shard(context: ShardContext) -> ShardResult:
    """Measure one shard. A pair that cannot be read gets a row with its reason."""
    import cv2

    from components.curation.images import ImageError
    from components.curation.options import ImageLimits
    from components.curation.pairs.pair_signals import NOTHING, PAIR_SCHEMA, PICTURES_SCHEMA
    from components.data.records import read_records
    from pipelines.stages.data.parquet_rows import write_rows

    cv2.setNumThreads(1)  # the tasks beside this one have the other cores
    args = context.task.args
    limits = ImageLimits(**args["limits"])
    models = PairModels(args["image_text"], args["judge"], args["threads"])
    rows: list[dict[str, Any]] = []
    pictures: list[dict[str, Any]] = []
    for record in read_records(context.fetch(args["shard"])):
        row = {"shard": context.task.name, "key": record.key, "source_key": "", "kind": "", "error": "", "detail": "",
               **NOTHING, "words": 0, "exact": None, **dict.fromkeys(models.schema)}  # fmt: skip
        pictures.append(dict.fromkeys(PICTURES_SCHEMA) | {"key": record.key})
        try:
            row |= _measured(context, record, limits, models, row, pictures[-1])
        except ImageError as error:
            row |= {"error": error.reason, "detail": error.detail}
        rows.append(row)
    models.finish()
    write_rows(context.file(f"signals/{context.task.name}.parquet"), rows, PAIR_SCHEMA | models.schema)
    if not args["made"]:
        write_rows(context.file(f"pictures/{context.task.name}.parquet"), pictures, PICTURES_SCHEMA)
    failed = sum(bool(row["error"]) for row in rows)
    return ShardResult({"input": len(rows), "kept": len(rows) - failed, "dropped": 0, "failed": failed})


def _measured(
    context: ShardContext, record: Any, limits: Any, models: PairModels, row: dict[str, Any], pictures: dict[str, Any]
) -> dict[str, Any]:
    """Return the signals of one pair; those of models come into its row later, and what tells whose pictures a given
    pair's are into `pictures`. Raises `ImageError` for a pair that cannot be read.
    """
    from components.curation.images import ImageError
    from components.curation.pairs.pair_signals import LOSSY, decode_side, pair_signals, picture_signals
    from components.data.samples import BadRecord, caption_of, metadata_of, side_part

    args = context.task.args
    found: Any = record
    for read in (caption_of, metadata_of):
        if isinstance(found, BadRecord):
            break
        found = read(record)
    if isinstance(found, BadRecord):
        raise ImageError(found.reason, found.detail)
    about, instruction = found, caption_of(record) or ""
    sides = {side: side_part(record.parts, side) for side in ("source", "target")}
    files = [decode_side(side, part and part[1], limits) for side, part in sides.items()]
    source, target = (file.rgb for file in files)
    lossy = any(file.format in LOSSY for file in files)
    mask = _mask(record.parts.get("mask.png"), source.shape[:2], limits)
    known = {"source_key": str(about.get("source_key") or record.key), "kind": str(about.get("kind") or "")}
    signals = known | pair_signals(source, target, mask, str(instruction), lossy)
    captions = about.get("caption"), about.get("target_caption")
    both = (captions[0], captions[1]) if all(isinstance(c, str) and c for c in captions) else None
    models.add(Waiting(row, source, target, str(instruction), both))
    if args["made"]:
        from pipelines.stages.data.exact_pairs import exact_check

        signals["exact"] = exact_check(context, about, source, target, str(instruction))
    else:
        for file, (side, part) in zip(files, sides.items(), strict=True):
            assert part is not None, "it was decoded"
            pictures |= picture_signals(side, part[1], file.rgb)
    return signals


def _mask(data: bytes | None, size: tuple[int, int], limits: Any) -> Any:
    """Return a mask, bool [H, W], of the source's size: True where a change was asked for; None where there is none."""
    import cv2
    import numpy as np

    from components.curation.pairs.pair_signals import decode_side

    if data is None:
        return None
    grey = decode_side("mask", data, limits).rgb[..., 0]
    if grey.shape != size:
        grey = np.asarray(cv2.resize(grey, (size[1], size[0]), interpolation=cv2.INTER_NEAREST))
    return grey > 127
