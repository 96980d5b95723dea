"""Starting the workers of a training stage: one as a plain Ray task, several as Ray Train's group, again where they are
lost.
"""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import signal
import tempfile
import traceback
from typing import Any

from pipelines.cluster.resources import scaling_options, task_options, training_resources
from pipelines.config.declared import sent
from pipelines.config.schema import TrainingResources
from pipelines.errors import Stopped, UserError, one_line
from pipelines.stage import StageContext, base_of
from pipelines.store.artifacts import FileEntry, ShardRecord, Work
from pipelines.store.files import Store
from pipelines.store.runs import stop_requested
from pipelines.training.worker import PREEMPTED, RECORD, TrainingLaunch, train_here
from pipelines.workflow.shards import worker_environment

FAILURE = "failure.json"  # of the attempt that goes on: what a worker says of its own error


def train_in_workers(context: StageContext, builder: str, name: str, samples: int | None = None) -> None:
    """Train with the stage's workers, unless an earlier attempt finished; add the files, counts and `training.<name>`
    to the stage. `samples` that there are to train on; None: the index's.

    The last rates differ from attempt to attempt: they stand in the metrics and are no part of the artifact's files.
    """
    record = context.work.record(RECORD)
    if record is None:
        count = context.inputs["index"].manifest.metrics["index"]["train"] if samples is None else samples
        record = start_training(context, builder, count)
    context.work.store.remove_tree(f"{context.work.path}/checkpoints")  # of use only until the result is whole
    data = record.to_bytes()
    context.outputs += [*record.files, FileEntry(f"records/{RECORD}.json", len(data), hashlib.sha256(data).hexdigest())]
    context.counts.update(record.counts)
    live = f"runs/{context.run_id}/curves/{context.stage.name}.jsonl"
    rates: dict[str, Any] = {}
    if context.work.store.exists(live):
        last = json.loads(context.work.store.read_bytes(live).decode().splitlines()[-1])
        rates = {rate: last[rate] for rate in ("samples_per_second", "flops_utilisation", "data_wait") if rate in last}
    context.metrics["training"] = {name: {**record.metrics, **rates}}


def start_training(context: StageContext, builder: str, samples: int) -> ShardRecord:
    """Train to the end and return the record; raises `Stopped` where the run was stopped, `UserError` where it cannot
    be done.
    """
    resources = training_resources(context.config, context.stage.name)
    launch = TrainingLaunch(
        store=context.work.store.absolute_url,
        run=context.run_id,
        stage=context.stage.name,
        fingerprint=context.work.fingerprint,
        input_digests=context.work.input_digests,
        config=sent(context.config),
        manifests={name: artifact.manifest.to_json() for name, artifact in context.inputs.items()},
        seed=context.seed,
        builder=builder,
        samples=samples,
        threads=max(1, int(resources.cpus)),
        given=context.stage.given,
    )
    check_workers(context.work, context.stage.name, resources.workers)
    context.progress("starting the training workers")
    train = _train_in_group if resources.workers > 1 else _train_alone
    for attempt in range(1, resources.retries + 2):
        train(context, resources, launch)
        record = context.work.record(RECORD)
        if record is not None:
            return record
        if stop_requested(context.work.store, context.run_id):
            raise Stopped("training stopped with a checkpoint; go on with: pixsem resume")
        context.log.warning("the workers were told to stop (attempt %d); going on from their checkpoint", attempt)
    raise UserError("the training workers were stopped again and again from outside; go on with: pixsem resume")


def _train_alone(context: StageContext, resources: TrainingResources, launch: TrainingLaunch) -> None:
    """One worker has nobody to meet: it is a task in a process that the next training finds with its libraries
    loaded.
    """
    import ray

    task = ray.remote(train_alone).options(
        name=f"train-{context.stage.name}", max_retries=resources.retries,
        runtime_env={"env_vars": worker_environment(launch.threads)}, **task_options(resources),
    )  # fmt: skip
    try:
        ray.get(task.remote(launch))
    except ray.exceptions.RayError as error:
        context.log.error("training failed: %s", error)
        cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
        raise UserError(one_line(cause)) from None


def train_alone(launch: TrainingLaunch) -> None:
    """Train as the only worker, in the main thread of its process."""
    from components.training.machine import best_device

    before = signal.getsignal(signal.SIGTERM)
    _note_preemption()
    try:
        train_here(launch, 0, 1, best_device())
    finally:
        signal.signal(signal.SIGTERM, before)
        gc.collect()  # the engine is in reference cycles; the process stays


def _train_in_group(context: StageContext, resources: TrainingResources, launch: TrainingLaunch) -> None:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    with tempfile.TemporaryDirectory(dir=context.work.store.scratch()) as folder:
        trainer = TorchTrainer(
            train_worker,
            train_loop_config={"launch": launch},
            torch_config=_torch_config(),
            scaling_config=ScalingConfig(**scaling_options(resources)),
            run_config=RunConfig(  # type: ignore[call-arg]
                name=context.work.fingerprint,
                storage_path=folder,
                failure_config=FailureConfig(max_failures=resources.retries),
                worker_runtime_env={"env_vars": worker_environment(launch.threads)},
            ),
        )
        context.work.store.remove_tree(f"{context.work.path}/{FAILURE}")
        try:
            trainer.fit()
        except (ray.train.TrainingFailedError, ray.exceptions.RayError) as error:
            raise UserError(_failure(context.work) or one_line(error)) from None
        finally:
            # Until its reference cycles are collected, Ray's controller of this training and what helps it live on
            # beside the next.
            del trainer
            gc.collect()


def check_workers(work: Work, stage: str, workers: int) -> None:
    """Refuse at once to go on from checkpoints of another number of workers, which each hold their part of the
    state.
    """
    from components.training.checkpoints import STATE, parse_state

    folder = f"{work.path}/checkpoints"
    for name in reversed(work.store.folders(folder)):
        try:
            world = parse_state(work.store.read_bytes(f"{folder}/{name}/{STATE}"), name)["world"]
        except (OSError, ValueError):
            continue  # not whole: the workers pass it over too, and their log says so
        if world != workers:
            raise UserError(
                f"{stage} was stopped at a checkpoint of {world} workers ({work.store.path(folder)}/{name}), and "
                f"now has {workers}. Go on with execution.training.{base_of(stage)}.workers={world}, or start it anew "
                f"with --force {stage}."
            )
        return


def _failure(work: Work) -> str:
    """The words of a worker that failed by an error, not by being lost; empty where there are none."""
    path = f"{work.path}/{FAILURE}"
    return str(work.store.read_json(path)["text"]) if work.store.exists(path) else ""


def _note_preemption() -> None:
    """In a worker's main thread: SIGTERM asks for a checkpoint and an orderly end."""
    PREEMPTED.clear()
    signal.signal(signal.SIGTERM, lambda *_: PREEMPTED.set())


def _torch_config() -> Any:
    from ray.train.torch import TorchConfig

    class Backend(TorchConfig().backend_cls):  # type: ignore[misc]
        def on_training_start(self, worker_group: Any, backend_config: Any) -> None:
            super().on_training_start(worker_group, backend_config)
            worker_group.execute(_note_preemption)

    class PreemptibleTorchConfig(TorchConfig):
        @property
        def backend_cls(self) -> Any:
            return Backend

    return PreemptibleTorchConfig()


def train_worker(given: dict[str, TrainingLaunch]) -> None:
    """One worker of several: build, train, and on the first rank publish the result, its record last."""
    import ray.train

    launch = given["launch"]
    work = Work(Store(launch.store), launch.stage, launch.fingerprint, launch.input_digests)
    if text := _failure(work):
        raise UserError(text)  # Ray tries lost workers again; what failed by itself would only fail again
    import torch

    rank, world = ray.train.get_context().get_world_rank(), ray.train.get_context().get_world_size()
    device = ray.train.torch.get_device() if torch.cuda.is_available() else torch.device("cpu")
    try:
        train_here(launch, rank, world, device)
    except Exception as error:
        logging.getLogger(__name__).exception("rank %d failed", rank)
        work.store.write_json(f"{work.path}/{FAILURE}", {"text": one_line(error), "trace": traceback.format_exc()})
        raise
