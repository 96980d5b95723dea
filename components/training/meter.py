"""How fast a training goes: throughput, time left, the share spent waiting for data, and model-FLOPs utilisation."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from components.training.machine import choose_precision, matrix_rate
from components.training.options import TrainingOptions

LOG = logging.getLogger(__name__)


class Meter:
    """Throughput, time left, and model-FLOPs utilisation against this machine's measured matrix rate."""

    def __init__(self, device: torch.device, world: int, options: TrainingOptions) -> None:
        self._options, self._device, self._world = options, device, world
        self._precision = choose_precision(options.precision, device)
        self.flops: float | None = None  # of a step of this rank
        self._started: float | None = None
        self._samples = 0
        self._waited = 0.0
        self._ended: Any = torch.cuda.Event() if device.type == "cuda" else None  # of the newest step, on the device
        self._peak = matrix_rate(device, self._precision)
        self._measured = 0.0  # seconds spent on measuring it again

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
        """Count the time of a block as spent waiting for data, unless a GPU was busy with the step before all along."""
        started = time.perf_counter()
        yield
        if self._ended is None or self._ended.query():
            self._waited += time.perf_counter() - started

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time of a block out of the rates."""
        started = time.perf_counter()
        yield
        if self._started is not None:
            self._started += time.perf_counter() - started

    def add(self, samples: int) -> None:
        """Count a step that is done, or on a GPU at least begun. The first one includes set-up and is left out of the
        rates.
        """
        if self._ended is not None:
            self._ended.record()
        if self._started is None:
            if self._ended is not None:
                self._ended.synchronize()  # once, so that the rates start with an idle GPU
            self._started = time.perf_counter()
            self._waited = 0.0
        else:
            self._samples += samples

    def figures(self, done: int, figures: dict[str, float]) -> dict[str, float]:
        """Return a step's figures with the rates since the first step of this process. The device has done all steps:
        the figures were read from it.
        """
        values = {**figures, "samples": done * self._options.batch}
        if self._started is None or not self._samples:
            return values
        passed = time.perf_counter() - self._started
        rate = self._samples / passed
        values["data_wait"] = self._waited / passed
        values["samples_per_second"] = rate
        values["seconds_left"] = (self._options.steps - done) * self._options.batch / rate
        if self.flops:
            achieved = self.flops * self._world / self._options.batch * rate / self._world
            self._measure_again(passed, achieved)
            if achieved <= self._peak:
                values["flops_utilisation"] = achieved / self._peak
            else:  # impossible: whenever the rate was measured, other work had the processors
                LOG.warning("no flops_utilisation at step %d: other work disturbed the measured matrix rate", done)
        return values

    def _measure_again(self, passed: float, achieved: float) -> None:
        """Measure the matrix rate once more, and keep the best: other work may have disturbed the measurements so far.

        They take 1 % of the training's time at most, except where its own rate is above theirs. A GPU is this worker's
        alone and may have no memory to spare: it is measured once.
        """
        if self._device.type == "cuda" or (self._measured > 0.01 * passed and achieved <= self._peak):
            return
        with self.paused():
            started = time.perf_counter()
            self._peak = max(self._peak, matrix_rate(self._device, self._precision, seconds=0.03))
            self._measured += time.perf_counter() - started
