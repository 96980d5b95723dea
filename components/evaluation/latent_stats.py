"""Statistics of latents by channel: mean, spread, dead channels, KL to the standard normal. No encoders here."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

DEAD_FLOOR = 1e-6  # a standard deviation below this is float32 rounding of a constant


def normal_kl(mean: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(N(mean, exp(logvar)) || N(0, 1)) of each element, nats, 0 or more (Kingma & Welling 2014, app. B)."""
    return 0.5 * (mean.square() + torch.expm1(logvar) - logvar)


def _check(name: str, values: Tensor) -> None:
    if values.ndim != 4 or values.numel() == 0:
        raise ValueError(f"{name} has the shape {list(values.shape)}: give [B, C, H, W] with at least one element")
    if not values.is_floating_point() or not torch.isfinite(values).all():
        raise ValueError(f"{name} is {values.dtype} or holds NaN or infinite values: give finite floats")


class LatentStatistics:
    """Mean and standard deviation of each latent channel over all samples and places, streamed in float64 on the CPU.

    A channel is dead when its standard deviation is at most `dead_share` of the median channel's, or is rounding only.
    If more than half of the channels are nearly dead, so is the median: read `std_min` and `std_max` as well.
    """

    def __init__(self, dead_share: float = 0.01) -> None:
        if not 0 <= dead_share < 1:
            raise ValueError(f"dead_share is {dead_share}: give a share of the median from 0 to below 1, e.g. 0.01")
        self.dead_share = dead_share
        self.samples = 0
        self._elements = 0  # of each channel
        self._mean = torch.zeros(0, dtype=torch.float64)  # [C]
        self._scatter = torch.zeros(0, dtype=torch.float64)  # [C], sum of squares about the mean
        self._kl: Tensor | None = None  # [C], sum

    @torch.no_grad()
    def update(self, latents: Tensor, posterior: tuple[Tensor, Tensor] | None = None) -> None:
        """Add latents [B, C, H, W] and, with every batch or with none, their posterior (mean, logvar) of that shape.

        Raises ValueError for other shapes, another C, NaN and infinity; the batch is not counted then.
        """
        _check("a batch of latents", latents)
        part = LatentStatistics(self.dead_share)
        part.samples = len(latents)
        part._elements = latents.numel() // latents.shape[1]
        values = latents.double()
        mean = values.mean((0, 2, 3))
        part._scatter = (values - mean.view(1, -1, 1, 1)).square().sum((0, 2, 3)).cpu()
        part._mean = mean.cpu()
        if posterior is not None:
            for name, moment in zip(("the posterior's mean", "the posterior's logvar"), posterior, strict=True):
                _check(name, moment)
                if moment.shape != latents.shape:
                    raise ValueError(
                        f"{name} has the shape {list(moment.shape)}, the latents {list(latents.shape)}: give the "
                        "posterior these latents were drawn from, without patching or scaling between"
                    )
            part._kl = normal_kl(posterior[0].double(), posterior[1].double()).sum((0, 2, 3)).cpu()
        self.merge(part)

    def merge(self, other: LatentStatistics) -> None:
        """Add what `other` has seen, e.g. on another worker; `other` stays. Raises ValueError if the two do not fit."""
        if other._elements == 0:
            return
        if self._elements == 0:
            self.samples, self._elements = other.samples, other._elements
            self._mean, self._scatter, self._kl = other._mean, other._scatter, other._kl
            return
        if len(self._mean) != len(other._mean):
            raise ValueError(f"latents of {len(other._mean)} channels came after {len(self._mean)}: one tokenizer each")
        if (self._kl is None) != (other._kl is None):
            raise ValueError("some batches came with a posterior, some without: give it with every batch or with none")
        total = self._elements + other._elements
        shift = other._mean - self._mean
        self._scatter = self._scatter + other._scatter + shift.square() * (self._elements * other._elements / total)
        self._mean = self._mean + shift * (other._elements / total)
        if self._kl is not None and other._kl is not None:
            self._kl = self._kl + other._kl
        self.samples += other.samples
        self._elements = total

    def compute(self) -> dict[str, Any]:
        """Return plain numbers and lists, ready for JSON.

        Scalars: `std_min`, `std_max`, `std_mean`, `dead_channels` (how many), `samples`, with posteriors `kl_mean`.
        Lists over channels: `mean`, `std` (unbiased), with posteriors `kl`, nats for one element. `dead` has the
        numbers of dead channels. Raises ValueError before the second element of a channel.
        """
        if self._elements < 2:
            raise ValueError(
                f"{self._elements} elements a channel have no spread: call update(latents) with more first"
            )
        std = (self._scatter / (self._elements - 1)).sqrt()
        threshold = max(self.dead_share * float(std.median()), DEAD_FLOOR)
        dead = (std <= threshold).nonzero().flatten().tolist()
        result: dict[str, Any] = {
            "std_min": float(std.min()),
            "std_max": float(std.max()),
            "std_mean": float(std.mean()),
            "dead_channels": len(dead),
            "samples": self.samples,
            "mean": self._mean.tolist(),
            "std": std.tolist(),
            "dead": dead,
        }
        if self._kl is not None:
            kl = self._kl / self._elements
            result |= {"kl_mean": float(kl.mean()), "kl": kl.tolist()}
        return result
