"""What float8 products do to the loss of a small generator, beside bf16 and fp32: the same weights, data and noise.

    PYTHONPATH=.:FOLDER python -m tests.benchmarks.fp8_loss [--steps 200] [--width 128] [--seeds 2]

Float8 is emulated by torchao (`pip install --no-deps --target FOLDER torchao`), so a CPU will do: values are rounded as
on a GPU and multiplied in higher precision. Latents are sums of patterns, one for each word of their text, with noise.
References: fp32, and how far another seed of fp32 is from it.
"""

from __future__ import annotations

import argparse
import statistics

import torch

from components.generator.layers import FusionLayer, HeadLayer
from components.generator.objective import FlowObjective
from components.generator.options import FlowOptions, FusionOptions, HeadOptions, SmallBackboneOptions
from components.generator.transformer import DeepFusionTransformer
from components.training.block_transforms import use_float8
from components.training.machine import attention_kernels
from components.training.optimizers import build_optimizer, learning_rate
from components.training.options import OptimizerOptions

CHANNELS, GRID, WORDS, LENGTH, BATCH, LAST = 16, 4, 32, 6, 32, 20
OPTIMIZER = OptimizerOptions(lr=1e-3)
CPU = torch.device("cpu")


def batch_of(seed: int, count: int = BATCH) -> dict[str, torch.Tensor]:
    """Return texts and their latents."""
    patterns = torch.randn(WORDS, CHANNELS, GRID, GRID, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(WORDS, (count, LENGTH), generator=generator)
    noise = torch.randn(count, CHANNELS, GRID, GRID, generator=generator)
    latents = patterns[ids].sum(1) / LENGTH**0.5 + 0.2 * noise
    return {"ids": ids, "text": torch.ones_like(ids, dtype=torch.bool), "latents": latents}


def trained(kind: str, seed: int, width: int, steps: int) -> tuple[list[float], float]:
    """Return the losses of all steps, and the validation loss in the same precision."""
    torch.manual_seed(seed)
    small = SmallBackboneOptions(width=width, depth=3, heads=4, kv_heads=4, hidden=2 * width)
    options = FusionOptions(head=HeadOptions(depth=2, width=2 * width, heads=4))
    module = FlowObjective(DeepFusionTransformer.fresh(small, WORDS, CHANNELS, GRID, options), FlowOptions())
    if kind == "fp8":
        use_float8(module, (FusionLayer, HeadLayer), smallest=width, emulate=True)
    optimizer = build_optimizer(module, OPTIMIZER)
    losses = []

    def cast() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=kind != "fp32")

    with attention_kernels(CPU):
        for step in range(steps):
            torch.manual_seed(1000 * seed + step)
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * learning_rate(step, steps, OPTIMIZER)
            with cast():
                loss, _, _ = module(batch_of(1 + step + steps * seed), step / steps, None)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), OPTIMIZER.clip)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        with cast():
            return losses, module.validation_loss(batch_of(10**9, 256))


def main() -> None:
    """Train in each precision from the same start."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    found: dict[str, list[tuple[list[float], float]]] = {"fp32": [], "bf16": [], "fp8": []}
    for seed in range(args.seeds):
        for kind, runs in found.items():
            runs.append(trained(kind, seed, args.width, args.steps))
            losses, validation = runs[-1]
            marks = [
                statistics.fmean(losses[at - LAST : at])
                for at in range(args.steps // 4, args.steps + 1, args.steps // 4)
            ]
            print(
                f"seed {seed} {kind}: " + " ".join(f"{m:.4f}" for m in marks) + f"; validation {validation:.5f}",
                flush=True,
            )
    reference = [validation for _, validation in found["fp32"]]
    for kind, runs in found.items():
        share = statistics.fmean(v / r - 1 for (_, v), r in zip(runs, reference, strict=True))
        print(f"{kind}: validation loss {share:+.2%} beside fp32")
    if args.seeds > 1:
        print(f"fp32 of other seeds: {(max(reference) - min(reference)) / min(reference):.2%} apart")


if __name__ == "__main__":
    main()
