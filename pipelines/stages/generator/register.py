"""register: the whole model as one folder, and what its registered versions will say of themselves. The run then makes
the versions.

Artifact: `pipeline/` (what `pixsem generate --model FOLDER` takes) with its model card `README.md`, `samples.png` and
`examples.json` (prompts and instructions to try); `card.json` (digests of its parts). Nothing in it depends on what is
registered already; gates are held where the versions are made (`pipelines/tracking/registering.py`).
"""

from __future__ import annotations

import json
import shutil
from typing import Any

from pipelines.config.declared import sent
from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext
from pipelines.store.artifacts import Artifact, Manifest, ancestors_of
from pipelines.tracking.examples import FILE, examples_of
from pipelines.tracking.model_card import attribution, readme

INPUTS = ("train_tokenizer", "train_editor", "evaluate_tokenizer", "evaluate_generator")
PARTS = ("train_tokenizer", "train_editor")


def run(context: StageContext) -> None:
    """Assemble the pipeline in one worker task."""
    manifests = {name: context.inputs[name].manifest.to_json() for name in INPUTS}
    args = {"manifests": manifests, "config": sent(context.config)}
    context.map_shards("pipelines.stages.generator.register:assemble", [ShardTask("pipeline", args)])


def assemble(context: ShardContext) -> ShardResult:
    """Write the pipeline, and the digests of what it is made of."""
    from pipelines.stages.generator.generator_setup import load_pipeline

    config = context.task.args["config"].open()
    manifests = context.task.args["manifests"]
    inputs = {name: Artifact(context.store, Manifest.from_json(value, name)) for name, value in manifests.items()}
    judged = inputs["evaluate_generator"]
    made = dict(inputs)
    for artifact in inputs.values():
        made |= {name: found for name, _, found in ancestors_of(artifact) if found is not None}
    folder = context.file("pipeline/model_index.json").parent
    load_pipeline(context.store, config, inputs, context.scratch).save_pretrained(folder, safe_serialization=True)
    card: dict[str, Any] = {
        "parts": {name: manifests[name]["digest"] for name in PARTS},
        "loader": "pixsem generate --model pipeline",
    }
    for path in judged.files("generated.png"):
        shutil.copyfile(context.fetch(path), folder / "samples.png")
    examples = examples_of(judged)
    (folder / FILE).write_text(json.dumps(examples, indent=1, ensure_ascii=False), "utf-8")
    (folder / "README.md").write_text(readme(made, next(iter(examples["prompts"]), "")), "utf-8")
    if credit := attribution(made):
        card["attribution"] = credit
        (folder / "ATTRIBUTION.txt").write_text(
            f"Trained on pictures: {credit}\n", "utf-8"
        )  # it goes where the model goes
    context.file("card.json").write_text(json.dumps(card, indent=1, sort_keys=True), "utf-8")
    return ShardResult({"input": 1, "kept": 1, "dropped": 0, "failed": 0}, {})
