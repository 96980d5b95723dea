"""evaluate_generator: does the picture hold exactly what was asked, and the edit exactly what was told.

Prompts, edits and what reads pictures back are the source's world (`judged_world.py`). Without a reader the pictures
are made and not judged. On any source: Frechet distances in named features, and seconds per picture. Artifact:
`metrics.json`, `judgements.jsonl` (a row for each picture), `generated.png`, `edits.png`, `convergence.png`, and where
pictures are judged `convergence_pictures.png`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelines.config.declared import sent
from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext
from pipelines.store.artifacts import Artifact, Manifest

INPUTS = ("index", "train_encoder", "train_tokenizer", "train_generator", "train_editor")


def run(context: StageContext) -> None:
    """Evaluate in one worker task."""
    manifests = {name: context.inputs[name].manifest.to_json() for name in INPUTS}
    args = {"manifests": manifests, "config": sent(context.config), "run": context.run_id}
    (record,) = context.map_shards(
        "pipelines.stages.generator.evaluate_generator:evaluate", [ShardTask("evaluation", args)]
    )
    metrics = dict(record.metrics)
    context.metrics["absent"] = metrics.pop("absent")
    context.metrics.update(metrics)
    timing = f"runs/{context.run_id}/{TIMING}"
    if context.work.store.exists(timing):  # of this machine at this moment: no part of the artifact's files
        context.metrics["text_to_image"] |= context.work.store.read_json(timing)
    if "seconds_per_image" not in context.metrics["text_to_image"]:
        context.metrics["absent"]["text_to_image.seconds_per_image"] = "no whole batch of pictures was made in this run"


TIMING = "evaluate_generator.json"


def evaluate(context: ShardContext) -> ShardResult:
    """Compute every figure and write the pictures."""
    import torch

    from pipelines.stages.generator.judge import Judge
    from pipelines.stages.generator.judge_edits import EditJudge
    from pipelines.stages.generator.judged_world import find_world
    from pipelines.stages.generator.sample_sets import Maker, generated_distances

    args = context.task.args
    config = args["config"].open()
    inputs = {n: Artifact(context.store, Manifest.from_json(v, n)) for n, v in args["manifests"].items()}
    torch.set_num_threads(max(1, int(config.execution.resources.evaluate_generator.cpus)))
    maker = Maker(context.store, config, inputs, context.scratch, context.seed)
    absent: dict[str, str] = {}
    metrics: dict[str, Any] = {"text_to_image": generated_distances(maker, config, inputs, context, absent)}
    world = find_world(config)(context, config, inputs, context.seed)
    judge = Judge(maker, world, config, context.seed, absent)
    edits = EditJudge(judge)
    metrics["text_to_image"] |= judge.text_to_image()
    metrics["editing"] = edits.editing()
    judge.grid(context.file("generated.png"))
    edits.grid(context.file("edits.png"))
    trainings = [
        (inputs[stage], inputs[stage].manifest.config[key])
        for stage, key in (("train_generator", "generator.training"), ("train_editor", "generator.editing"))
    ]
    metrics["text_to_image"] |= judge.convergence(trainings, context.file)
    _write(context.file("judgements.jsonl"), "".join(json.dumps(row, sort_keys=True) + "\n" for row in judge.rows))
    _write(context.file("metrics.json"), json.dumps({**metrics, "absent": absent}, indent=1, sort_keys=True))
    context.store.write_json(f"runs/{args['run']}/{TIMING}", maker.timing())
    counts = {"input": maker.made, "kept": maker.made, "dropped": 0, "failed": 0}
    return ShardResult(counts, {**metrics, "absent": absent})


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
