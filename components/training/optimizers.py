"""AdamW, and Muon with AdamW beside it, as one optimizer where the engine wants one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from components.training.muon import Muon
from components.training.options import OptimizerOptions


def learning_rate(step: int, steps: int, options: OptimizerOptions) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then a cosine down to `final_lr`."""
    warmup = max(1, round(options.warmup * steps))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return options.final_lr + (1 - options.final_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def is_matrix(name: str, parameter: nn.Parameter, module: nn.Module | None) -> bool:
    """True for hidden matrices, which Muon updates; embeddings, convolutions, norms and biases are AdamW's.

    So are the layers that a module marks with `outer = True`: first, last and zero-initialised ones, which Muon's steps of one size move too slowly.
    """
    hidden = isinstance(module, nn.Linear) and not getattr(module, "outer", False)
    return parameter.ndim == 2 and hidden and name.endswith("weight")


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the trained matrices, and the other trained parameters."""
    modules = dict(model.named_modules())
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            owner = modules.get(name.rpartition(".")[0])
            (matrices if is_matrix(name, parameter, owner) else others).append(parameter)
    return matrices, others


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon on matrices and torch's AdamW on the rest, behind one optimizer's face.

    Groups carry `peak_lr`; the loop sets `lr` from it at every step.
    """

    def __init__(self, matrices: Iterable[nn.Parameter], others: Iterable[nn.Parameter], options: OptimizerOptions):
        groups = [
            {"params": list(matrices), "muon": True, "lr": options.muon_lr, "peak_lr": options.muon_lr},
            {"params": list(others), "muon": False, "lr": options.lr, "peak_lr": options.lr},
        ]
        super().__init__([group for group in groups if group["params"]], {"weight_decay": options.weight_decay})
        self._parts: list[torch.optim.Optimizer] = []
        for group in self.param_groups:
            part: torch.optim.Optimizer
            if group["muon"]:
                part = Muon(
                    group["params"], lr=options.muon_lr, momentum=options.momentum, weight_decay=options.weight_decay
                )
            else:
                part = adamw(group["params"], options)
            part.param_groups = [{**part.param_groups[0], **group}]
            group.update(part.param_groups[0])
            part.param_groups = [group]
            part.state = self.state
            self._parts.append(part)

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Take one step of both."""
        assert closure is None
        for part in self._parts:
            part.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load both halves' state."""
        super().load_state_dict(state_dict)
        for part, group in zip(self._parts, self.param_groups, strict=True):
            part.param_groups = [group]
            part.state = self.state


def adamw(parameters: Iterable[Any], options: OptimizerOptions) -> torch.optim.AdamW:
    """torch's AdamW."""
    return torch.optim.AdamW(
        parameters, lr=options.lr, betas=options.betas, weight_decay=options.weight_decay, fused=True
    )


def build_optimizer(model: nn.Module, options: OptimizerOptions) -> torch.optim.Optimizer:
    """Return the optimizer of a model's trained parameters. ValueError where there are none."""
    matrices, others = split_parameters(model)
    if not matrices and not others:
        raise ValueError("there is nothing to train: every parameter is frozen.")
    if options.kind == "muon":
        return MuonWithAdamW(matrices, others, options)
    optimizer = adamw([*matrices, *others], options)
    for group in optimizer.param_groups:
        group["peak_lr"] = options.lr
    return optimizer
