"""Read-outs: from the last layer's output to the velocity of the noisy latent, one class per kind of
prediction.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from components.generator.flow import velocity_of


class Readout(Protocol):
    """One kind of prediction."""

    maps: int  # latents that the last layer gives

    def __call__(self, maps: list[Tensor], noisy: Tensor, times: Tensor, source: Tensor | None) -> Tensor:
        """Return the velocity `[B, C, H, W]` of noisy latents at times `[B]`, of as many maps of that shape; `source`
        is 0 where there is none.
        """


class VelocityReadout:
    """The prediction is the velocity."""

    maps = 1

    def __call__(self, maps: list[Tensor], noisy: Tensor, times: Tensor, source: Tensor | None) -> Tensor:
        """Return the velocity."""
        return maps[0]


class CleanReadout:
    """The prediction is `x0 = c + g_n * x_t + (1 + g_s) * source`, with gates per token and channel: an edit keeps most
    of its source.
    """

    maps = 3

    def __call__(self, maps: list[Tensor], noisy: Tensor, times: Tensor, source: Tensor | None) -> Tensor:
        """Return the velocity that the estimate of the clean latent means."""
        estimate, of_source, of_noisy = maps
        clean = estimate + of_noisy * noisy.float()
        if source is not None:
            clean = clean + (1 + of_source) * source
        return velocity_of(clean, noisy.float(), times)


READOUTS: dict[str, Readout] = {"velocity": VelocityReadout(), "x": CleanReadout()}
