"""measure: one row of signals per sample, as parquet, and no decision. The expensive half of curation, cached alone.

Artifact: `signals/NAME.parquet` with `components.curation.signals.SIGNAL_SCHEMA`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext
from pipelines.stages.data.ingest_lists import of_source


def run(context: StageContext) -> None:
    """Measure every shard of ingest."""
    settings = context.config.measure
    limits = dataclasses.asdict(settings.limits)
    model = None if settings.image_text is None else str(Path(settings.image_text).resolve())
    (ingested,) = context.inputs_of("ingest")
    shards = ingested.files("shards/*.tar")
    tasks = [
        ShardTask(PurePosixPath(path).stem, {"shard": path, "limits": limits, "image_text": model}) for path in shards
    ]
    context.map_shards("pipelines.stages.data.measure:measure_shard", tasks)
    context.metrics |= of_source("measure", context.stage.source, dict(context.counts))


def measure_shard(context: ShardContext) -> ShardResult:
    """Measure one shard. A sample whose image or caption cannot be read gets a row with its reason."""
    import cv2

    from components.curation.options import ImageLimits
    from components.curation.signals import SIGNAL_SCHEMA, measure
    from components.data.records import BadRecord, read_records
    from components.data.samples import caption_of, image_part
    from pipelines.stages.data.parquet_rows import write_rows

    cv2.setNumThreads(1)  # the tasks beside this one have the other cores
    args = context.task.args
    limits = ImageLimits(**args["limits"])
    similarity = ImageTextSimilarity(args["image_text"], limits) if args["image_text"] else None
    rows = []
    failed = 0
    for record in read_records(context.fetch(args["shard"])):
        image, caption, problem = None, None, None
        if isinstance(record, BadRecord):
            problem = (record.reason, record.detail)
        else:
            part = image_part(record)
            image = part[1] if part else None
            found = caption_of(record)
            if isinstance(found, BadRecord):
                problem = (found.reason, found.detail)
            else:
                caption = found
        signals = measure(image, caption, limits)
        if problem:
            signals |= {"error": problem[0], "detail": problem[1]}
        failed += bool(signals["error"])
        rows.append({**signals, "shard": context.task.name, "key": record.key})
        if similarity:
            similarity.add(rows[-1], image, caption)
    if similarity:
        similarity.finish()
    schema = SIGNAL_SCHEMA | ({similarity.name: "float64"} if similarity else {})
    write_rows(context.file(f"signals/{context.task.name}.parquet"), rows, schema)
    return ShardResult({"input": len(rows), "kept": len(rows) - failed, "dropped": 0, "failed": failed})


class ImageTextSimilarity:
    """Cosine of picture and caption in an image-text model, in batches; null where either is missing or broken."""

    name = "image_text_similarity"
    batch = 64

    def __init__(self, folder: str, limits: Any) -> None:
        from components.tokenizer.image_text import load_image_text

        self._model, self._vocabulary = load_image_text(Path(folder))
        self._limits = limits
        self._waiting: list[tuple[dict[str, Any], Any, str]] = []

    def add(self, row: dict[str, Any], image: bytes | None, caption: str | None) -> None:
        """Take in a sample; its row gets the signal, at the latest by `finish`."""
        from components.curation.images import decode_image, square

        row[self.name] = None
        if row["error"] or image is None or caption is None:
            return
        side = self._model.encoder.size
        self._waiting.append((row, square(decode_image(image, self._limits).rgb, side), caption))
        if len(self._waiting) == self.batch:
            self.finish()

    def finish(self) -> None:
        """Measure what waits."""
        import numpy as np
        import torch

        from components.tokenizer.objectives import to_pictures

        if not self._waiting:
            return
        pictures = torch.from_numpy(np.stack([p for _, p, _ in self._waiting]).transpose(0, 3, 1, 2).copy())
        ids = self._vocabulary.encode([c for _, _, c in self._waiting], self._model.options.max_words)
        with torch.inference_mode():
            images = self._model.embed_features(self._model.encoder(to_pictures(pictures)))
            values = (images * self._model.embed_text(ids)).sum(1).tolist()
        for (row, _, _), value in zip(self._waiting, values, strict=True):
            row[self.name] = value
        self._waiting = []
