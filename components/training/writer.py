"""Checkpoints written beside training: each rank writes and hashes its own files in a thread, from copies."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch.distributed as dist

from components.training.checkpoints import Checkpoints, TrainingFailed, describe

LOG = logging.getLogger(__name__)
Files = list[tuple[Path, Callable[[], object]]]  # each file, and what writes it
Keep = Callable[[Path, str, list[str]], None]  # as `Hooks.part`


class CheckpointWriter:
    """Writes one checkpoint at a time. A context: at its end the last one is whole, or its error is raised."""

    def __init__(
        self, checkpoints: Checkpoints, rank: int, world: int, group: Any, keep: Keep, saved: Callable[[Path], None]
    ) -> None:
        """`group`: of all ranks, on the host, and used by nobody else. `keep` and `saved` are called in the thread."""
        self._checkpoints, self._rank, self._world, self._group = checkpoints, rank, world, group
        self._keep, self._saved = keep, saved
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            self.wait()  # a training that failed, too, leaves its last checkpoint whole
        except TrainingFailed as failed:
            if error is None:
                raise
            LOG.error("%s", failed)
        finally:
            self._pool.shutdown()

    def start(self, step: int, files: Files, state: dict[str, Any]) -> None:
        """Begin to write this rank's files of a step's checkpoint, which is wholly copied."""
        self.wait()
        self._writing = self._pool.submit(self._write, step, files, state)

    def check(self) -> None:
        """Raise what a finished write failed by."""
        if self._writing is not None and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Wait for the checkpoint that is being written; raise `TrainingFailed` where it could not be."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(self, step: int, files: Files, state: dict[str, Any]) -> None:
        part: dict[str, list[Any]] = {}
        error = ""
        try:
            part = self._write_part(step, files)
        except Exception as problem:  # whatever it is, every rank is to know
            LOG.exception("the checkpoint of step %d", step)
            error = str(problem) or repr(problem)
        told = [(part, error)] * self._world
        if self._world > 1:
            dist.all_gather_object(told, (part, error), group=self._group)
        for rank, (_, text) in enumerate(told):
            if text:
                raise self._failed(step, rank, text)
        if self._rank == 0:
            try:
                self._commit(step, {name: entry for part, _ in told for name, entry in part.items()}, state)
            except Exception as problem:
                raise self._failed(step, 0, str(problem) or repr(problem)) from problem

    def _write_part(self, step: int, files: Files) -> dict[str, list[Any]]:
        """Write this rank's files, put them where all ranks find them, and return their entries."""
        aside = self._checkpoints.aside(step)
        part: dict[str, list[Any]] = {}
        while files:
            path, write = files.pop()
            path.parent.mkdir(parents=True, exist_ok=True)
            write()
            del write  # its copy goes as soon as it is written
            part |= describe(aside, path)
        self._keep(aside, self._checkpoints.path(step).name, sorted(part))
        return part

    def _commit(self, step: int, files: dict[str, list[Any]], state: dict[str, Any]) -> None:
        aside = self._checkpoints.aside(step)
        names = [path.relative_to(aside).as_posix() for path in sorted(aside.rglob("*")) if path.is_file()]
        rest = [name for name in names if name not in files]  # DeepSpeed's scripts
        for name in rest:
            files |= describe(aside, aside / name)
        self._keep(aside, self._checkpoints.path(step).name, rest)
        self._saved(self._checkpoints.commit(step, dict(sorted(files.items())), state))

    def _failed(self, step: int, rank: int, text: str) -> TrainingFailed:
        return TrainingFailed(
            f"rank {rank} could not write the checkpoint of step {step} to {self._checkpoints.folder}: {text}. "
            "The one before it counts. Make room or mend what is in the way, then go on with: pixsem resume"
        )
