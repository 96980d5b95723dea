"""The Frechet distance between two sets of features, from streamed moments. What extracts the features is elsewhere."""

from __future__ import annotations

import re

import torch
from torch import Tensor

INCEPTION = ("inception", "inception_v3")


def frechet_name(features: str) -> str:
    """Return the metric's name: `rfid` for FID's Inception v3 features, otherwise `frechet_<features>` in snake_case.

    Distances of other features are on other scales; a table must not call them FID. Raises ValueError without a name.
    """
    slug = re.sub(r"[^a-z0-9]+", "_", features.lower()).strip("_")
    if not slug:
        raise ValueError(f"{features!r} names no features: give the extractor's name, e.g. 'dinov2-small'")
    return "rfid" if slug in INCEPTION else f"frechet_{slug}"


class FeatureMoments:
    """Mean and covariance of features [N, D], streamed: batches and merged parts give what the whole set gives.

    Kept in float64 on the CPU as mean and centred scatter (Chan et al. 1983), which cancels nothing when the mean is
    large against the spread.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(0, dtype=torch.float64)  # [D]
        self._scatter = torch.zeros(0, 0, dtype=torch.float64)  # [D, D], sum of outer products about the mean

    @torch.no_grad()
    def update(self, features: Tensor) -> None:
        """Add features [N, D] of any float type. Raises ValueError for other shapes, another D, NaN and infinity."""
        if features.ndim != 2 or features.shape[1] == 0:
            raise ValueError(f"features have the shape {list(features.shape)}: give [N, D], pooled over tokens")
        if not torch.isfinite(features).all():
            raise ValueError("features hold NaN or infinite values: check the extractor and its precision")
        if len(features) == 0:
            return
        batch = features.to("cpu", torch.float64)
        part = FeatureMoments()
        part.count = len(batch)
        part.mean = batch.mean(0)
        centred = batch - part.mean
        part._scatter = centred.T @ centred
        self.merge(part)

    def merge(self, other: FeatureMoments) -> None:
        """Add what `other` has seen, e.g. on another worker; `other` stays. Raises ValueError for another D."""
        if other.count == 0:
            return
        if self.count == 0:
            self.count, self.mean, self._scatter = other.count, other.mean.clone(), other._scatter.clone()
            return
        if len(self.mean) != len(other.mean):
            raise ValueError(
                f"features of {len(other.mean)} dimensions came after {len(self.mean)}: one extractor for one set"
            )
        total = self.count + other.count
        shift = other.mean - self.mean
        self._scatter = self._scatter + other._scatter + torch.outer(shift, shift) * (self.count * other.count / total)
        self.mean = self.mean + shift * (other.count / total)
        self.count = total

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance, float64 [D, D]. Raises ValueError with fewer than 2 samples."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 samples, this set has {self.count}: add more features")
        return self._scatter / (self.count - 1)


def _square_root(covariance: Tensor) -> Tensor:
    """Return the symmetric square root of a covariance [D, D]; what rounding left of zero eigenvalues is zero."""
    values, vectors = torch.linalg.eigh(covariance)
    noise = values.abs().max() * len(values) * torch.finfo(values.dtype).eps
    roots = torch.where(values > noise, values, 0.0).sqrt()
    return (vectors * roots) @ vectors.T


def frechet_distance(a: FeatureMoments, b: FeatureMoments) -> float:
    """Return the squared Frechet distance of two Gaussians with these moments (Heusel et al. 2017, eq. 6), 0 or more.

    Finite samples bias it upwards, by an amount that shrinks about as 1/N and depends on the features: even two halves
    of one data set are some way apart. Compare only values taken with the same N and the same reference, and report N.
    With N below D the covariances are singular; the value exists, but the bias dominates it.
    Raises ValueError with fewer than 2 samples in a set or with features of different D.
    """
    for name, moments in (("first", a), ("second", b)):
        if moments.count < 2:
            raise ValueError(
                f"the {name} set has {moments.count} samples, a Frechet distance needs 2 at the very least: "
                "add features, thousands for a value that means something"
            )
    if len(a.mean) != len(b.mean):
        raise ValueError(
            f"the sets have features of {len(a.mean)} and {len(b.mean)} dimensions: take both with one extractor"
        )
    covariance_a, covariance_b = a.covariance, b.covariance
    # trace((A B)^1/2) is the sum of the singular values of A^1/2 B^1/2. Taking those directly, and not roots of the
    # eigenvalues of A^1/2 B A^1/2, keeps rounding at 1e-16 instead of its root, 1e-8 for each of D dimensions.
    cross = torch.linalg.svdvals(_square_root(covariance_a) @ _square_root(covariance_b)).sum()
    distance = (a.mean - b.mean).square().sum() + covariance_a.trace() + covariance_b.trace() - 2 * cross
    return max(0.0, float(distance))
