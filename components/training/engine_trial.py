"""One step of a small model through the engine, to see whether DeepSpeed and its collectives work where training will
run.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from components.training.engine import build_engine, import_deepspeed, set_up_process_group
from components.training.machine import best_device, choose_precision
from components.training.options import OptimizerOptions, TrainingOptions

WIDTH = 64


def try_engine(zero_stage: Literal[0, 1, 2, 3] = 0) -> str:
    """Train one step on this process's GPU, or else its CPU; return what did it. Call it in a process of its own.

    Raises what torch and DeepSpeed raise, and ValueError where the step did not change the model.
    """
    import torch.distributed as dist

    deepspeed = import_deepspeed()
    device = best_device()
    set_up_process_group(0, 1, device)
    try:
        torch.manual_seed(0)
        model = nn.Linear(WIDTH, WIDTH).to(device)
        before = model.weight.detach().cpu().clone()
        options = TrainingOptions(
            steps=1, batch=2, zero_stage=zero_stage, precision="auto", optimizer=OptimizerOptions(kind="adamw", lr=0.1)
        )
        engine = build_engine(model, options, 1, device)
        loss = engine(torch.randn(2, WIDTH, device=device)).square().mean()
        engine.backward(loss)
        engine.step()
        total = torch.ones(1, device=device)
        dist.all_reduce(total)
        if not torch.isfinite(loss) or torch.equal(before, model.weight.detach().cpu()) or total.item() != 1:
            raise ValueError("a step of training changed nothing, or a sum over workers came out wrong")
        precision = choose_precision("auto", device)
        return f"{deepspeed.__version__}: a step in {precision} on {device.type} over {dist.get_backend()}"
    finally:
        dist.destroy_process_group()
