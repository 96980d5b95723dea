"""The generator's speed: the loop on real latent shards against a bare loop, its wait for data, its FLOPs, and sampling
with and without the cache.

    python -m tests.benchmarks.generator

The model and mixture of `preset=scenes` on random latents in Arrow shards, in this process; ratios are medians of
turns.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from components.data.latent_reader import LatentDataset
from components.data.latents import LatentSpec, LatentWriter
from components.generator.objective import FlowObjective
from components.generator.sampling import Guidance, Request, sample
from components.generator.text import encode_texts, train_text_tokenizer
from components.generator.transformer import DeepFusionTransformer
from components.training.loop import Hooks, Place, train
from components.training.machine import attention_kernels, choose_precision
from components.training.optimizers import build_optimizer, learning_rate
from pipelines.config.compose import compose_config
from pipelines.stages.generator.generator_setup import flow_scheduler
from pipelines.stages.generator.latent_batches import LatentSource, Samples
from pipelines.stages.mixing import Draw
from tests.unit.pipelines.stages.generator.latent_rows import latent_rows

CHANNELS, GRID, ROWS = 96, 4, 2000
STEPS, SKIP, ROUNDS = 24, 6, 3
CPU = torch.device("cpu")


class Job:
    """The editor of `preset=scenes`, fresh."""

    critic = None
    critic_from = 1.0
    blocks = ()

    def __init__(self, config, words: int) -> None:
        torch.manual_seed(0)
        settings = config.generator
        model = DeepFusionTransformer.fresh(settings.small, words, CHANNELS, GRID, settings.model)
        self.module = FlowObjective(model, settings.flow)

    def evaluate(self, step: int, folder: Path) -> dict[str, float]:
        """Nothing to see."""
        return {}


def shards(folder: Path) -> Samples:
    """Write random latents with captions as long as the scenes'."""
    generator = np.random.default_rng(0)
    words = [f"word{n}" for n in range(60)]
    texts = [" ".join(generator.choice(words, generator.integers(6, 20))) for _ in range(ROWS)]
    values = generator.standard_normal((2, ROWS, CHANNELS, GRID, GRID)).astype(np.float16)
    for kind in ("captions", "edits"):
        spec = LatentSpec(CHANNELS, GRID, GRID, "t", (0.0,) * CHANNELS, (1.0,) * CHANNELS, kind)
        with LatentWriter(folder / f"{kind}.arrow", spec) as writer:
            keys = [f"{kind}{n}" for n in range(ROWS)]
            writer.add(keys, texts, values[0], values[1] if kind == "edits" else None, [False] * ROWS)
    dataset = LatentDataset([folder / "captions.arrow", folder / "edits.arrow"], "t")
    each = [(text,) for text in texts]
    return Samples(*(latent_rows(folder / f"rows{shard}", dataset, shard, each) for shard in range(2)))


def bare(config, words: int, source: LatentSource, options) -> float:
    """Seconds per step of the plainest loop that does the same, its batches made beforehand."""
    job = Job(config, words)
    optimizer = build_optimizer(job.module, options.optimizer)
    bf16 = choose_precision(options.precision, CPU) == "bf16"
    batches = [source.batch(step)[0] for step in range(STEPS)]
    times = []
    for step, batch in enumerate(batches):
        started = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * learning_rate(step, STEPS, options.optimizer)
        with attention_kernels(CPU):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss, _, _ = job.module(batch, step / STEPS, None)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(job.module.parameters(), options.optimizer.clip)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - started)
    return statistics.fmean(times[SKIP:])


def ours(config, words: int, source: LatentSource, options) -> tuple[float, dict[str, float]]:
    """Seconds per step of the loop, and its own figures."""
    moments: list[float] = []
    told: dict[str, float] = {}

    def log(step: int, figures: dict[str, float]) -> None:
        moments.append(time.perf_counter())
        told.update(figures)

    with tempfile.TemporaryDirectory() as folder:
        train(Job(config, words), source, options, 0, Path(folder), Place(), Hooks(log=log))
    return (moments[-2] - moments[SKIP - 1]) / (STEPS - 1 - SKIP), told


def sampler(config, tokenizer) -> None:
    """Sample with the prefix read once and at every step."""
    model = Job(config, len(tokenizer)).module.model.eval()
    texts = ["word1 word2 word3 word4 word5 word6 word7 word8 word9 word10 word11 word12"] * 32
    ids, text = encode_texts(tokenizer, texts, 48)
    noise = torch.randn(32, CHANNELS, GRID, GRID, generator=torch.Generator().manual_seed(0))
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(ROUNDS + 1):
        for cached in times:
            started = time.perf_counter()
            sample(model, flow_scheduler(3.0), noise, Request(ids, text), Guidance(2.0), 20, cached=cached)
            times[cached].append(time.perf_counter() - started)
    ratio = statistics.median(times[False][1:]) / statistics.median(times[True][1:])
    print(f"sampling, 32 pictures, 20 steps, 12 words: with the cache {ratio:.2f} times as fast as without")


def main() -> None:
    """Measure everything."""
    config = compose_config(["preset=scenes"])
    options = dataclasses.replace(
        config.generator.editing, steps=STEPS, log_every=1, checkpoint_every=STEPS, sample_every=0
    )
    with tempfile.TemporaryDirectory() as folder:
        samples = shards(Path(folder))
        tokenizer = train_text_tokenizer([text for texts in samples.captions.texts for text in texts])
        source = LatentSource(samples, tokenizer, 48, options.batch, config.generator.edit_share, 0, Draw(0))
        ours(config, len(tokenizer), source, options)  # whatever is set up once
        ratios = []
        for _ in range(ROUNDS):
            plain = bare(config, len(tokenizer), source, options)
            loop, told = ours(config, len(tokenizer), source, options)
            ratios.append(plain / loop)
            print(
                f"bare {options.batch / plain:6.1f} samples/s   loop {options.batch / loop:6.1f} samples/s   "
                f"ratio {ratios[-1]:.3f}   waiting for data {told['data_wait']:.2%}   FLOPs utilisation "
                f"{told['flops_utilisation']:.2f}"
            )
        print(f"loop against the bare loop: {statistics.median(ratios):.3f} (wanted: at least 0.95)")
        sampler(config, tokenizer)


if __name__ == "__main__":
    main()
