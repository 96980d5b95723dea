"""The exponential moving average of the trained weights, kept in float32 by the first rank."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Averaged copies of a module's trained parameters; with decay 0 they are the parameters themselves."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._live = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.values: dict[str, Tensor] = {name: p.detach().float().clone() for name, p in self._live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step. The decay rises from 0.1 in the first steps, so that early weights fade."""
        decay = min(self.decay, (1 + step) / (10 + step)) if self.decay else 0.0
        live = [p.detach().float() for p in self._live.values()]
        torch._foreach_lerp_(list(self.values.values()), live, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """For the length of a block the module holds the averaged weights."""
        kept = {name: p.detach().clone() for name, p in self._live.items()}
        self.copy_to_module()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self._live.items():
                    parameter.copy_(kept[name])

    @torch.no_grad()
    def copy_to_module(self) -> None:
        """Put the averaged weights into the module for good."""
        for name, parameter in self._live.items():
            parameter.copy_(self.values[name])
