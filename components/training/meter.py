"""How fast a training goes: throughput, time left, the share spent waiting for data, and model-FLOPs utilisation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from components.training.machine import choose_precision, matrix_rate
from components.training.options import TrainingOptions


class Meter:
    """Throughput, time left, and model-FLOPs utilisation against this machine's measured matrix rate."""

    def __init__(self, device: torch.device, world: int, options: TrainingOptions) -> None:
        self._options, self._device, self._world = options, device, world
        self._precision = choose_precision(options.precision, device)
        self.flops: float | None = None  # of a step of this rank
        self._started: float | None = None
        self._samples = 0
        self._waited = 0.0
        self._peak = matrix_rate(device, self._precision)

    def count_flops(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        """Count the FLOPs of a pass, forward and backward, on the side: under the counter kernels are others, and their
        last bits too.
        """
        from torch.utils.flop_counter import FlopCounterMode

        trained = [p for p in module.parameters() if p.requires_grad]
        with (
            torch.compiler.set_stance("force_eager"),  # the counter sees no compiled kernel
            FlopCounterMode(display=False) as counter,
            torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision == "bf16"),
        ):
            loss, _, _ = module(*arguments)
            torch.autograd.grad(loss, trained, allow_unused=True)
        self.flops = float(counter.get_total_flops()) * self._options.accumulate

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time of a block as spent waiting for data."""
        started = time.perf_counter()
        yield
        self._waited += time.perf_counter() - started

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time of a block out of the rates."""
        started = time.perf_counter()
        yield
        if self._started is not None:
            self._started += time.perf_counter() - started

    def add(self, samples: int) -> None:
        """Count a finished step. The first one includes set-up and is left out of the rates."""
        if self._started is None:
            self._started = time.perf_counter()
            self._waited = 0.0
        else:
            self._samples += samples

    def figures(self, done: int, figures: dict[str, Tensor]) -> dict[str, float]:
        """Return a step's figures as numbers, with the rates since the first step of this process."""
        values = {name: float(value) for name, value in figures.items()}
        values["samples"] = done * self._options.batch
        if self._started is None or not self._samples:
            return values
        passed = time.perf_counter() - self._started
        rate = self._samples / passed
        values["data_wait"] = self._waited / passed
        values["samples_per_second"] = rate
        values["seconds_left"] = (self._options.steps - done) * self._options.batch / rate
        if self.flops:
            per_sample = self.flops * self._world / self._options.batch
            values["flops_utilisation"] = per_sample * rate / (self._peak * self._world)
        return values
