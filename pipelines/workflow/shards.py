"""The shard map: a stage's shards as bounded Ray tasks, each published whole with a record written last."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from pipelines.cluster.resources import task_options
from pipelines.config.schema import Resources
from pipelines.errors import UserError, one_line
from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext, load_function, publish
from pipelines.store.artifacts import ShardRecord, Work, check_counts
from pipelines.store.files import Store


def worker_environment(threads: int) -> dict[str, str]:
    """Environment of a worker that runs models: its threads, and an allocator that keeps its pages."""
    from components.training.allocator import allocator_environment

    library = Path(ray.__file__).parent / "core" / "libjemalloc.so"
    return {"OMP_NUM_THREADS": str(threads), **allocator_environment(library)}


@dataclass(frozen=True)
class ShardCall:
    """All that a Ray task needs to make one shard."""

    store: str  # its absolute address
    stage: str
    fingerprint: str
    input_digests: dict[str, str]
    function: str  # `module:name`
    task: ShardTask
    seed: int | None  # None: the stage did not declare `seed`


def make_shard(call: ShardCall) -> ShardRecord:
    """Run one shard function in a folder of its own and publish what it wrote. Its record is written last."""
    store, task = Store(call.store), call.task
    work = Work(store, call.stage, call.fingerprint, call.input_digests)
    with tempfile.TemporaryDirectory(dir=store.scratch(), prefix=f"{task.name}-") as folder:
        out = Path(folder) / "out"
        out.mkdir()
        context = ShardContext(task, call.seed, out, store, Path(folder) / "in")
        result = load_function(call.function)(context)
        assert isinstance(result, ShardResult)
        check_counts(result.counts, f"{work.stage}, shard {task.name}")
        local = sorted(p for p in out.rglob("*") if p.is_file())
        files = [publish(work, path, path.relative_to(out).as_posix()) for path in local]
    record = ShardRecord(task.name, files, result.counts, result.metrics)
    work.write_record(record)
    return record


class ShardWorker:
    """A lasting worker that makes one shard after another, so that what a shard function loads is loaded once."""

    def make(self, call: ShardCall) -> ShardRecord:
        """Make one shard."""
        return make_shard(call)


class ShardMap:
    """Runs the missing shards of a stage, at most `window` at once, and tells how far it is."""

    def __init__(self, resources: Resources, max_in_flight: int, report: Any) -> None:
        self.resources = resources
        self.window = max_in_flight or max(2, int(2 * ray.cluster_resources().get("CPU", 1)))
        self.report = report

    def _submitter(self, shards: int) -> Callable[..., Any]:
        """Return what submits one shard: as a task of its own, or to the lasting workers in turn."""
        wanted = self.resources
        options = task_options(wanted)
        if not wanted.actors:
            return ray.remote(make_shard).options(max_retries=wanted.retries, **options).remote
        options |= {"max_restarts": wanted.retries, "max_task_retries": wanted.retries}
        options["runtime_env"] = {"env_vars": worker_environment(max(1, int(wanted.cpus)))}
        remote: Any = ray.remote(ShardWorker)
        workers = [remote.options(**options).remote() for _ in range(min(wanted.actors, max(1, shards)))]
        turns = itertools.cycle(workers)
        return lambda call: next(turns).make.remote(call)

    def __call__(self, context: StageContext, function: str, tasks: list[ShardTask]) -> list[ShardRecord]:
        """Make the missing shards and return the records of all, in the order of `tasks`."""
        records = context.work.records()
        wanted = {task.name for task in tasks}
        done = {name: record for name, record in records.items() if name in wanted}
        missing = [task for task in tasks if task.name not in done]
        samples = sum(record.counts.get("input", 0) for record in done.values())
        context.log.info("%d shards, %d of them made before", len(tasks), len(done))
        self.report(done=len(done), total=len(tasks), samples=samples, before=len(done))
        work = context.work
        submit = self._submitter(len(missing))
        queue = iter(missing)
        running: dict[Any, ShardTask] = {}
        errors: list[tuple[str, BaseException]] = []
        started = time.monotonic()
        while True:
            while len(running) < self.window and not errors and (task := next(queue, None)) is not None:
                seed = context.shard_seed(task.name)
                call = ShardCall(
                    work.store.absolute_url, work.stage, work.fingerprint, work.input_digests, function, task, seed
                )
                running[submit(call)] = task
            if not running:
                break
            ready, _ = ray.wait(list(running), timeout=1.0)
            for reference in ready:
                task = running.pop(reference)
                try:
                    record = ray.get(reference)
                except ray.exceptions.RayError as error:
                    cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
                    context.log.error("shard %s failed: %s", task.name, error)
                    errors.append((task.name, cause))
                    continue
                done[task.name] = record
                samples += record.counts.get("input", 0)
                context.log.info("shard %s: %s", task.name, record.counts)
                self.report(done=len(done), total=len(tasks), samples=samples, seconds=time.monotonic() - started)
        if errors:
            name, cause = errors[0]
            more = f" ({len(errors) - 1} more shards failed)" if len(errors) > 1 else ""
            raise UserError(f"shard {name}: {one_line(cause)}{more}") from None
        return [done[task.name] for task in tasks]
