"""What stages ask Ray for, as their configuration says, and whether the nodes there are could ever give it. Imports no
Ray.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.config.node_selectors import selects
from pipelines.config.schema import Config, Resources, TrainingResources, TrainingStages
from pipelines.stage import Stage, base_of

GB = 2**30
EPSILON = 1e-6  # Ray counts in ten-thousandths


def shard_resources(config: Config, name: str) -> Resources:
    """Return what a shard of a stage asks for; all its instances ask for the same."""
    return getattr(config.execution.resources, base_of(name))


def training_resources(config: Config, name: str) -> TrainingResources:
    """Return what the workers of a training stage ask for."""
    return getattr(config.execution.training, base_of(name))


def resources_of(config: Config, name: str) -> Resources | TrainingResources:
    """Return what a stage's workers ask for."""
    trains = base_of(name) in TrainingStages.model_fields
    return training_resources(config, name) if trains else shard_resources(config, name)


def worker_resources(wanted: Resources | TrainingResources) -> dict[str, float]:
    """Return one worker's share of a node in Ray's names: CPU and GPU in pieces, memory in bytes; what is not asked for
    is left out.
    """
    share: dict[str, float] = {"CPU": wanted.cpus, "GPU": wanted.gpus, "memory": int(wanted.memory_gb * GB)}
    return {name: amount for name, amount in share.items() if amount}


def task_options(wanted: Resources | TrainingResources) -> dict[str, Any]:
    """Return the options of a shard's task, of an actor that makes shards, or of the one worker of a training."""
    share = worker_resources(wanted)
    options: dict[str, Any] = {"num_cpus": share["CPU"], "num_gpus": share.get("GPU", 0), **label_options(wanted)}
    return options | ({"memory": share["memory"]} if "memory" in share else {})


def driver_options(wanted: Resources | TrainingResources) -> dict[str, Any]:
    """Return the options of the task that drives a stage: it waits for the stage's workers, so it holds nothing; it
    runs where they may.
    """
    return {"num_cpus": 0, "num_gpus": 0, **label_options(wanted)}


def scaling_options(wanted: TrainingResources) -> dict[str, Any]:
    """Return the arguments of Ray Train's ScalingConfig."""
    labels = label_options(wanted)
    return {
        "num_workers": wanted.workers,
        "use_gpu": wanted.gpus > 0,
        "resources_per_worker": worker_resources(wanted),
        **labels,
    }


def label_options(wanted: Resources | TrainingResources) -> dict[str, dict[str, str]]:
    """Return Ray's label selector; nothing where every node will do."""
    return {"label_selector": dict(wanted.labels)} if wanted.labels else {}


@dataclass(frozen=True)
class Demand:
    """What a stage asks for, each of its instances the same: `workers` at the same time, each with a share of one node
    that its labels select.
    """

    stage: str
    key: str
    workers: int
    share: Mapping[str, float]
    labels: Mapping[str, str]

    @staticmethod
    def of(config: Config, stage: Stage) -> Demand:
        """Return a stage's demand. Shards that are tasks of their own need one place; lasting workers and training need
        all theirs.
        """
        wanted = resources_of(config, stage.name)
        workers = wanted.workers if isinstance(wanted, TrainingResources) else max(1, wanted.actors)
        part = "training" if stage.trains else "resources"
        return Demand(
            stage.base, f"execution.{part}.{stage.base}", workers, worker_resources(wanted), dict(wanted.labels)
        )

    def room(self, nodes: Iterable[Mapping[str, Any]]) -> int:
        """Return how many of the workers fit on empty nodes (of `ray.nodes()`)."""
        return sum(
            int(min(node["Resources"].get(name, 0) / amount for name, amount in self.share.items()) + EPSILON)
            for node in nodes
            if node["Alive"] and selects(self.labels, node["Labels"])
        )

    def __str__(self) -> str:
        each = resources_text(self.share) + (f" on a node labelled {labels_text(self.labels)}" if self.labels else "")
        return f"{self.workers} workers at once, each with {each}" if self.workers > 1 else each


def unmet(demands: Sequence[Demand], nodes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return {stage: what it asks for that these nodes could not give even if they were idle, and where that is
    configured}.
    """
    found = {}
    for demand in demands:
        room = demand.room(nodes)
        if room < demand.workers:
            has = f"there is room for {room}" if room else "no node has that"
            found[demand.stage] = f"asks for {demand}; {has} ({demand.key})"
    return found


def nodes_text(nodes: Iterable[Mapping[str, Any]]) -> str:
    """Say what the live nodes are: `2 nodes with 8 CPUs, 16 GB memory; 1 node with 4 CPUs, 1 GPU, 30 GB memory,
    pool=gpu`.
    """
    kinds = Counter(
        ", ".join(filter(None, [resources_text(node["Resources"]), labels_text(_own_labels(node["Labels"]))]))
        for node in nodes
        if node["Alive"]
    )
    return "; ".join(f"{n} node{'s' if n > 1 else ''} with {kind}" for kind, n in kinds.items()) or "no nodes"


def _own_labels(labels: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if key != "ray.io/node-id"}


def resources_text(share: Mapping[str, float]) -> str:
    """Say CPUs, GPUs and memory of Ray's resources."""
    words = [f"{share[name]:g} {name}{'' if share[name] == 1 else 's'}" for name in ("CPU", "GPU") if share.get(name)]
    return ", ".join(words + ([f"{share['memory'] / GB:.3g} GB memory"] if share.get("memory") else [])) or "no CPUs"


def labels_text(labels: Mapping[str, str]) -> str:
    """Say labels as key=value."""
    return " ".join(f"{key}={value}" for key, value in labels.items())
