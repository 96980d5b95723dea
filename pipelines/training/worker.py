"""How a training stage runs: workers around `components.training.loop`, one record for the whole when it is done.

A stage gives a builder, `module:name`, that makes the task and its source in each worker (`start_workers.py` starts
them). Checkpoints lie in the stage's work folder under `checkpoints/`; a stopped, killed or failed stage goes on from
the newest one.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.config.declared import SentConfig
from pipelines.config.schema import Config
from pipelines.stage import derive_seed, fetched, load_function, publish
from pipelines.store.artifacts import Artifact, FileEntry, Manifest, ShardRecord, Work
from pipelines.store.files import Store, sha256_file
from pipelines.store.node_cache import NodeCache
from pipelines.store.runs import stop_requested
from pipelines.workflow.stage_task import ProgressWriter

RECORD = "train"
CURVE = "curve.jsonl"
SAMPLE_FOLDERS = ("samples", "snapshots")  # of what evaluations write as training goes on
SAMPLES = "samples"  # the record of these files, as long as training goes on: a store's listing may lag
STOP_POLL = 0.5  # seconds between readings of whether to stop
PREEMPTED = threading.Event()  # set by SIGTERM to this worker


@dataclass
class Built:
    """What a builder makes: what is trained, on what, how, and how the result is saved once it is."""

    task: Any
    source: Any
    options: Any  # TrainingOptions
    save: Callable[[Path], dict[str, Any]]  # writes the result's files into a folder; returns metrics
    samples: int | None = None  # that there are to train on; None: the index's


@dataclass(frozen=True)
class BuildContext:
    """What a builder is given in each worker."""

    config: Config
    inputs: dict[str, Artifact]
    seed: int
    store: Store
    scratch: Path
    rank: int
    world: int
    threads: int
    given: Mapping[str, Any] = field(default_factory=dict)  # of its stage: which sources serve it, with their weights

    @functools.cached_property
    def cache(self) -> NodeCache:
        """What gives the store's files, fetched ahead and shared with the node's other workers."""
        return NodeCache(self.store, int(self.config.execution.node_cache_gb * 2**30))


@dataclass(frozen=True)
class TrainingLaunch:
    """What a training stage hands to its workers."""

    store: str  # its absolute address
    run: str
    stage: str
    fingerprint: str
    input_digests: dict[str, str]
    config: SentConfig
    manifests: dict[str, dict[str, Any]]  # of the inputs
    seed: int
    builder: str  # `module:name`
    samples: int  # on the training side of the index
    threads: int  # of each worker
    given: Mapping[str, Any] = field(default_factory=dict)  # what the graph gave the stage


def train_here(launch: TrainingLaunch, rank: int, world: int, device: Any) -> None:
    """Train in this process as one of `world` workers. The process may have trained before: nothing is taken from its
    state.
    """
    import torch

    from components.training.loop import Hooks, Place, Result, train

    torch.set_num_threads(launch.threads)
    torch.manual_seed(launch.seed % 2**63)
    store = Store(launch.store)
    work = Work(store, launch.stage, launch.fingerprint, launch.input_digests)
    inputs = {name: Artifact(store, Manifest.from_json(value, name)) for name, value in launch.manifests.items()}
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(dir=store.scratch()) as folder, contextlib.ExitStack() as after:
        context = BuildContext(
            launch.config.open(), inputs, launch.seed, store, Path(folder), rank, world, launch.threads, launch.given
        )
        after.callback(context.cache.close)
        built: Built = load_function(launch.builder)(context)
        checkpoints = CheckpointStore(store, f"{work.path}/checkpoints", Path(folder))
        curve = Curve(store, work, launch.run, built.options.steps) if rank == 0 else None
        hooks = Hooks(should_stop=StopRequest(store, launch.run), part=checkpoints.part, bring=checkpoints.bring)
        if curve is not None:
            hooks.log = curve.log
            hooks.saved = checkpoints.saved
            hooks.samples_folder = lambda step: Path(tempfile.mkdtemp(dir=folder))
            hooks.evaluated = lambda made: note_samples(work, publish_tree(work, made))
        result = Result(0, True)  # a space that is only measured
        if built.task is not None:
            result = train(
                built.task, built.source, built.options, derive_seed(launch.seed, "steps"), checkpoints.fetch(),
                Place(rank, world, device), hooks,
            )  # fmt: skip
        if result.finished and curve is not None:
            out = Path(folder) / "out"
            out.mkdir()
            metrics = built.save(out)
            (out / CURVE).write_bytes(curve.text())
            samples = launch.samples if built.samples is None else built.samples
            _publish(store, work, out, samples, {**metrics, "steps": result.step})


def _publish(store: Store, work: Work, out: Path, samples: int, metrics: dict[str, Any]) -> None:
    files = publish_tree(work, out) + samples_in(work)
    counts = {"input": samples, "kept": samples, "dropped": 0, "failed": 0}
    record = ShardRecord(RECORD, files, counts, metrics)
    work.write_record(record)


def note_samples(work: Work, files: list[FileEntry]) -> None:
    """Write down that these files were put into the work as training went on."""
    nothing = {"input": 0, "kept": 0, "dropped": 0, "failed": 0}
    before = work.record(SAMPLES)
    known = {file.path: file for file in [*(before.files if before else []), *files]}
    work.write_record(ShardRecord(SAMPLES, list(known.values()), nothing, {}))


def samples_in(work: Work) -> list[FileEntry]:
    """Return what was put into the work as training went on: what was written down, and what is there beside it."""
    record = work.record(SAMPLES)
    known = {file.path: file for file in (record.files if record else [])}
    for kind in SAMPLE_FOLDERS:
        for name in work.store.files(f"{work.path}/{kind}"):
            if f"{kind}/{name}" not in known:
                with fetched(work.store, f"{work.path}/{kind}/{name}") as path:
                    entry = FileEntry(f"{kind}/{name}", path.stat().st_size, sha256_file(path))
                known[entry.path] = entry
    return [known[path] for path in sorted(known)]


def publish_tree(work: Work, folder: Path) -> list[FileEntry]:
    """Put every file of a local folder into the stage's work, in its place there, and return their entries."""
    return [
        publish(work, path, path.relative_to(folder).as_posix()) for path in sorted(folder.rglob("*")) if path.is_file()
    ]


class StopRequest:
    """True once this worker got SIGTERM or somebody asked the run to stop; reads the store at most twice a second."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store, self._run, self._read, self._stop = store, run_id, 0.0, False

    def __call__(self) -> bool:
        """Return whether to stop."""
        if PREEMPTED.is_set():
            return True
        if time.monotonic() - self._read > STOP_POLL:
            self._read = time.monotonic()
            self._stop = stop_requested(self._store, self._run)
        return self._stop


class Curve:
    """The run's figures by step. What depends on the data alone goes into the artifact, rates go to the run and to the
    eye.
    """

    RATES = ("samples_per_second", "seconds_left", "flops_utilisation", "data_wait")  # of this machine at this moment

    def __init__(self, store: Store, work: Work, run_id: str, steps: int) -> None:
        self._store, self._path, self._steps = store, f"{work.path}/{CURVE}", steps
        self._live = f"runs/{run_id}/curves/{work.stage}.jsonl"
        self._progress = ProgressWriter(store, run_id, work.stage)
        self._rows: dict[int, dict[str, float]] = {}
        if store.exists(self._path):
            for line in store.read_bytes(self._path).decode().splitlines():
                row = json.loads(line)
                self._rows[row.pop("step")] = row

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Take in the figures of a step; rows of later steps, of an attempt that got further than its checkpoint,
        go.
        """
        self._rows = {s: row for s, row in self._rows.items() if s < step}
        self._rows[step] = {name: value for name, value in figures.items() if name not in self.RATES}
        self._store.write_bytes(self._path, self.text(), durable=False)
        live = b"" if not self._store.exists(self._live) else self._store.read_bytes(self._live)
        line = json.dumps({"step": step, "time": time.time(), **figures}, sort_keys=True).encode()
        self._store.write_bytes(self._live, live + line + b"\n", durable=False)
        self._progress.training(step, self._steps, figures)

    def text(self) -> bytes:
        """The rows as JSON lines."""
        lines = [json.dumps({"step": s, **row}, sort_keys=True) for s, row in sorted(self._rows.items())]
        return "".join(f"{line}\n" for line in lines).encode()


class CheckpointStore:
    """Checkpoints in the store: in place on a file system. Else each worker fetches, before training, what it reads of
    the one that it resumes from, and puts its own files of each new one into the store.
    """

    def __init__(self, store: Store, path: str, scratch: Path) -> None:
        self._store, self._path = store, path
        self._folder = store.local(path) if store.is_local else scratch / "checkpoints"

    def fetch(self) -> Path:
        """Return the local folder of checkpoints, with the states of all of them."""
        from components.training.checkpoints import STATE

        if not self._store.is_local:
            for name in self._store.folders(self._path):
                if self._store.exists(f"{self._path}/{name}/{STATE}"):
                    self.bring(name, [STATE])
        return self._folder

    def bring(self, checkpoint: str, names: list[str]) -> None:
        """Fetch these files of a checkpoint. FileNotFoundError where one is missing; `StoreUnreachable`."""
        if self._store.is_local:
            return
        for name in names:
            path = f"{checkpoint}/{name}"
            (self._folder / path).parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._store.fetch(f"{self._path}/{path}", self._folder.parent), self._folder / path)

    def part(self, folder: Path, checkpoint: str, names: list[str]) -> None:
        """Move this worker's files of a checkpoint, which lie in `folder`, into the store."""
        if self._store.is_local:
            return
        for name in names:
            self._store.copy_in(folder / name, f"{self._path}/{checkpoint}/{name}")
            (folder / name).unlink()

    def saved(self, checkpoint: Path) -> None:
        """Put a checkpoint's state into the store, where all its files are, and drop those that are gone here."""
        from components.training.checkpoints import STATE

        if self._store.is_local:
            return
        self._store.copy_in(checkpoint / STATE, f"{self._path}/{checkpoint.name}/{STATE}")
        kept = {p.name for p in self._folder.iterdir()}
        for name in self._store.folders(self._path):
            if name not in kept:
                self._store.remove_tree(f"{self._path}/{name}")
