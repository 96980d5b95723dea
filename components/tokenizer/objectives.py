"""What a space is trained for (paper section 2): one objective with switches; `spaces` says which space has which."""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.tokenizer.latent_space import LatentSpace
from components.tokenizer.losses import adaptive_weight, kl_loss, latent_noise, semantic_loss
from components.tokenizer.options import LossOptions
from components.tokenizer.spaces import Switches


class Perceptual(Protocol):
    """A distance between pictures `[B, 3, H, W]` in -1..1, one number."""

    def __call__(self, pictures: Tensor, target: Tensor) -> Tensor:
        """Return the mean distance."""


def to_pictures(images: Tensor) -> Tensor:
    """uint8 `[B, 3, H, W]` to float -1..1."""
    return images.float() / 127.5 - 1


class TokenizerObjective(nn.Module):
    """Losses of one batch: `{"images": uint8 [B, 3, H, W]}`.

    `model` is a `LatentSpace` and a module. `teacher` is the frozen copy of the original encoder; None for a space
    without one. Both are kept as they are apart from what the switches train.
    """

    def __init__(
        self,
        model: Any,
        teacher: nn.Module | None,
        switches: Switches,
        weights: LossOptions,
        noise: float,
        perceptual: Perceptual | None,
    ) -> None:
        super().__init__()
        self.model = model
        self.switches, self.weights, self.noise = switches, weights, noise
        self.still: list[Any] = [teacher, perceptual]  # in a list: neither is part of what is trained and saved
        if model.has_features:
            if not switches.train_encoder:
                model.encoder.requires_grad_(False)
            if not switches.train_bottleneck:
                model.semantic_encoder.requires_grad_(False)
                model.semantic_decoder.requires_grad_(False)
            if not switches.semantic and model.bottleneck and model.reads == "latent":
                model.semantic_decoder.requires_grad_(False)  # P-VAE: nothing asks for features
        for still in self.still:
            if isinstance(still, nn.Module):
                still.requires_grad_(False).eval()

    def forward(
        self, batch: dict[str, Tensor], progress: float, critic: Any
    ) -> tuple[Tensor, dict[str, Tensor], tuple[Tensor, Tensor] | None]:
        """Return the loss, its parts, and (real, decoded) pictures for the critic where it takes part."""
        weights, switches = self.weights, self.switches
        model: LatentSpace = self.model
        teacher, perceptual = self.still
        for still in self.still:
            if isinstance(still, nn.Module):
                still.to(batch["images"].device)  # no part of the module, so it is not moved with it
        images = to_pictures(batch["images"])
        figures: dict[str, Tensor] = {}
        loss = images.new_zeros(())
        target: Tensor | None = None
        features: Tensor | None = None
        if model.has_features:
            if teacher is not None:
                with torch.no_grad():
                    target = teacher(images)
            if switches.train_encoder:
                features = model.features(images)
            else:
                assert target is not None
                features = target
        mean, log_variance = model.moments(images, features)
        raw = mean
        if switches.kl:
            raw = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
            figures["kl"] = kl_loss(mean, log_variance)
            loss = loss + weights.kl * min(1.0, progress / max(weights.kl_warmup, 1e-9)) * figures["kl"]
        if switches.semantic:
            assert target is not None and features is not None
            if model.bottleneck:
                held = model.features_of(raw)
                assert held is not None
                figures["semantic"] = semantic_loss(held, target)
                loss = loss + weights.semantic * figures["semantic"]
            if switches.train_encoder:
                figures["encoder_semantic"] = semantic_loss(features, target)
                loss = loss + weights.encoder_semantic * figures["encoder_semantic"]
        read = raw.detach() if switches.detach_pixels else raw
        decoded = model.pixels_of(latent_noise(read, self.noise) if self.noise else read)
        figures["l1"] = F.l1_loss(decoded.float(), images)
        pixel = weights.pixel_l1 * figures["l1"]
        if perceptual is not None and weights.perceptual:
            figures["perceptual"] = perceptual(decoded, images)
            pixel = pixel + weights.perceptual * figures["perceptual"]
        loss = loss + pixel
        if critic is None:
            return loss, figures, None
        figures["adversarial"] = -critic.judge(decoded).float().mean()
        if torch.is_grad_enabled():
            ratio = adaptive_weight(pixel, figures["adversarial"], self.model.pixel_decoder.last_layer)
            loss = loss + weights.gan * ratio * figures["adversarial"]
        return loss, figures, (images, decoded.detach().float())


class EncoderPerceptual(nn.Module):
    """Distance in the features of the frozen encoder, from several depths: named `perceptual` and never LPIPS.

    Features `[B, N, D]` of each chosen block are normalised per token; the distance is their mean squared difference.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self._taken: list[Tensor] = []
        layers = encoder.layers
        for index in sorted({len(layers) // 3, 2 * len(layers) // 3}):
            layers[index].register_forward_hook(self._take)

    def _take(self, module: nn.Module, inputs: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        self._taken.append(F.layer_norm(hidden, hidden.shape[-1:]))

    def _features(self, pictures: Tensor) -> list[Tensor]:
        self._taken = []
        last = self.encoder(pictures)
        taken, self._taken = self._taken, []
        return [*taken, last]

    def forward(self, pictures: Tensor, target: Tensor) -> Tensor:
        """Mean distance of pictures `[B, 3, H, W]` in -1..1 from their targets; gradients reach `pictures` only."""
        with torch.no_grad():
            wanted = self._features(target)
        found = self._features(pictures)
        parts = [F.mse_loss(a.float(), b.float()) for a, b in zip(found, wanted, strict=True)]
        return torch.stack(parts).mean()
