"""Evaluations of models by `pixsem evaluate`: logged on a registered version in MLflow, and put side by side."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.config.compose import flatten
from pipelines.store.artifacts import Artifact, find_artifact, list_artifacts
from pipelines.tracking.figures import measured
from pipelines.tracking.registering import GENERATOR, TOKENIZER, Registrar, evaluation_digest
from pipelines.tracking.run_log import open_tracker

if TYPE_CHECKING:
    from components.registry.model_versions import Registry, Version
    from pipelines.config.schema import Config
    from pipelines.store.files import Store
    from pipelines.store.runs import Run

STAGE = "evaluate_model"
GROUPS = ("text_to_image", "editing")
SCHEME = "models:/"
MARKER = "model_index.json"
DIGEST = "pixsem.digest"  # of a version: its weights
ENCODER = "train_encoder"
OF_RUNS = {GENERATOR: ("evaluate_tokenizer", "evaluate_generator"), TOKENIZER: ("evaluate_tokenizer",)}
# Figures that a table for people leaves out.
DETAIL = re.compile(r"\.(chance|ceiling|by_\w+|of_\w+|checkpoints|latent|unseen|seen)\.|_of_reconstructions$|_batch$")


def registry_of(config: Config, store: Store) -> Registry:
    """Return the registry of a configuration."""
    return Registrar(open_tracker(config, store, dict(os.environ)), store).registry


def bring_version(config: Config, store: Store, model: str) -> dict[str, str]:
    """Return the `model` and `digest` of a registered version for an evaluation's section, with its files in the
    store's `downloads/`: workers need no registry.
    """
    registry = registry_of(config, store)
    version = registry.find(model)
    digest = version.tags.get(DIGEST) or f"{version.name}-{version.version}"
    folder = f"downloads/models/{digest}"
    if not store.exists(f"{folder}/{MARKER}"):
        with tempfile.TemporaryDirectory(dir=store.scratch()) as scratch:
            files = registry.download(version, scratch)
            found = sorted(path.relative_to(files) for path in files.rglob("*") if path.is_file())
            for path in sorted(found, key=lambda path: str(path) == MARKER):  # the marker last: then all are there
                store.put_file(files / path, f"{folder}/{path.as_posix()}")
    return {"model": f"{SCHEME}{version.name}/{version.version}", "digest": digest}


def own_image_text(config: Config, store: Store) -> str:
    """Return the fingerprint of the `train_encoder` in the store whose image-text model judges: that of the champion,
    so that all models have the same judge, else the newest; empty where there is none.
    """
    made = [artifact for _, _, artifact in list_artifacts(store, ENCODER) if isinstance(artifact, Artifact)]
    if len(made) > 1:
        champion = registry_of(config, store).champion(GENERATOR)
        known = _made_by(champion).get(ENCODER) if champion else None
        theirs = [artifact for artifact in made if artifact.manifest.fingerprint == known]
        made = theirs or sorted(made, key=lambda artifact: artifact.manifest.created)
    return made[-1].manifest.fingerprint if made else ""


def _made_by(version: Version) -> dict[str, str]:
    """Return the fingerprint of each stage that a version was made by."""
    return dict(json.loads(version.tags.get("pixsem.fingerprints", "{}")))


def log_evaluation(config: Config, store: Store, run: Run) -> None:
    """Log an evaluation's figures on the registered version that was judged, with the data and the protocol. Models
    that are not registered have them in their run alone. Doing it again changes nothing.
    """
    asked, state = config.evaluate_model, run.stages[STAGE]
    artifact = find_artifact(store, STAGE, state.fingerprint)
    assert asked is not None and artifact is not None, "a run of pixsem evaluate that is done"
    if not asked.model.startswith(SCHEME):
        return
    tracker = open_tracker(config, store, dict(os.environ))
    registry = Registrar(tracker, store).registry
    version = registry.find(asked.model)
    tag = f"pixsem.evaluation.{state.fingerprint}"
    if tag in version.tags:
        return
    mlflow_run = state.mlflow_run or run.mlflow_run
    metrics = artifact.manifest.metrics
    numbers = {group: metrics.get(group, {}) for group in GROUPS}
    # MLflow's databases keep no logged model for a version: it is found by its digest.
    model_id = tracker.find_model(DIGEST, version.tags[DIGEST]) if DIGEST in version.tags else None
    for group, protocol in metrics["protocol"].items():
        name = asked.benchmark or group
        digest = protocol.get("prompts_digest") or artifact.manifest.digest
        if mlflow_run:
            tracker.log_dataset(mlflow_run, name, digest, str(asked.prompts or asked.pairs), "evaluation", protocol)
            if model_id:
                tracker.log_model_metrics(mlflow_run, model_id, {group: numbers[group]}, name, digest)
    digests = {group: protocol.get("prompts_digest") for group, protocol in metrics["protocol"].items()}
    about = {"benchmark": asked.benchmark, "artifact": artifact.path, "run": run.id, "prompts_digest": digests}
    registry.retag(version, {tag: json.dumps(about, sort_keys=True)})


def compare(config: Config, store: Store, models: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each figure that one of the models has: {data, figure, values: {model: {value, interval}}}.

    Figures are those of every evaluation in the store, the newest where data and figure are the same, and of a
    registered version those of its own run; where that is in another store, those that its gates were held to.
    """
    registry = registry_of(config, store) if any(model.startswith(SCHEME) for model in models) else None
    found: dict[tuple[str, str], dict[str, Any]] = {}
    made = [artifact for _, _, artifact in list_artifacts(store, STAGE) if isinstance(artifact, Artifact)]
    made.sort(key=lambda artifact: artifact.manifest.created)
    for model in models:
        name = model
        if registry is not None and model.startswith(SCHEME):
            version = registry.find(model)
            name = f"{SCHEME}{version.name}/{version.version}"
            own = [
                find_artifact(store, stage, _made_by(version).get(stage, "")) for stage in OF_RUNS.get(version.name, ())
            ]
            for artifact in filter(None, own):
                data = f"held out {evaluation_digest(artifact.manifest)[:8]}"
                for figure, value in _values(artifact.manifest.metrics):
                    found.setdefault((data, figure), {})[model] = value
            if not any(own):
                for figure, number in version.figures.items():
                    found.setdefault(("held out", figure), {})[model] = {"value": number, "interval": None}
        for artifact in made:
            if artifact.manifest.config[STAGE]["model"] in (name, os.path.abspath(name)):
                for data, figure, value in _figures(artifact):
                    found.setdefault((data, figure), {})[model] = value
    return [{"data": data, "figure": figure, "values": values} for (data, figure), values in sorted(found.items())]


def _figures(artifact: Artifact) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield what each figure of an evaluation was measured on, its name, and its value with its interval."""
    metrics, asked = artifact.manifest.metrics, artifact.manifest.config[STAGE]
    for group, key in zip(GROUPS, ("prompts", "pairs"), strict=True):
        digest = artifact.manifest.external.get(f"files of {asked[key]}", "")[:8]
        data = asked["benchmark"] or f"{str(asked[key]).rpartition('/')[2]} {digest}"
        for name, value in _values({group: metrics.get(group, {}), "intervals": metrics["intervals"]}):
            yield data, name, value


def _values(metrics: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, value in flatten(measured(metrics)).items():
        if isinstance(value, int | float):
            yield name, {"value": value, "interval": metrics.get("intervals", {}).get(name)}


def compare_text(rows: Sequence[dict[str, Any]], models: Sequence[str]) -> str:
    """Return the rows as a table."""
    from rich.console import Console
    from rich.table import Table

    if not rows:
        return "neither was evaluated yet: pixsem evaluate MODEL --benchmark NAME"
    shown = [row for row in rows if not DETAIL.search(row["figure"])]
    table = Table("data", "figure", *models)
    for row in shown:
        table.add_row(row["data"], row["figure"], *(_cell(row["values"].get(model)) for model in models))
    more = f"\n{len(rows) - len(shown):,} more (chance, ceilings, groups): --json" if len(shown) < len(rows) else ""
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip() + more


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return "-"
    interval = found["interval"]
    return f"{found['value']:.4g}" + (f" ({interval[0]:.4g} to {interval[1]:.4g})" if interval else "")
