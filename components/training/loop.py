"""The one training loop. It knows no model: a task brings the module and its losses, a source brings batches by step.

Whatever happens at a step depends on (seed, step, rank) alone, so an interrupted run goes on exactly where it was.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components.training.block_transforms import checkpoint_activations, compile_blocks
from components.training.checkpoints import Checkpoints, TrainingFailed, check_resumable
from components.training.ema import WeightAverage
from components.training.engine import (
    build_engine,
    gathered,
    load_engine,
    save_engine,
    set_learning_rate,
    set_up_process_group,
)
from components.training.machine import attention_kernels
from components.training.meter import Meter
from components.training.optimizers import learning_rate
from components.training.options import TrainingOptions

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
    """Callbacks of a training run."""

    log: Callable[[int, dict[str, float]], None] = lambda step, figures: None
    samples_folder: Callable[[int], Path | None] = lambda step: None  # that the task's evaluation may write into
    evaluated: Callable[[Path], object] = lambda folder: None
    should_stop: Callable[[], bool] = lambda: False
    saved: Callable[[Path], None] = lambda path: None


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
    run = _Run(task, options, seed, place, Checkpoints(folder, options.keep), engine, critic, average, hooks)
    step = run.restore()
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

    def steps(self, source: Source, first: int) -> int:
        """Take the steps from `first`; return how many are done in all."""
        options, meter = self.options, Meter(self.place.device, self.place.world, self.options)
        saved = first
        # The thread that makes the next batch computes with one thread: a second team of them, waiting, would hold the
        # step's cores.
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as ahead:
            waiting = ahead.submit(source.batch, first) if first < options.steps else None
            for step in range(first, options.steps):
                assert waiting is not None
                with meter.waiting():
                    batch, keys = waiting.result()
                if step + 1 < options.steps:
                    waiting = ahead.submit(source.batch, step + 1)  # while this one is worked on
                figures = self._step(step, batch, keys, meter)
                done = step + 1
                evaluated: dict[str, float] = {}
                if options.sample_every and (done % options.sample_every == 0 or done == options.steps):
                    with meter.paused():
                        evaluated = self._evaluate(done)
                if self.place.rank == 0 and (done % options.log_every == 0 or done == options.steps or evaluated):
                    self.hooks.log(done, meter.figures(done, figures) | evaluated)
                stop = self._agree(self.hooks.should_stop())
                if stop or done % options.checkpoint_every == 0 or done == options.steps:
                    self.save(done)
                    saved = done
                if stop and done < options.steps:
                    return done
        assert saved == options.steps or first == options.steps
        return options.steps

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
                self._guard(loss, step, keys)
                self.engine.backward(loss)
            self.engine.step()
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
        total = torch.zeros(())
        for real, fake in pairs:
            loss = self.critic(real.detach(), fake.detach())
            self._guard(loss, step, keys)
            self.critic.backward(loss)
            self.critic.step()
            total = total + loss.detach().float().cpu() / len(pairs)
        return {"critic": total}

    def _guard(self, loss: Tensor, step: int, keys: list[str]) -> None:
        if not math.isfinite(loss.item()):
            shown = ", ".join(keys[:8]) + (f" and {len(keys) - 8} more" if len(keys) > 8 else "")
            raise TrainingFailed(
                f"the loss is {loss.item()} at step {step + 1} on rank {self.place.rank}, in the batch of {shown}. "
                "The last checkpoint is from before it. Lower the learning rate, or check these samples."
            )

    def _agree(self, stop: bool) -> bool:
        """True on every rank where it is true on one."""
        if self.place.world == 1:
            return stop
        flag = torch.tensor([float(stop)], device=self.place.device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
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
        """Write a checkpoint; every rank calls it."""
        aside = self.checkpoints.aside(step)
        if self.place.rank == 0:
            self.checkpoints.clear_aside()
            aside.mkdir(parents=True)
        self._barrier()
        save_engine(self.engine, aside, "model")
        if self.critic is not None:
            save_engine(self.critic, aside, "critic")
        if self.average is not None:
            save_file(self.average.values, aside / "average.safetensors")
        self._barrier()
        if self.place.rank == 0:
            self.hooks.saved(self.checkpoints.commit(step, self._identity()))
        self._barrier()

    def restore(self) -> int:
        """Go back to the newest checkpoint; return its step, 0 where there is none."""
        found = self.checkpoints.latest()
        if found is None:
            return 0
        path, state = found
        check_resumable(state, self._identity(), path)
        load_engine(self.engine, path, "model")
        if self.critic is not None:
            load_engine(self.critic, path, "critic")
        if self.average is not None:
            self.average.values.update(
                {name: value.to(self.place.device) for name, value in load_file(path / "average.safetensors").items()}
            )
        LOG.info("resumed from %s", path)
        return int(state["step"])

    def _identity(self) -> dict[str, Any]:
        return {
            "seed": self.seed, "world": self.place.world, "zero_stage": self.options.zero_stage,
            "batch": self.options.batch, "steps": self.options.steps, "critic": self.critic is not None,
        }  # fmt: skip

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
