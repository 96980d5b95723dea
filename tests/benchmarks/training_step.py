"""The published generator on one GPU: its training step with each change to it, and how long a picture takes.

    python -m tests.benchmarks.training_step [--tokens 64] [--steps 20] [--minutes 12]

Qwen2.5-0.5B's shape with the wide DDT head (preset=paper), random weights, random latents of 96 x 16 x 16 and texts of
`--tokens`, through the product's own loop: figures read at each step, or every 5; blocks compiled one by one, or the
whole pass as one graph. Shares are of the bf16 matrix rate measured in the same process. No change is begun after
`--minutes`. Needs a CUDA GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import itertools
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from components.generator.hub_decoders import KNOWN
from components.generator.layers import FusionLayer, HeadLayer
from components.generator.objective import FlowObjective
from components.generator.sampling import Guidance, Request, sample
from components.generator.transformer import DeepFusionTransformer
from components.training.loop import Hooks, Place, train
from components.training.machine import best_device, float8_problem, matrix_rate
from pipelines.config.compose import compose_config
from pipelines.stages.generator.generator_setup import flow_scheduler

CHANNELS, GRID = 96, 16
BATCHES = (192, 160, 128, 96, 64, 48, 32, 16)
EVERY = 5  # steps between figures, where they are not read at each


class Change(NamedTuple):
    """A row of the table."""

    name: str
    every: int = EVERY  # steps between readings of figures
    blocks: tuple[type[nn.Module], ...] = ()  # that are compiled
    edits: bool = False
    float8: bool = False


CHANGES = (
    Change("eager, figures read at each step", every=1),
    Change("eager"),
    Change("blocks compiled, figures read at each step", every=1, blocks=(FusionLayer, HeadLayer)),
    Change("blocks compiled", blocks=(FusionLayer, HeadLayer)),
    Change("blocks compiled, large products in float8", blocks=(FusionLayer, HeadLayer), float8=True),
    Change("edits, source in the sequence, blocks compiled", blocks=(FusionLayer, HeadLayer), edits=True),
    Change("the pass compiled as one graph", blocks=(FlowObjective,)),
)


class Job:
    """The published generator with random weights."""

    critic = None
    critic_from = 1.0

    def __init__(
        self, config: Any, backbone: dict[str, Any], device: torch.device, blocks: tuple[type[nn.Module], ...] = ()
    ) -> None:
        self.blocks = blocks
        torch.manual_seed(0)
        with torch.device(device):
            model = DeepFusionTransformer(backbone, CHANNELS, GRID, asdict(config.generator.model))
        self.module = FlowObjective(model, config.generator.flow)

    def evaluate(self, step: int, folder: Path) -> dict[str, float]:
        """Nothing to see."""
        return {}


class Enough(Exception):
    """The steps wanted are done: what ends the loop before it saves gigabytes."""


class RandomBatches:
    """The same batch at every step."""

    def __init__(self, batch: int, tokens: int, words: int, edits: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = (batch, CHANNELS, GRID, GRID)
        self._batch = {
            "latents": torch.randn(shape, generator=generator).half(),
            "ids": torch.randint(words, (batch, tokens), generator=generator),
            "text": torch.ones(batch, tokens, dtype=torch.bool),
        }
        if edits:
            sources = torch.randn(shape, generator=generator).half()
            self._batch |= {"sources": sources, "has_source": torch.ones(batch, dtype=torch.bool)}

    def batch(self, step: int) -> tuple[dict[str, Any], list[str]]:
        """Return it."""
        return self._batch, []


def flops_of_sample(job: Job, source: RandomBatches, device: torch.device) -> float:
    """Return the FLOPs of a sample, forward and backward."""
    batch = {name: value[:2].to(device) for name, value in source.batch(0)[0].items()}
    with FlopCounterMode(display=False) as counter, torch.autocast(device.type, torch.bfloat16):
        job.module(batch, 0.0, None)[0].backward()
    return counter.get_total_flops() / 2


def measure(config: Any, args: Any, device: torch.device, batch: int, change: Change) -> dict[str, float]:
    """Time the loop's steps. torch.OutOfMemoryError where they do not fit."""
    options = dataclasses.replace(
        config.generator.training,
        steps=args.steps + 1,
        batch=batch,
        accumulate=1,
        zero_stage=0,
        compile=bool(change.blocks),
        float8=change.float8,
        log_every=change.every,
        sample_every=0,
        checkpoint_every=args.steps + 1,
        checkpoint_activations=False,
    )
    moments: list[float] = []

    def log(step: int, figures: dict[str, float]) -> None:
        moments.append(time.perf_counter())
        if step == args.steps:
            raise Enough

    source = RandomBatches(batch, args.tokens, args.backbone["vocab_size"], change.edits)
    job = Job(config, args.backbone, device, change.blocks)
    flops = flops_of_sample(job, source, device)
    job.module.zero_grad()
    peak = 0
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Enough):
        train(job, source, options, 0, Path(folder), Place(device=device), Hooks(log=log))
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated()
    kept = moments[EVERY // change.every - 1 :]  # the first steps warm up
    seconds = statistics.median(b - a for a, b in itertools.pairwise(kept)) / change.every
    return {"seconds": seconds, "flops": flops * batch, "peak": peak, "first": moments[0] - started}


def largest(config: Any, args: Any, device: torch.device, change: Change) -> None:
    """Print the rates of the largest batch that fits."""
    for batch in args.batches:
        try:
            found = measure(config, args, device, batch, change)
        except torch.OutOfMemoryError:
            found = None
        gc.collect()
        torch._dynamo.reset()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        if found is None:
            continue
        rate = matrix_rate(device, "bf16")
        print(
            f"{change.name}, batch {batch}: {1 / found['seconds']:.2f} steps/s   {batch / found['seconds']:7.1f} "
            f"images/s   {found['flops'] / found['seconds'] / 1e12:6.1f} TFLOP/s   share of the matrix rate "
            f"{found['flops'] / found['seconds'] / rate:.3f}   {found['peak'] / 2**30:.1f} GiB   first figures after "
            f"{found['first']:.0f} s",
            flush=True,
        )
        return
    print(f"{change.name}: no batch fits")


@torch.inference_mode()
def sampling(config: Any, args: Any, device: torch.device) -> None:
    """Print how long a picture takes: bf16 weights, the preset's steps and guidance."""
    settings = config.generator
    model = Job(config, args.backbone, device).module.model.to(torch.bfloat16).eval()
    for count in (1, 16):
        ids = torch.randint(args.backbone["vocab_size"], (count, args.tokens), device=device)
        request = Request(ids, torch.ones_like(ids, dtype=torch.bool))
        noise = torch.randn(count, CHANNELS, GRID, GRID, device=device)
        times: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(3):
            for cached in times:
                started = time.perf_counter()
                made = sample(
                    model, flow_scheduler(settings.sampling_shift), noise, request, Guidance(settings.guidance_scale),
                    settings.sampling_steps, cached=cached,
                )  # fmt: skip
                assert bool(made.isfinite().all())
                times[cached].append(time.perf_counter() - started)
        cached, not_cached = (min(times[key]) for key in (True, False))
        print(
            f"sampling {count:2} at once, {settings.sampling_steps} steps, guidance {settings.guidance_scale}: "
            f"{cached:.2f} s, {cached / count:.3f} s a latent; with the cache {not_cached / cached:.2f} times as "
            "fast as without",
            flush=True,
        )


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=12.0)
    args = parser.parse_args()
    args.backbone, args.batches = KNOWN["Qwen/Qwen2.5-0.5B"], BATCHES
    device = best_device()
    if device.type != "cuda":
        sys.exit("this benchmark needs a CUDA GPU, and torch sees none")
    config = compose_config(["preset=paper", "source.path=nowhere"])
    rate = matrix_rate(device, "bf16") / 1e12
    print(
        f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}: matrices of 8192 at {rate:.0f} "
        "TFLOP/s in bf16"
    )
    ends = time.monotonic() + 60 * args.minutes
    sampling(config, args, device)
    for change in CHANGES:
        if time.monotonic() > ends:
            sys.exit(f"{args.minutes:g} minutes are over: not measured from here on: {change.name}")
        problem = float8_problem(device) if change.float8 else ""
        if problem:
            print(f"{change.name}: not measured: {problem}")
        else:
            largest(config, args, device, change)


if __name__ == "__main__":
    main()
