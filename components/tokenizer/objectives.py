"""What each space is trained for (paper section 2): stage 1, stage 2 and the rivals, as one objective with switches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.tokenizer.losses import adaptive_weight, kl_loss, latent_noise, semantic_loss
from components.tokenizer.options import LossOptions


class Perceptual(Protocol):
    """A distance between pictures `[B, 3, H, W]` in -1..1, one number."""

    def __call__(self, pictures: Tensor, target: Tensor) -> Tensor:
        """Return the mean distance."""


@dataclass(frozen=True)
class Switches:
    """What a space's training does and does not do."""

    semantic: bool  # L_s on D_s' output, against the frozen encoder
    train_encoder: bool  # pixel gradients reach the encoder, and L_s holds its own features
    detach_pixels: bool  # the pixel decoder alone learns from pixels
    kl: bool
    train_bottleneck: bool = True  # E_s and D_s


SWITCHES = {
    "s_vae": Switches(semantic=True, train_encoder=False, detach_pixels=True, kl=True),  # stage 1
    # Stage 1 is done: only its pixel decoder goes on, so that it has had as many steps as the other spaces' decoders.
    "s_vae_pixels": Switches(semantic=False, train_encoder=False, detach_pixels=True, kl=False, train_bottleneck=False),
    "ps_vae": Switches(semantic=True, train_encoder=True, detach_pixels=False, kl=True),  # stage 2
    "p_vae": Switches(semantic=False, train_encoder=True, detach_pixels=False, kl=True),
    "rae": Switches(semantic=False, train_encoder=False, detach_pixels=True, kl=False),
    "rae_hd": Switches(semantic=True, train_encoder=True, detach_pixels=False, kl=False),
    "kl_vae": Switches(semantic=False, train_encoder=False, detach_pixels=False, kl=True),
}


def to_pictures(images: Tensor) -> Tensor:
    """uint8 `[B, 3, H, W]` to float -1..1."""
    return images.float() / 127.5 - 1


class TokenizerObjective(nn.Module):
    """Losses of one batch: `{"images": uint8 [B, 3, H, W]}`.

    `model` has `moments`, `pixels_of` and, where it has features, `features_of` and `encoder`. `teacher` is the frozen
    copy of the original encoder. Both are kept as they are apart from what the switches train.
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
        self.has_features = hasattr(model, "features_of")
        if self.has_features:
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
        weights, switches, model = self.weights, self.switches, self.model
        teacher, perceptual = self.still
        for still in self.still:
            if isinstance(still, nn.Module):
                still.to(batch["images"].device)  # no part of the module, so it is not moved with it
        images = to_pictures(batch["images"])
        figures: dict[str, Tensor] = {}
        loss = images.new_zeros(())
        target: Tensor | None = None
        features: Tensor | None = None
        if self.has_features:
            if teacher is not None:
                with torch.no_grad():
                    target = teacher(images)
            if switches.train_encoder:
                features = model.encoder(images)
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
                figures["semantic"] = semantic_loss(model.features_of(raw), target)
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
            ratio = adaptive_weight(pixel, figures["adversarial"], model.pixel_decoder.last_layer)
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
        layers = [m for m in encoder.backbone.modules() if type(m).__name__.endswith(("Layer", "EncoderLayer"))]
        if not layers:
            raise ValueError("this encoder has no layers that a perceptual loss could read.")
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
