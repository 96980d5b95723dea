"""Memory and checkpoint size of a training, by arithmetic: weights, gradients, optimizer and
average under ZeRO.

The rules are DeepSpeed's as `engine.py` sets it up (fp32 weights; under bf16 the products alone are cast), and are held
against real engines by the tests. What a pass needs beside them is trace.py's.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from components.training.optimizers import split_parameters
from components.training.options import TrainingOptions

FP32 = 4  # bytes of a weight, a gradient, a state
BUCKET = 500_000_000  # elements of a reduction bucket, DeepSpeed's default


@dataclass(frozen=True)
class Sizes:
    """Parameters of what a worker trains with."""

    matrices: int  # trained, hidden matrices
    others: int  # trained, the rest
    frozen: int = 0  # in the trained module
    beside: int = 0  # frozen and no part of it: a teacher's, a perceptual distance's

    @property
    def trained(self) -> int:
        """All that is trained."""
        return self.matrices + self.others

    @classmethod
    def of(cls, module: nn.Module, beside: tuple[nn.Module, ...] = ()) -> Sizes:
        """Count a module's."""
        matrices, others = split_parameters(module)
        frozen = sum(p.numel() for p in module.parameters() if not p.requires_grad)
        still = sum(p.numel() for part in beside for p in part.parameters())
        return cls(sum(p.numel() for p in matrices), sum(p.numel() for p in others), frozen, still)


def memory(sizes: Sizes, options: TrainingOptions, world: int, bf16: bool, bucket: int = BUCKET) -> dict[str, int]:
    """Return the bytes of each part on the first rank, which alone keeps the average. `bucket`: elements.

    Parts: `weights`, `gradients`, `optimizer` (its states), `master` (ZeRO's own copy of the weights it updates),
    `buckets` (in which gradients are reduced; or more, where the optimizer's step needs more), `average`. Each is its
    largest; they need not come at the same moment, so their sum is an upper bound.
    """
    n, zero = sizes.trained, options.zero_stage
    share = 1 if zero == 0 else world
    states = _states(sizes, options)
    weights, gradients = n + sizes.frozen, n
    buckets = bucket * FP32 * (2 if bf16 else 1)  # one for each type that is communicated
    if zero == 0:
        buckets = min(n, bucket) * FP32  # the copy in which gradients are reduced
    elif zero == 1:
        gradients += bucket * (n > bucket)  # the copy of a bucket while it is reduced
    elif zero == 2:
        # That copy, and a rank's part: once of earlier buckets, and once of earlier micro-batches.
        gradients = min(n, bucket) + -(-n // world) * ((n > bucket) + (options.accumulate > 1))
    elif zero == 3:
        # A rank's part, and for the average all of it at once. Without casts, autograd keeps what forward gathered.
        weights = -(-weights // world) + (n if bf16 else 2 * n)
        gradients = -(-n // world)
        buckets = bucket * (FP32 + (2 if bf16 else 0))
    if options.optimizer.kind == "muon" and zero:
        gradients += 2 * -(-n // world)  # DeepSpeed's Muon turns them in copies
        states = 2 * n  # and keeps its momentum twice
    # Ours iterates on all matrices of one shape at once: their updates and, in fp32, four as large. As if all were of
    # one shape, and square.
    step = 5 * sizes.matrices if options.optimizer.kind == "muon" and not zero else 0
    return {
        "weights": (weights + sizes.beside) * FP32,
        "gradients": gradients * FP32,
        "optimizer": -(-states // share) * FP32,
        "master": -(-n // share) * FP32 if zero else 0,
        "buckets": max(buckets, step * FP32),
        "average": n * FP32,
    }


def checkpoint_bytes(sizes: Sizes, options: TrainingOptions, world: int = 1) -> int:
    """Return the bytes of one checkpoint, all ranks' files together: trained weights, optimizer states, ZeRO's master
    copy, the average. With `world`, those that the first of so many ranks copies and writes.
    """
    n, zero = sizes.trained, options.zero_stage
    module = 0 if zero == 3 else n  # ZeRO 3 has no whole weights but its master copy
    split = _states(sizes, options) + (n if zero else 0)
    return (module + -(-split // (world if zero else 1)) + n) * FP32


def _states(sizes: Sizes, options: TrainingOptions) -> int:
    """Numbers that the optimizer knows: two for each of AdamW's parameters, one for Muon's."""
    return (sizes.matrices if options.optimizer.kind == "muon" else 2 * sizes.matrices) + 2 * sizes.others
