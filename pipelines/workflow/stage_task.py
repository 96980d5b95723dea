"""What runs inside Ray for one stage: its function, with progress and a log, up to the point where it may be
committed.
"""

from __future__ import annotations

import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.cluster.resources import shard_resources
from pipelines.config.declared import SentConfig
from pipelines.errors import Stopped
from pipelines.stage import Stage, StageContext, load_function
from pipelines.store.artifacts import Artifact, FileEntry, Manifest, Work
from pipelines.store.files import Store
from pipelines.store.runs import now, save_progress
from pipelines.workflow.shards import ShardMap


class ProgressWriter:
    """Writes how far a stage is, at most twice a second, where the driver and `pixsem status` read it."""

    def __init__(self, store: Store, run_id: str, stage: str) -> None:
        self._store, self._run, self._stage = store, run_id, stage
        self._value: dict[str, Any] = {"started": now(), "done": 0, "total": 0, "samples": 0, "note": ""}
        self._written = 0.0
        self._before = 0
        self._samples_before = 0

    def __call__(self, done: int, total: int, samples: int, before: int | None = None, seconds: float = 0.0) -> None:
        """Tell shards done of total, and samples done. `before` shards were made by an earlier attempt and set no
        rate.
        """
        if before is not None:
            self._before, self._samples_before = before, samples
        fresh = done - self._before
        rate = (samples - self._samples_before) / seconds if seconds and fresh else None
        left = (total - done) * seconds / fresh if seconds and fresh else None
        self._value.update(done=done, total=total, samples=samples, rate=rate, left=left)
        self._write(force=before is not None or done == total)

    def training(self, step: int, steps: int, figures: dict[str, float]) -> None:
        """Tell how far training is, its rate, time left and loss."""
        self._value.update(
            done=step, total=steps, unit="steps", rate=figures.get("samples_per_second"),
            left=figures.get("seconds_left"), note=f"loss {figures['loss']:.4g}" if "loss" in figures else "",
        )  # fmt: skip
        self._write(force=True)

    def note(self, text: str) -> None:
        """Say in words what the stage is at."""
        self._value["note"] = text
        self._write(force=True)

    def _write(self, force: bool) -> None:
        if force or time.monotonic() - self._written > 0.5:
            save_progress(self._store, self._run, self._stage, self._value)
            self._written = time.monotonic()


@dataclass(frozen=True)
class StageLaunch:
    """What the driver hands to the Ray task of a stage."""

    store: str  # its absolute address
    run: str
    stage: Stage
    fingerprint: str
    config: SentConfig
    manifests: dict[str, dict[str, Any]]  # of the inputs
    external: dict[str, str]  # content digests of what it reads from outside the store


@dataclass(frozen=True)
class StageOutcome:
    """What a stage made, for its manifest."""

    counts: dict[str, int]
    metrics: dict[str, Any]
    files: list[FileEntry]


def run_stage(launch: StageLaunch) -> StageOutcome:
    """Run a stage's function on its work folder.

    Shards that an earlier attempt finished are not made again. The log is appended to
    `runs/<run>/logs/<stage>.log` when the stage ends, whichever way it ends.
    """
    store, stage, run_id = Store(launch.store), launch.stage, launch.run
    config = launch.config.open()
    inputs = {name: Artifact(store, Manifest.from_json(value, name)) for name, value in launch.manifests.items()}
    digests = {name: artifact.manifest.digest for name, artifact in inputs.items()}
    work = Work(store, stage.name, launch.fingerprint, {**digests, **launch.external})
    progress = ProgressWriter(store, run_id, stage.name)
    with StageLog(store, f"runs/{run_id}/logs/{stage.name}.log") as log:
        mapper: Any = None  # a training stage has workers of its own
        if not stage.trains:
            mapper = ShardMap(shard_resources(config, stage.name), config.execution.max_in_flight, progress)
        context = StageContext(stage, config, inputs, work, log, mapper, run_id, progress.note)
        log.info("stage %s %s, run %s", stage.name, launch.fingerprint, run_id)
        try:
            load_function(stage.function)(context)
        except Exception as error:
            if isinstance(error, Stopped):
                log.info("stopped: %s", error)
            else:
                log.exception("stage %s failed", stage.name)
            raise
        log.info("done: %s", context.counts)
    return StageOutcome(context.counts, context.metrics, context.outputs)


class StageLog:
    """A logger that writes to one file of the store: straight into it on a local disk, else when the stage ends."""

    def __init__(self, store: Store, path: str) -> None:
        self._store, self._path = store, path
        self._folder = None if store.is_local else tempfile.TemporaryDirectory()
        self._file = Path(self._folder.name) / "log" if self._folder else store.local(path)

    def __enter__(self) -> logging.Logger:
        if not self._folder:
            self._store.make_folder(self._path)
        if self._folder and self._store.exists(self._path):
            self._file.write_bytes(self._store.read_bytes(self._path))
        self._handler = logging.FileHandler(self._file, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._logger = logging.getLogger(f"pixsem.{Path(self._path).stem}")
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False
        self._logger.addHandler(self._handler)
        return self._logger

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self._handler)
        self._handler.close()
        if self._folder:
            self._store.write_bytes(self._path, self._file.read_bytes())
            self._folder.cleanup()
