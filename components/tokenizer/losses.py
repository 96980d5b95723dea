"""The losses of the tokenizer (paper section 2), each a mean over its elements in float32."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def semantic_loss(features: Tensor, target: Tensor) -> Tensor:
    """L_s = l2 + (1 - cosine) between features `[B, N, D]`: mean squared error, and mean cosine distance over
    tokens.
    """
    features, target = features.float(), target.float()
    return F.mse_loss(features, target) + (1 - F.cosine_similarity(features, target, dim=-1)).mean()


def kl_loss(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL from a diagonal Gaussian to the standard normal, mean over batch, channels and places, in nats per element."""
    mean, log_variance = mean.float(), log_variance.float()
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


def hinge_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of a discriminator's logits on real and on decoded pictures."""
    return 0.5 * (F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean())


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor) -> Tensor:
    """Ratio of both losses' gradient norms at the decoder's last layer, at most 1e4 [latent diffusion]."""
    wanted = torch.autograd.grad(reconstruction, last_layer, retain_graph=True)[0].norm()
    given = torch.autograd.grad(adversarial, last_layer, retain_graph=True)[0].norm()
    return (wanted / (given + 1e-4)).clamp(0, 1e4).detach()


def latent_noise(raw: Tensor, largest: float) -> Tensor:
    """Add Gaussian noise to latents `[B, C, H, W]`: per sample, up to `largest` times each channel's deviation in the
    batch.

    A generator's latents are never exact; a decoder that has only seen exact ones magnifies that.
    """
    deviation = raw.detach().float().std(dim=(0, 2, 3), keepdim=True)
    amount = largest * torch.rand(raw.shape[0], 1, 1, 1, device=raw.device)
    return raw + (amount * deviation * torch.randn_like(raw, dtype=torch.float32)).to(raw.dtype)
