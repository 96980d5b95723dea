"""The one training loop. It knows no model: a task brings the module and its losses, a source brings batches by step.

Whatever happens at a step depends on (seed, step, rank) alone, so an interrupted run goes on exactly where it was.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components.training.block_transforms import checkpoint_activations, compile_blocks, use_float8
from components.training.checkpoints import AVERAGE, Bring, Checkpoints, TrainingFailed, check_resumable
from components.training.copies import copy_to_host
from components.training.ema import WeightAverage
from components.training.engine import (
    build_engine,
    copy_engine,
    gathered,
    host_group,
    load_engine,
    set_learning_rate,
    set_up_process_group,
    take_step,
)
from components.training.guard import LOSS, NORM, Guard
from components.training.machine import attention_kernels, float8_problem
from components.training.meter import Meter
from components.training.optimizers import learning_rate
from components.training.options import TrainingOptions
from components.training.writer import CheckpointWriter

LOG = logging.getLogger(__name__)
Batch = dict[str, Tensor]
Losses = tuple[Tensor, dict[str, Tensor], tuple[Tensor, Tensor] | None]


class Task(Protocol):
    """What is trained."""

    module: nn.Module  # module(batch, progress, critic) -> Losses: loss, figures, and (real, fake) for the critic
    critic: nn.Module | None  # critic(real, fake) -> loss; critic.judge(pictures) -> logits
    critic_from: float  # share of the steps after which the critic takes part
    blocks: tuple[type[nn.Module], ...]  # classes that activation checkpointing recomputes and torch.compile compiles

    def evaluate(self, step: int, folder: Path) -> dict[str, float]:
        """The evaluation hook: write samples of the averaged weights below `folder`; return figures on held-out
        data.
        """


class Source(Protocol):
    """Where batches come from: any step's, for one rank, in any order."""

    def batch(self, step: int) -> tuple[Batch, list[str]]:
        """Return a step's batch of this rank, and the keys of its samples."""


@dataclass(frozen=True)
class Place:
    """Where this process stands among the workers."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass
class Hooks:
    """Callbacks of a training run. `part` and `saved` are called in the thread that writes checkpoints."""

    log: Callable[[int, dict[str, float]], None] = lambda step, figures: None
    samples_folder: Callable[[int], Path | None] = lambda step: None  # that the task's evaluation may write into
    evaluated: Callable[[Path], object] = lambda folder: None
    should_stop: Callable[[], bool] = lambda: False
    # On every rank: the folder that holds its files of a checkpoint, the checkpoint's name, and the files' names below
    # the folder. It may take them elsewhere.
    part: Callable[[Path, str, list[str]], None] = lambda folder, checkpoint, names: None
    saved: Callable[[Path], None] = lambda path: None  # on the first rank: the checkpoint is whole
    # On every rank, before training: makes files of a checkpoint be in its local folder, where its state is already.
    bring: Bring = lambda checkpoint, names: None


@dataclass(frozen=True)
class Result:
    """How training ended: steps done in all, and whether they are all of them."""

    step: int
    finished: bool


def train(
    task: Task, source: Source, options: TrainingOptions, seed: int, folder: Path, place: Place, hooks: Hooks
) -> Result:
    """Train to `options.steps`, from the newest checkpoint in `folder` where there is one.

    Ends early, with a checkpoint, where `hooks.should_stop` says so. At the end the task's module holds the averaged
    weights (on rank 0). Raises `TrainingFailed`.
    """
    set_up_process_group(place.rank, place.world, place.device)
    if options.float8:
        problem = float8_problem(place.device)
        if problem:
            raise TrainingFailed(f"{problem}.")
        use_float8(task.module, task.blocks)
    if options.compile:
        compile_blocks(task.module, task.blocks)
    if options.checkpoint_activations:
        checkpoint_activations(task.module, task.blocks)
    task.module.to(place.device).train()
    average = WeightAverage(task.module, options.ema) if place.rank == 0 else None
    engine = build_engine(task.module, options, place.world, place.device)
    critic = None
    if task.critic is not None:
        task.critic.to(place.device).train()
        critic = build_engine(task.critic, options.of_critic, place.world, place.device)
    checkpoints, group = Checkpoints(folder, options.keep), host_group(place.world)
    writer = CheckpointWriter(
        checkpoints, place.rank, place.world, host_group(place.world), hooks.part, hooks.saved
    )  # of a group of its own: it agrees in its thread while the loop does in this one
    guard = Guard(place.rank, place.world, group)
    run = _Run(task, options, seed, place, checkpoints, engine, critic, average, hooks, guard, writer, group)
    step = run.restore()
    with writer:
        step = run.steps(source, step)
    if step == options.steps:
        with gathered(engine, write=True):
            if average is not None:
                average.copy_to_module()
    return Result(step, step == options.steps)


@dataclass
class _Run:
    task: Task
    options: TrainingOptions
    seed: int
    place: Place
    checkpoints: Checkpoints
    engine: Any
    critic: Any
    average: WeightAverage | None
    hooks: Hooks
    guard: Guard
    writer: CheckpointWriter
    group: Any  # of all ranks, with tensors on the host

    def steps(self, source: Source, first: int) -> int:
        """Take the steps from `first`; return how many are done in all."""
        options, meter = self.options, Meter(self.place.device, self.place.world, self.options)
        saved = first
        # The thread that makes the next batch computes with one thread: a second team of them, waiting, would hold the
        # step's cores.
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as ahead:
            waiting = ahead.submit(self._batch, source, first) if first < options.steps else None
            for step in range(first, options.steps):
                assert waiting is not None
                with meter.waiting():
                    batch, keys = waiting.result()
                if step + 1 < options.steps:
                    waiting = ahead.submit(self._batch, source, step + 1)  # while this one is worked on
                totals = self._step(step, batch, keys, meter)
                self.writer.check()
                done = step + 1
                logged = done % options.log_every == 0 or done == options.steps
                hooked = bool(options.sample_every) and (done % options.sample_every == 0 or done == options.steps)
                if logged or hooked:
                    self.guard.look()
                    figures = self._mean(totals)
                    evaluated: dict[str, float] = {}
                    if hooked:
                        with meter.paused():
                            evaluated = self._evaluate(done)
                    if self.place.rank == 0 and (logged or evaluated):
                        self.hooks.log(done, meter.figures(done, figures) | evaluated)
                stop = self._agree(self.hooks.should_stop())
                if stop or done % options.checkpoint_every == 0 or done == options.steps:
                    self.save(done)
                    saved = done
                if stop and done < options.steps:
                    return done
        assert saved == options.steps or first == options.steps
        return options.steps

    def _batch(self, source: Source, step: int) -> tuple[Batch, list[str]]:
        """A step's batch; for a GPU in pinned memory, from which a copy does not stop the host."""
        batch, keys = source.batch(step)
        if self.place.device.type == "cuda":
            batch = {name: value.pin_memory() for name, value in batch.items()}
        return batch, keys

    def _step(self, step: int, batch: Batch, keys: list[str], meter: Meter) -> dict[str, Tensor]:
        options = self.options
        progress = step / options.steps
        share = learning_rate(step, options.steps, options.optimizer)
        set_learning_rate(self.engine, share)
        torch.manual_seed(step_seed(self.seed, step, self.place.rank))
        judging = self.critic is not None and progress >= self.task.critic_from
        if judging:
            self.critic.module.requires_grad_(False)  # it judges here, and learns below
        totals: dict[str, Tensor] = {}
        pairs: list[tuple[Tensor, Tensor]] = []
        for part in _split(batch, options.accumulate):
            moved = {name: value.to(self.place.device, non_blocking=True) for name, value in part.items()}
            with attention_kernels(self.place.device):
                if meter.flops is None and options.zero_stage < 3:
                    meter.count_flops(self.engine.module, (moved, progress, None))
                    torch.manual_seed(step_seed(self.seed, step, self.place.rank))
                loss, figures, pair = self.engine(moved, progress, self.critic.module if judging else None)
                self.guard.note(LOSS, step, keys, loss)
                self.engine.backward(loss)
            norm = take_step(self.engine, options.optimizer.clip)
            if norm is not None:
                self.guard.note(NORM, step, keys, norm)
            if pair is not None:
                pairs.append(pair)
            for name, value in {"loss": loss, **figures}.items():
                totals[name] = totals.get(name, 0) + value.detach().float() / options.accumulate
        if judging:
            totals |= self._critic_step(pairs, share, step, keys)
        with gathered(self.engine):
            if self.average is not None:
                self.average.update(step)
        meter.add(options.batch)
        return totals

    def _critic_step(
        self, pairs: list[tuple[Tensor, Tensor]], share: float, step: int, keys: list[str]
    ) -> dict[str, Tensor]:
        self.critic.module.requires_grad_(True)
        set_learning_rate(self.critic, share)
        total = torch.zeros((), device=self.place.device)
        for real, fake in pairs:
            loss = self.critic(real.detach(), fake.detach())
            self.guard.note(LOSS, step, keys, loss)
            self.critic.backward(loss)
            norm = take_step(self.critic, self.options.optimizer.clip)
            if norm is not None:
                self.guard.note(NORM, step, keys, norm)
            total = total + loss.detach().float() / len(pairs)
        return {"critic": total}

    def _mean(self, totals: dict[str, Tensor]) -> dict[str, float]:
        """A step's figures as numbers, each the mean of all ranks'."""
        values = torch.stack([value.to(self.place.device).reshape(()) for value in totals.values()])
        if self.place.world > 1:
            torch.distributed.all_reduce(values)
            values /= self.place.world
        return dict(zip(totals, values.tolist(), strict=True))

    def _agree(self, stop: bool) -> bool:
        """True on every rank where it is true on one."""
        if self.place.world == 1:
            return stop
        flag = torch.tensor([float(stop)])
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX, group=self.group)
        return bool(flag.item())

    def _evaluate(self, step: int) -> dict[str, float]:
        """The task's evaluation of the averaged weights. ZeRO 3 splits the weights, so there is none."""
        if self.average is None or self.options.zero_stage == 3:
            return {}
        folder = self.hooks.samples_folder(step)
        if folder is None:
            return {}
        self.task.module.eval()
        with self.average.applied(), torch.no_grad(), torch.random.fork_rng(), attention_kernels(self.place.device):
            figures = self.task.evaluate(step, folder)
        self.task.module.train()
        self.hooks.evaluated(folder)
        return figures

    def save(self, step: int) -> None:
        """Copy what a checkpoint holds, and begin to write it; every rank calls it."""
        self.guard.look()
        self.writer.wait()
        aside = self.checkpoints.aside(step)
        if self.place.rank == 0:
            self.checkpoints.clear_aside()
            aside.mkdir(parents=True)
        self._barrier()
        files = copy_engine(self.engine, aside, "model")
        if self.critic is not None:
            files += copy_engine(self.critic, aside, "critic")
        if self.average is not None:
            path = aside / AVERAGE
            files.append((path, partial(save_file, copy_to_host(self.average.values), path)))
        self.writer.start(step, files, self._identity())

    def restore(self) -> int:
        """Go back to the newest checkpoint; return its step, 0 where there is none."""
        found = self.checkpoints.latest(self.place.rank, self._gather, self.hooks.bring)
        if found is None:
            return 0
        path, state = found
        check_resumable(state, self._identity(), path)
        load_engine(self.engine, path, "model")
        if self.critic is not None:
            load_engine(self.critic, path, "critic")
        if self.average is not None:
            self.average.values.update(
                {name: value.to(self.place.device) for name, value in load_file(path / AVERAGE).items()}
            )
        LOG.info("resumed from %s", path)
        return int(state["step"])

    def _identity(self) -> dict[str, Any]:
        return {
            "seed": self.seed, "world": self.place.world, "zero_stage": self.options.zero_stage,
            "batch": self.options.batch, "steps": self.options.steps, "critic": self.critic is not None,
        }  # fmt: skip

    def _gather(self, value: Any) -> list[Any]:
        """Every rank's value, on every rank."""
        values = [value] * self.place.world
        if self.place.world > 1:
            torch.distributed.all_gather_object(values, value, group=self.group)
        return values

    def _barrier(self) -> None:
        if self.place.world > 1:
            torch.distributed.barrier()


def step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of everything random at a step of a rank."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}/{rank}".encode()).digest()[:8], "big") >> 1


def _split(batch: Batch, parts: int) -> list[Batch]:
    if parts == 1:
        return [batch]
    pieces = {name: value.chunk(parts) for name, value in batch.items()}
    return [{name: piece[i] for name, piece in pieces.items()} for i in range(parts)]
