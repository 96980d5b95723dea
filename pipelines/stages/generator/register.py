"""register: the whole model as one folder, and what its registered versions will say of themselves. The run then makes
the versions.

Artifact: `pipeline/` (what `pixsem generate --model FOLDER` takes), `card.json` (figures, lineage). Nothing in it
depends on what is registered already; gates are held where the versions are made (`pipelines/tracking/registering.py`).
"""

from __future__ import annotations

import json
from typing import Any

from pipelines.config.declared import sent
from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext, base_of, credit_of
from pipelines.store.artifacts import Artifact, Manifest, find_artifact
from pipelines.store.files import Store

INPUTS = ("train_tokenizer", "train_editor")


def run(context: StageContext) -> None:
    """Assemble the pipeline in one worker task."""
    manifests = {name: context.inputs[name].manifest.to_json() for name in INPUTS}
    args = {"manifests": manifests, "config": sent(context.config)}
    context.map_shards("pipelines.stages.generator.register:assemble", [ShardTask("pipeline", args)])


def attribution(store: Store, artifact: Artifact) -> str:
    """Return whose pictures a model was trained on, where `ingest` wrote it down; "" elsewhere."""
    waiting, seen, credits = [artifact], set(), dict[str, None]()
    while waiting:
        manifest = waiting.pop(0).manifest
        if base_of(manifest.stage) == "ingest" and (credit := credit_of(manifest)):
            credits[credit] = None
        for name, entry in manifest.inputs.items():
            found = None if name in seen else find_artifact(store, name, entry["fingerprint"])
            seen.add(name)
            if found is not None:
                waiting.append(found)
    return "; ".join(credits)


def assemble(context: ShardContext) -> ShardResult:
    """Write the pipeline, and the digests of what it is made of."""
    from pipelines.stages.generator.generator_setup import load_pipeline

    config = context.task.args["config"].open()
    manifests = context.task.args["manifests"]
    inputs = {name: Artifact(context.store, Manifest.from_json(value, name)) for name, value in manifests.items()}
    folder = context.file("pipeline/model_index.json").parent
    load_pipeline(context.store, config, inputs, context.scratch).save_pretrained(folder, safe_serialization=True)
    card: dict[str, Any] = {
        "parts": {name: value["digest"] for name, value in manifests.items()},
        "loader": "pixsem generate --model pipeline",
    }
    if credit := attribution(context.store, inputs["train_editor"]):
        card["attribution"] = credit
        (folder / "ATTRIBUTION.txt").write_text(
            f"Trained on pictures: {credit}\n", "utf-8"
        )  # it goes where the model goes
    context.file("card.json").write_text(json.dumps(card, indent=1, sort_keys=True), "utf-8")
    return ShardResult({"input": 1, "kept": 1, "dropped": 0, "failed": 0}, {})
