"""What ends a training whose loss or gradient is no longer a number, without asking the device at every step.

Reading one number stops the host until the device has made it. Losses and gradient norms are kept where they are, and
are looked at together before anything is logged, evaluated or saved.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from components.training.checkpoints import TrainingFailed

LOSS, NORM = "the loss", "the norm of the gradient"
NOTHING = 2**62  # in the place of a step, where every number is finite


class Seen(NamedTuple):
    """One number of a step that nobody has read yet."""

    name: str
    step: int  # from 0
    keys: list[str]  # of the step's samples on this rank
    value: Tensor  # one number


class Guard:
    """Collects the losses and gradient norms of steps, and looks at them when asked."""

    def __init__(self, rank: int, world: int, group: Any) -> None:
        """`group`: of all ranks, with tensors on the host; None for one rank."""
        self._rank, self._world, self._group = rank, world, group
        self._seen: list[Seen] = []

    def note(self, name: str, step: int, keys: list[str], value: Tensor) -> None:
        """Take in a loss (`the loss`) or a gradient's norm, as it is on the device."""
        self._seen.append(Seen(name, step, keys, value.detach().float().reshape(())))

    def look(self) -> None:
        """Raise `TrainingFailed` on every rank where a number since the last look is not finite; every rank calls it.

        It names the first step, and a loss before the gradient that it spoilt: other ranks see that gradient alone.
        """
        seen, self._seen = self._seen, []
        if not seen:
            return
        values = torch.stack([one.value for one in seen]).cpu()
        bad = [one for one, finite in zip(seen, values.isfinite().tolist(), strict=True) if not finite]
        first = min(bad, key=lambda one: (one.step, one.name != LOSS), default=None)
        if self._world > 1:
            step = torch.tensor(NOTHING if first is None else first.step)
            dist.all_reduce(step, op=dist.ReduceOp.MIN, group=self._group)
            if int(step) == NOTHING:
                return
            told: list[tuple[int, bool, str] | None] = [None] * self._world
            mine = None if first is None else (first.step, first.name != LOSS, self._text(first))
            dist.all_gather_object(told, mine, group=self._group)
            raise TrainingFailed(min(one for one in told if one is not None)[2])
        if first is not None:
            raise TrainingFailed(self._text(first))

    def _text(self, seen: Seen) -> str:
        shown = ", ".join(seen.keys[:8]) + (f" and {len(seen.keys) - 8} more" if len(seen.keys) > 8 else "")
        return (
            f"{seen.name} is {float(seen.value)} at step {seen.step + 1} on rank {self._rank}, in the batch of "
            f"{shown}. The last checkpoint is from before it. Lower the learning rate, or check these samples."
        )
