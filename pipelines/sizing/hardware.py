"""What the stages would run on: precision, peak, memory and the store's room, and what does not fit into them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from pipelines.cluster.resources import resources_of
from pipelines.config.schema import Config
from pipelines.config.trainings import TRAININGS
from pipelines.sizing.assumptions import (
    CPU_UTILISATION,
    GPU_BANDWIDTH_GBPS,
    GPU_MEMORY_GB,
    GPU_PEAK_TFLOPS,
    GPU_UTILISATION,
    Assumptions,
)
from pipelines.sizing.stage_sizes import Plan, StageSize
from pipelines.stage import base_of
from pipelines.store.files import Store

GB = 1e9
PROCESS_BYTES = 1_000_000_000  # of a CPU worker itself: Python, torch, Ray
BATCHES = {
    "score": "the model's batch in measure.models",
    "recaption": "recaption.batch",
    "encode_latents": "latents.batch",
    "evaluate_generator": "evaluate_generator.batch",
}


class Hardware:
    """The workers of a configuration, as far as the configuration, the command line and this machine tell."""

    def __init__(self, config: Config, given: Assumptions) -> None:
        self.config, self.given = config, given
        self.used: dict[str, str] = {}  # peaks that hours were reckoned with, in words

    def place(self, row: StageSize, precision: str) -> Any:
        """Write into a row what it runs on and in which precision; return its resources."""
        resources = resources_of(self.config, row.stage)
        row.device = "GPU" if resources.gpus else "CPU"
        row.workers = resources.workers if hasattr(resources, "workers") else max(1, resources.actors)
        row.share = min(1.0, resources.gpus) if resources.gpus else 1.0  # stages share a GPU where each asks for less
        row.bf16 = self._bf16(precision, row.device)
        return resources

    @staticmethod
    def _bf16(precision: str, device: str) -> bool:
        """A GPU that is planned for is taken to multiply bf16 well; this machine's CPU is asked."""
        import torch

        from components.training.machine import choose_precision

        if precision == "auto" and device == "GPU":
            return True
        return choose_precision(precision, torch.device("cpu")) == "bf16"

    def time(self, row: StageSize) -> None:
        """Write a row's hours."""
        if not row.flops:
            return
        resources, given, kind = resources_of(self.config, row.stage), self.given, "bf16" if row.bf16 else "fp32"
        if row.device == "GPU":
            units, utilisation = resources.gpus, given.utilisation or GPU_UTILISATION
            peak = given.peak_tflops or GPU_PEAK_TFLOPS[kind]
            source = "--peak-tflops" if given.peak_tflops else "an A100's dense peak; --peak-tflops says another"
            name, worker = f"a GPU, {kind}", peak * units
        else:
            units, utilisation = resources.cpus, given.utilisation or CPU_UTILISATION
            threads = max(1, int(units))
            peak = worker = given.cpu_tflops or measured_tflops(threads, kind)
            source = "--cpu-tflops" if given.cpu_tflops else "measured here; --cpu-tflops says another"
            name = f"a CPU worker of {threads} threads, {kind}"
        self.used[name] = f"{utilisation:.0%} (--utilisation) of {peak:,.3g} TFLOP/s ({source})"
        rate = worker * 1e12 * utilisation
        seconds = (row.flops - row.written_flops) / rate
        if row.moved_bytes:
            share = units if row.device == "GPU" else 1.0
            bandwidth = share * self._bandwidth(row.device, max(1, int(resources.cpus)), utilisation) * 1e9
            seconds += max(row.written_flops / rate, row.moved_bytes / bandwidth)
        row.hours = seconds / row.workers / 3600
        row.device_hours = row.hours * row.workers * units

    def _bandwidth(self, device: str, threads: int, utilisation: float) -> float:
        """Return the GB/s that a worker reads while it writes texts."""
        given = self.given.bandwidth_gbps
        peak = given or (GPU_BANDWIDTH_GBPS if device == "GPU" else measured_bandwidth(threads))
        by_itself = "an A100's by its data sheet" if device == "GPU" else "measured here"
        source = "--bandwidth-gbps" if given else f"{by_itself}; --bandwidth-gbps says another"
        self.used[f"a {device}, texts token by token"] = (
            f"all weights, keys and values are read for each token of a batch, at {utilisation:.0%} (--utilisation) of "
            f"{peak:,.4g} GB/s ({source}); their FLOPs, where those take longer"
        )
        return peak * utilisation

    def fit(self, row: StageSize) -> None:
        """Add a problem to a row whose memory is not there."""
        if not row.memory:
            return
        row.host["process"] = PROCESS_BYTES
        if row.device == "GPU":
            what = "a GPU (--memory-gb)" if row.share == 1 else f"its share of {row.share:g} of a GPU (--memory-gb)"
            self._compare(row, row.memory, row.share * (self.given.memory_gb or GPU_MEMORY_GB) * GB, what)
            if self.given.worker_memory_gb:
                self._compare(row, row.host, *self._worker_memory(row))
            return
        row.memory |= row.host
        row.host = {}
        self._compare(row, row.memory, *self._worker_memory(row))

    @staticmethod
    def _compare(row: StageSize, parts: dict[str, int], limit: float, what: str) -> None:
        total, part = sum(parts.values()), max(parts, key=lambda name: parts[name])
        if total > limit:
            row.problems.append(
                f"a worker needs {total / GB:,.1f} GB of memory, and {what} has {limit / GB:,.1f}; most of it: {part}, "
                f"{parts[part] / GB:,.1f} GB. {remedy(row.stage, part)}"
            )

    def _worker_memory(self, row: StageSize) -> tuple[float, str]:
        if self.given.worker_memory_gb:
            return self.given.worker_memory_gb * GB, "it (--worker-memory-gb)"
        share = psutil.virtual_memory().total
        if self.config.cluster.address is None and row.workers > 1:
            return share / row.workers, f"each of {row.workers} workers on this machine (--worker-memory-gb)"
        return share, "this machine (--worker-memory-gb)"

    def store_problems(self, plan: Plan) -> list[str]:
        """Return what is wrong where the store has no room for it all."""
        totals = plan.totals()
        needed = totals["store_bytes"] + totals["working_bytes"]
        if self.given.store_gb:
            free, where = self.given.store_gb * GB, "there"
        else:
            store = Store(self.config.store)
            if not store.is_local:
                return []  # an object store has no end
            place = next(path for path in (Path(store.root), *Path(store.root).parents) if path.exists())
            free, where = psutil.disk_usage(str(place)).free, f"on the disk of {place}"
        if needed <= free:
            return []
        most = max(plan.stages, key=lambda stage: stage.store_bytes or 0)
        return [
            f"the store takes {needed / GB:,.1f} GB, and {free / GB:,.1f} are free {where} (--store-gb); most of "
            f"it is {most.stage}'s, {(most.store_bytes or 0) / GB:,.1f} GB. Name a larger place with store=..."
        ]


def remedy(stage: str, part: str) -> str:
    """Return what to do where a part of a stage's memory is too much."""
    stage = base_of(stage)
    if part == "index":
        return "Lower shuffle.full_gb: of data that is streamed no worker holds the order of all rows."
    if part == "decoded pictures":
        return "Lower execution.cache_gb."
    if part == "validation":
        return "Lower generator.validation_samples."
    if stage in TRAININGS:
        key = TRAININGS[stage]
        if part == "activations":
            return f"Raise {key}.accumulate, give it more workers, or set {key}.checkpoint_activations=true."
        return f"Raise {key}.zero_stage, or give it more workers."
    if stage in BATCHES:
        smaller = " Or name a smaller model." if part == "weights" else ""
        return f"Lower {BATCHES[stage]}.{smaller}"
    return "Lower evaluate_tokenizer.pictures, or run it where there is more."


@cache
def measured_tflops(threads: int, kind: str) -> float:
    """Return this machine's rate of matrix products with so many threads, in TFLOP/s: what training's utilisation is
    held against.
    """
    import torch

    from components.training.machine import matrix_rate

    return _with_threads(threads, lambda: matrix_rate(torch.device("cpu"), kind)) / 1e12


@cache
def measured_bandwidth(threads: int) -> float:
    """Return the rate at which so many threads read this machine's memory, in GB/s."""
    from components.training.machine import read_rate

    return _with_threads(threads, read_rate) / 1e9


def _with_threads(threads: int, measure: Callable[[], float]) -> float:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return measure()
    finally:
        torch.set_num_threads(before)
