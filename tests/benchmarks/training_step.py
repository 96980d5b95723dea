"""The published generator on one GPU: its training step with and without torch.compile, and how long a picture takes.

    python -m tests.benchmarks.training_step [--tokens 64] [--steps 14]

Qwen2.5-0.5B's shape with the wide DDT head (preset=paper), random weights, random latents of 96 x 16 x 16 and texts of
`--tokens`, through the product's own loop. Shares are of the bf16 matrix rate measured in the same process. Needs a
CUDA GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from components.generator.hub_decoders import KNOWN
from components.generator.layers import FusionLayer, HeadLayer
from components.generator.objective import FlowObjective
from components.generator.sampling import Guidance, Request, sample
from components.generator.transformer import DeepFusionTransformer
from components.training.loop import Hooks, Place, train
from components.training.machine import best_device, matrix_rate
from pipelines.config.compose import compose_config
from pipelines.stages.generator.generator_setup import flow_scheduler

CHANNELS, GRID = 96, 16
BATCHES = (192, 160, 128, 96, 64, 48, 32, 16)
SKIP = 4  # steps before rates are taken


class Job:
    """The published generator with random weights."""

    critic = None
    critic_from = 1.0
    blocks = (FusionLayer, HeadLayer)

    def __init__(self, config: Any, backbone: dict[str, Any], device: torch.device) -> None:
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


def measure(config: Any, args: Any, device: torch.device, batch: int, compiled: bool, edits: bool) -> dict[str, float]:
    """Time the loop's steps. torch.OutOfMemoryError where they do not fit."""
    options = dataclasses.replace(
        config.generator.training,
        steps=args.steps + 1,
        batch=batch,
        accumulate=1,
        zero_stage=0,
        compile=compiled,
        log_every=1,
        sample_every=0,
        checkpoint_every=args.steps + 1,
        checkpoint_activations=False,
    )
    moments: list[float] = []

    def log(step: int, figures: dict[str, float]) -> None:
        moments.append(time.perf_counter())
        if step == args.steps:
            raise Enough

    source = RandomBatches(batch, args.tokens, args.backbone["vocab_size"], edits)
    job = Job(config, args.backbone, device)
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
    seconds = statistics.median(b - a for a, b in zip(moments[SKIP:], moments[SKIP + 1 :], strict=False))
    return {"seconds": seconds, "flops": flops * batch, "peak": peak, "first": moments[0] - started}


def largest(config: Any, args: Any, device: torch.device, compiled: bool, edits: bool) -> None:
    """Print the rates of the largest batch that fits."""
    for batch in args.batches:
        try:
            found = measure(config, args, device, batch, compiled, edits)
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
            f"{'edits, source in the sequence' if edits else 'text to image'}, "
            f"{'compiled' if compiled else 'eager':8} batch {batch:4}: {batch / found['seconds']:7.1f} images/s   "
            f"{found['flops'] / found['seconds'] / 1e12:6.1f} TFLOP/s   share of the matrix rate "
            f"{found['flops'] / found['seconds'] / rate:.3f}   {found['peak'] / 2**30:.1f} GiB   first step after "
            f"{found['first']:.0f} s",
            flush=True,
        )
        return
    print("no batch fits")


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
    parser.add_argument("--steps", type=int, default=14)
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
    for compiled, edits in ((False, False), (True, False), (True, True)):
        largest(config, args, device, compiled, edits)
    sampling(config, args, device)


if __name__ == "__main__":
    main()
