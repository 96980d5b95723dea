"""The training loop (one worker, DeepSpeed, averaged weights, guard, prefetch) against a bare PyTorch loop of the same
objective.

    python -m tests.benchmarks.training_loop

Both train the PS-VAE objective of `preset=scenes` on the same batches in this process, in turns; the ratio of their
medians is printed.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from pathlib import Path

import torch

from components.tokenizer.objectives import TokenizerObjective
from components.tokenizer.spaces import SPACES
from components.training.loop import Hooks, Place, train
from components.training.machine import attention_kernels, choose_precision
from components.training.optimizers import build_optimizer, learning_rate
from pipelines.config.compose import compose_config
from tests.benchmarks.demo_space import demo_space

STEPS, SKIP, ROUNDS = 24, 6, 3


class Memory:
    """Batches that cost nothing."""

    def __init__(self, batch: int, size: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, generator=generator)

    def batch(self, step: int):
        """Return the same batch at every step."""
        return {"images": self.images}, ["memory"]


class Job:
    """The tokenizer's stage 2, fresh."""

    critic = None
    critic_from = 1.0
    blocks = ()

    def __init__(self, config) -> None:
        encoder, model = demo_space(config)
        settings = config.tokenizer
        losses = dataclasses.replace(settings.losses, perceptual=0.0)
        self.module = TokenizerObjective(
            model, encoder, SPACES["ps_vae"].training, losses, settings.model.latent_noise, None
        )

    def evaluate(self, step: int, folder: Path) -> dict[str, float]:
        """Nothing to see."""
        return {}


def bare(config, source: Memory, options) -> float:
    """Seconds per step of the plainest loop that does the same."""
    job = Job(config)
    optimizer = build_optimizer(job.module, options.optimizer)
    parameters = [p for p in job.module.parameters() if p.requires_grad]
    bf16 = choose_precision(options.precision, torch.device("cpu")) == "bf16"
    times = []
    for step in range(STEPS):
        started = time.perf_counter()
        batch, _ = source.batch(step)
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * learning_rate(step, STEPS, options.optimizer)
        with attention_kernels(torch.device("cpu")):  # the loop's own choice, so that the ratio tells the loop alone
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss, _, _ = job.module(batch, step / STEPS, None)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, options.optimizer.clip)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - started)
    return statistics.median(times[SKIP:])


def ours(config, source: Memory, options) -> float:
    """Seconds per step of the loop."""
    moments: list[float] = []
    hooks = Hooks(log=lambda step, figures: moments.append(time.perf_counter()))
    with tempfile.TemporaryDirectory() as folder:
        train(Job(config), source, options, 0, Path(folder), Place(), hooks)
    return statistics.median([b - a for a, b in zip(moments[SKIP:-1], moments[SKIP + 1 :], strict=True)])


def main() -> None:
    """Run both in turns."""
    config = compose_config(["preset=scenes"])
    options = dataclasses.replace(
        config.tokenizer.training, steps=STEPS, log_every=1, checkpoint_every=STEPS, sample_every=0
    )
    source = Memory(options.batch, config.image_size)
    ours(config, source, options)  # whatever is set up once
    pairs = [(bare(config, source, options), ours(config, source, options)) for _ in range(ROUNDS)]
    ratios = [a / b for a, b in pairs]
    for plain, loop in pairs:
        print(
            f"bare {options.batch / plain:7.1f} samples/s   loop {options.batch / loop:7.1f} samples/s   ratio "
            f"{plain / loop:.3f}"
        )
    print(f"loop against the bare loop: {statistics.median(ratios):.3f} (wanted: at least 0.95)")


if __name__ == "__main__":
    main()
