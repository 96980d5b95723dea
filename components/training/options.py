"""How a model is trained. Standard library only, for the configuration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class OptimizerOptions:
    """AdamW, or Muon on hidden matrices with AdamW on the rest."""

    kind: Literal["adamw", "muon"] = "adamw"
    lr: float = 1e-4  # of AdamW
    muon_lr: float = 3e-3  # of Muon's matrices
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)
    momentum: float = 0.95  # of Muon
    clip: float = 1.0  # largest gradient norm; 0 clips nothing
    warmup: float = 0.02  # share of the steps
    final_lr: float = 0.05  # where the cosine ends, share of the peak

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.muon_lr <= 0:
            raise ValueError("lr and muon_lr must be above 0")
        if not 0 <= self.warmup < 1 or not 0 <= self.final_lr <= 1:
            raise ValueError("warmup and final_lr are shares, 0 to 1")
        if self.clip < 0 or self.weight_decay < 0:
            raise ValueError("clip and weight_decay are not negative")


@dataclass(frozen=True)
class TrainingOptions:
    """One training run: its length, its batch, its precision, its checkpoints."""

    steps: int = 1000
    batch: int = 64  # samples per step, over all workers and accumulation
    accumulate: int = 1  # micro-batches per step and worker
    optimizer: OptimizerOptions = OptimizerOptions()
    ema: float = 0.999  # decay of the averaged weights; 0: none
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # bf16: fp32 weights, products in bf16
    zero_stage: Literal[0, 1, 2, 3] = 0  # DeepSpeed's
    checkpoint_activations: bool = False
    float8: bool = False  # the large products of the blocks, by torchao: for GPUs that have it
    compile: bool = False  # the blocks, by torch.compile: for GPUs
    log_every: int = 20  # steps
    sample_every: int = 0  # steps between sample grids; 0: none
    checkpoint_every: int = 500  # steps
    keep: int = 2  # checkpoints

    def __post_init__(self) -> None:
        if self.steps < 0 or min(self.batch, self.accumulate, self.log_every, self.checkpoint_every, self.keep) < 1:
            raise ValueError("steps start at 0; batch, accumulate, log_every, checkpoint_every and keep at 1")
        if self.batch % self.accumulate:
            raise ValueError(f"a batch of {self.batch} cannot be split into {self.accumulate} equal micro-batches")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}; it is a decay, 0 to below 1")
        if self.float8 and self.precision == "fp32":
            raise ValueError("float8 goes with precision bf16 or auto: what it leaves is multiplied in bf16")
        if self.optimizer.kind == "muon" and self.zero_stage == 3:
            raise ValueError("muon needs whole matrices: use zero_stage 0, 1 or 2, or the adamw optimizer")

    @property
    def of_critic(self) -> TrainingOptions:
        """How a task's critic is trained beside it: it is small, and the generator's pass reads it whole, so nothing of
        it is split.
        """
        return replace(self, zero_stage=min(1, self.zero_stage))
