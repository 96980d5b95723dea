"""evaluate_model: any model, held to a file of prompts and to edit pairs by the judges that are named.

The one stage of a run of `pixsem evaluate`. Pictures are made in shards; one more computes the figures. Artifact:
`pictures/*.parquet` (a row for each picture, by `picture_rows.py`), `features/*.npz` where there are true pictures or
an image-text model, `judgements.jsonl`, `metrics.json`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.config.declared import SentConfig, sent
from pipelines.errors import UserError
from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext, derive_seed
from pipelines.stages.generator.evaluated_cases import (
    PROMPTS,
    SHARD,
    EvaluatedSheet,
    pairs_of,
    prompts_of,
    sections_of,
)
from pipelines.stages.generator.model_figures import ModelFigures
from pipelines.stages.generator.picture_rows import as_json, read_features, read_rows, write_features, write_pictures
from pipelines.stages.generator.picture_sheet import Section
from pipelines.store.artifacts import find_artifact
from pipelines.tracking.figures import own_name

if TYPE_CHECKING:
    from pipelines.config.schema import Config
    from pipelines.stages.generator.evaluation_judges import Own
    from pipelines.stages.generator.picture_shards import Studio

HERE = "pipelines.stages.generator.evaluate_model"


@dataclass(frozen=True)
class ModelPart:
    """What a shard makes: the cases [first, last) of a section."""

    section: Section
    first: int
    last: int
    config: SentConfig
    identity: str  # the stage's fingerprint: what a worker has loaded is of one stage
    seed: int


@dataclass(frozen=True)
class ModelRows:
    """What the last shard needs: what those before it made."""

    config: SentConfig
    files: Mapping[str, Sequence[str]]  # split -> files in the store
    said: Mapping[str, Any]  # what the shards say of their judges and of the model
    seed: int


def run(context: StageContext) -> None:
    """Make the missing shards of pictures, then the figures."""
    asked = context.config.evaluate_model
    assert asked is not None, "a run of pixsem evaluate has this section"
    sections = sections_of(asked, prompts_of(asked), pairs_of(asked))
    seed, own = derive_seed(context.seed, "evaluation"), sent(context.config)
    size = asked.batch * max(1, SHARD // asked.batch)
    parts = {
        f"{section.split}-{number:05d}": ModelPart(section, first, min(first + size, section.most), own,
                                                  context.work.fingerprint, seed)
        for section in sections
        for number, first in enumerate(range(0, section.most, size))
    }  # fmt: skip
    records = context.map_shards(f"{HERE}:make_pictures", [ShardTask(name, part) for name, part in parts.items()])
    files: dict[str, list[str]] = {}
    said: dict[str, Any] = {"judges": {}}
    for record in records:
        paths = [f"{context.work.path}/{file.path}" for file in record.files]
        files.setdefault(parts[record.name].section.split, []).extend(paths)
        said = {**record.metrics, "judges": said["judges"] | record.metrics["judges"]}
    rows = ModelRows(own, files, said, seed)
    (record,) = context.map_shards(f"{HERE}:make_figures", [ShardTask("figures", rows)])
    context.metrics.update(record.metrics)


def make_pictures(context: ShardContext) -> ShardResult:
    """Make one shard: `pictures/NAME.parquet`."""
    part: ModelPart = context.task.args
    studio, about = _open_studio(context, part)
    made = studio.make(part.section, part.first, part.last)
    write_pictures(context.file(f"pictures/{context.task.name}.parquet"), made.rows)
    if made.features:
        write_features(context.file(f"features/{context.task.name}.npz"), made.features)
    counts = {"input": len(made.rows), "kept": len(made.rows), "dropped": 0, "failed": 0}
    return ShardResult(counts, {"judges": studio.protocol(), "model": about})


def make_figures(context: ShardContext) -> ShardResult:
    """Write `metrics.json` and `judgements.jsonl`."""
    args: ModelRows = context.task.args
    config = args.config.open()
    rows: dict[str, list[dict[str, Any]]] = {}
    features: dict[str, dict[str, Any]] = {}
    for split, paths in args.files.items():
        rows[split] = read_rows([context.fetch(path) for path in paths if path.endswith(".parquet")])
        features[split] = read_features([context.fetch(path) for path in paths if path.endswith(".npz")])
    metrics = ModelFigures(config, args.said, args.seed).metrics(rows, features.get(PROMPTS, {}))
    told = ("split", "category", "prompt", "right", "guidance_scale", "seed")
    lines = [
        as_json({**{name: row[name] for name in told}, "judges": row["rows"]}) + "\n"
        for own in rows.values()
        for row in own
    ]
    context.file("judgements.jsonl").write_text("".join(lines), "utf-8")
    context.file("metrics.json").write_text(json.dumps(metrics, indent=1, sort_keys=True), "utf-8")
    return ShardResult({"input": 0, "kept": 0, "dropped": 0, "failed": 0}, metrics)


# Of this worker process, by stage fingerprint.
_OPEN: dict[str, tuple[tempfile.TemporaryDirectory[str], Studio, dict[str, Any]]] = {}


def _open_studio(context: ShardContext, part: ModelPart) -> tuple[Studio, dict[str, Any]]:
    """Return the studio, and what is said of the model; a worker that makes many shards loads both once."""
    if part.identity not in _OPEN:
        for folder, _, _ in _OPEN.values():
            folder.cleanup()
        _OPEN.clear()
        folder = tempfile.TemporaryDirectory(dir=context.store.scratch(), prefix="evaluation-")
        _OPEN[part.identity] = folder, *_new_studio(context, part, Path(folder.name))
    return _OPEN[part.identity][1:]


def _new_studio(context: ShardContext, part: ModelPart, scratch: Path) -> tuple[Studio, dict[str, Any]]:
    import torch

    from pipelines.judging.reference import Reference
    from pipelines.stages.generator.evaluation_judges import Named, open_judges
    from pipelines.stages.generator.picture_shards import Studio
    from pipelines.stages.generator.subjects import open_subject

    config: Config = part.config.open()
    assert config.evaluate_model is not None, "a run of pixsem evaluate has this section"
    threads = max(1, int(config.execution.resources.evaluate_model.cpus))
    torch.set_num_threads(threads)
    subject = open_subject(config, context.store, scratch)
    sheet: Any = EvaluatedSheet(config.evaluate_model, subject.side, part.seed)
    maker: Any = subject
    guidance: Any = subject.about["guidance_scale"]  # None for a model without one
    asked = config.evaluate_model
    own = _own(context, asked.image_text, scratch)
    named = Named(asked.judges, asked.features, asked.lpips_weights, asked.inception)
    judges, features = open_judges(named, own, context.store, threads)
    about = {"decodes": subject.decodes, "own": own.name if own else ""}
    for judge in judges:
        if isinstance(judge, Reference):
            about["features"] = judge.protocol()["features"]
    if not sheet.has_truth:
        judges = [judge for judge in judges if not isinstance(judge, Reference)]  # there is nothing to hold edits to
    studio = Studio(sheet, maker, judges, features, guidance, own.model if own else None, subject.decodes)
    return studio, {**subject.about, **about}


def _own(context: ShardContext, fingerprint: str, scratch: Path) -> Own | None:
    """Return the image-text model that the store has, under a name that says which one it is."""
    from pipelines.stages.generator.evaluation_judges import Own
    from pipelines.stages.generator.sample_sets import OwnModel

    artifact = find_artifact(context.store, "train_encoder", fingerprint) if fingerprint else None
    if artifact is None:
        if fingerprint:
            raise UserError(f"the image-text model train_encoder/{fingerprint} is not in the store any more")
        return None
    path = artifact.manifest.config.get("encoder", {}).get("path")
    known = f"train_encoder/{fingerprint}"
    return Own(own_name(path, fingerprint), known, OwnModel(context.store, artifact, scratch))
