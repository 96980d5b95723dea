"""Muon with its iteration in the precision that the machine multiplies fast, on all matrices of one shape at once.

torch's own iterates in bf16 alone and on one matrix at a time. A CPU without bf16 units emulates that at a fraction of
fp32's rate: for the demo's generator it was a third of each step. Momentum, coefficients and learning rates are
torch's.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from components.training.machine import choose_precision


class Muon(torch.optim.Muon):
    """torch's Muon, and the same in fp32 where the parameters' device has no fast bf16."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step. Parameters without a gradient stay as they are."""
        assert closure is None
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape].append(parameter)
            for shape, parameters in alike.items():
                updates = torch.stack([self._update(parameter, group) for parameter in parameters])
                whitened = orthogonalised(updates, group["ns_coefficients"], group["ns_steps"], group["eps"])
                rate = group["lr"] * math.sqrt(max(1.0, shape[0] / shape[1]))
                for parameter, update in zip(parameters, whitened, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update, alpha=-rate)

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        """Take a gradient into its momentum; return the update before it is orthogonalised."""
        assert parameter.grad is not None and group["nesterov"]
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum_buffer"]
        momentum.lerp_(parameter.grad, 1 - group["momentum"])
        return parameter.grad.lerp(momentum, group["momentum"])


def orthogonalised(matrices: Tensor, coefficients: tuple[float, float, float], steps: int, epsilon: float) -> Tensor:
    """Return matrices `[N, rows, columns]` with their singular values near 1, by Newton and Schulz's quintic
    iteration.
    """
    bf16 = choose_precision("auto", matrices.device) == "bf16"
    made = matrices.to(torch.bfloat16 if bf16 else torch.float32)
    tall = made.shape[1] > made.shape[2]
    if tall:
        made = made.mT
    made = made / made.flatten(1).norm(dim=1).clamp_min(epsilon)[:, None, None]
    a, b, c = coefficients
    for _ in range(steps):
        gram = made @ made.mT
        made = torch.baddbmm(made, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), made, beta=a)
    return (made.mT if tall else made).to(matrices.dtype)
