"""The shard map: a stage's shards as bounded Ray tasks, each published whole with a record written last."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray

from pipelines.artifacts import ShardRecord, Work, check_counts
from pipelines.config.schema import Resources
from pipelines.errors import UserError, one_line
from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext, derive_seed, load_function, publish
from pipelines.store import Store


def make_shard(store_url: str, work_args: dict[str, Any], function: str, task: ShardTask, seed: int) -> ShardRecord:
    """Run one shard function in a folder of its own and publish what it wrote. Its record is written last."""
    store = Store(store_url)
    work = Work(store, **work_args)
    with tempfile.TemporaryDirectory(dir=store.scratch(), prefix=f"{task.name}-") as folder:
        out = Path(folder) / "out"
        out.mkdir()
        context = ShardContext(task, seed, out, store, Path(folder) / "in")
        result = load_function(function)(context)
        assert isinstance(result, ShardResult)
        check_counts(result.counts, f"{work.stage}, shard {task.name}")
        local = sorted(p for p in out.rglob("*") if p.is_file())
        files = [publish(work, path, path.relative_to(out).as_posix()) for path in local]
    record = ShardRecord(task.name, files, result.counts, result.metrics)
    store.write_json(f"{work.path}/records/{task.name}.json", asdict(record))
    return record


class ShardMap:
    """Runs the missing shards of a stage, at most `window` at once, and tells how far it is."""

    def __init__(self, resources: Resources, max_in_flight: int, report: Any) -> None:
        self.resources = resources
        self.window = max_in_flight or max(2, int(2 * ray.cluster_resources().get("CPU", 1)))
        self.report = report

    def __call__(self, context: StageContext, function: str, tasks: list[ShardTask]) -> list[ShardRecord]:
        """Make the missing shards and return the records of all, in the order of `tasks`."""
        records = context.work.records()
        wanted = {task.name for task in tasks}
        done = {name: record for name, record in records.items() if name in wanted}
        missing = [task for task in tasks if task.name not in done]
        samples = sum(record.counts.get("input", 0) for record in done.values())
        context.log.info("%d shards, %d of them made before", len(tasks), len(done))
        self.report(done=len(done), total=len(tasks), samples=samples, before=len(done))
        work_args = {
            "stage": context.work.stage,
            "fingerprint": context.work.fingerprint,
            "input_digests": context.work.input_digests,
        }
        remote = ray.remote(make_shard).options(
            num_cpus=self.resources.cpus,
            max_retries=self.resources.retries,
            **({"memory": int(self.resources.memory_gb * 2**30)} if self.resources.memory_gb else {}),
        )
        queue = iter(missing)
        running: dict[Any, ShardTask] = {}
        errors: list[tuple[str, BaseException]] = []
        started = time.monotonic()
        while True:
            while len(running) < self.window and not errors and (task := next(queue, None)) is not None:
                seed = derive_seed(context.seed, task.name)
                running[remote.remote(context.work.store.absolute_url, work_args, function, task, seed)] = task
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
