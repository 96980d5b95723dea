"""AdamW, and Muon with AdamW for the rest, as one optimizer for the engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol, runtime_checkable

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


@runtime_checkable
class HasOuterLayers(Protocol):
    """A module that says which of its linear layers AdamW trains: those that face pixels, latents or features, and
    modulations by a time.

    Muon's steps are of one size whatever the gradient's, which suits hidden matrices and moves these too slowly. Of a
    model that declares none, as the tokenizer (tests/unit/training/test_optimizers.py says why), Muon trains every
    linear layer.
    """

    def outer_layers(self) -> list[nn.Linear]:
        """The module's own, without its children's."""


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the trained matrices, for Muon, and the other trained parameters, for AdamW.

    Matrices are the weights of linear layers that no module calls outer; embeddings, convolutions, norms and biases are
    AdamW's.
    """
    declaring = [module for module in model.modules() if isinstance(module, HasOuterLayers)]
    outer = {id(layer) for module in declaring for layer in module.outer_layers()}
    hidden = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear) and id(m) not in outer}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [p for p in trained if id(p) in hidden], [p for p in trained if id(p) not in hidden]


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
