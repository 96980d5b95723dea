"""What a tokenizer is built and trained with. Standard library only, for the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from components.tokenizer.spaces import find_space


@dataclass(frozen=True)
class PixelDecoderOptions:
    """The decoder from the latent to the picture."""

    kind: Literal["patch", "conv"] = "conv"  # conv: latent diffusion's; patch: a small transformer with a linear path
    width: int = 128  # of the transformer; of the conv decoder's finest level
    depth: int = 2  # transformer blocks; residual blocks per level
    heads: int = 4  # of the transformer
    multiples: tuple[int, ...] = (1, 1, 2, 2, 4)  # of the conv decoder's width, from fine to coarse
    refine: int = 0  # channels of convolutions over the patch decoder's whole picture, across token borders; 0: none

    def __post_init__(self) -> None:
        if self.refine < 0:
            raise ValueError(f"refine is {self.refine}; it is a number of channels, 0 for none")
        if min(self.width, self.depth, self.heads) < 1 or not self.multiples or min(self.multiples) < 1:
            raise ValueError("width, depth, heads and multiples of a pixel decoder start at 1")
        if self.kind == "patch" and (self.width % self.heads or self.width % 4):
            raise ValueError(f"width is {self.width}; it must be a multiple of heads ({self.heads}) and of 4")


@dataclass(frozen=True)
class LossOptions:
    """Weights of the losses; every loss is a mean over its elements (paper section 2)."""

    semantic: float = 0.1  # of l2 + (1 - cosine) against the frozen encoder
    encoder_semantic: float = 0.1  # the same on the tuned encoder's own features
    pixel_l1: float = 1.0
    perceptual: float = 1.0
    kl: float = 1e-6
    kl_warmup: float = 0.2  # share of the steps over which the KL weight rises from 0
    gan: float = 0.5  # adaptive: times the ratio of gradient norms at the decoder's last layer
    gan_start: float = 0.5  # share of the steps after which the GAN starts; 1: never

    def __post_init__(self) -> None:
        for name in ("semantic", "encoder_semantic", "pixel_l1", "perceptual", "kl", "gan"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; the weight of a loss is not negative")
        for name in ("kl_warmup", "gan_start"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share of the steps, 0 to 1")


@dataclass(frozen=True)
class TokenizerOptions:
    """One latent space."""

    space: str = "ps_vae"  # a name in `components.tokenizer.spaces`
    channels: int = 96  # of the latent; rae and rae_hd have the encoder's width, pretrained its own
    semantic_depth: int = 3  # transformer blocks in E_s and in D_s
    semantic_kind: Literal["transformer", "mlp"] = "transformer"  # mlp: the paper's weaker projection
    pixel_source: Literal["latent", "features"] = "latent"  # what D_p reads; features: D_s' output, a control
    # of latents: each channel in its own deviation; all in one, so that they keep their proportions; or none, a control
    scaling: Literal["channel", "whole", "none"] = "channel"
    freeze_encoder: bool = False  # in stage 2; a control
    pixel_channels: int = 0  # small scale: channels that start as linear patch PCA, and a linear path into them
    latent_noise: float = 0.0  # largest standard deviation, in the latent's own, of noise on what D_p reads in training
    pretrained: str | None = None  # for space pretrained: hub id or folder of a diffusers autoencoder
    perceptual: Literal["encoder", "lpips"] = "encoder"  # features of the frozen encoder, or LPIPS with given weights
    lpips_weights: str | None = None  # fetch, or a folder with vgg16-397923af.pth

    def __post_init__(self) -> None:
        entry = find_space(self.space)
        if self.channels < 1 or self.semantic_depth < 1:
            raise ValueError("channels and semantic_depth start at 1")
        if not 0 <= self.pixel_channels < self.channels:
            raise ValueError(f"pixel_channels is {self.pixel_channels}; it leaves at least one of {self.channels}")
        if self.latent_noise < 0:
            raise ValueError(f"latent_noise is {self.latent_noise}; a standard deviation is not negative")
        if entry.training is None and not self.pretrained:
            raise ValueError(f"space {self.space} needs `pretrained`: a hub id or a folder of a diffusers autoencoder")
        if self.perceptual == "lpips" and not self.lpips_weights:
            raise ValueError("perceptual lpips needs `lpips_weights`: fetch, or the folder with its weights")


@dataclass(frozen=True)
class SmallEncoderOptions:
    """The small encoder that `train_encoder` trains where no pretrained one is named: a DINOv2 architecture."""

    width: int = 512  # of the encoder and of its text side
    depth: int = 6
    heads: int = 8
    patch: int = 16
    text_depth: int = 6  # transformer layers of the text side
    max_words: int = 64  # longer captions are cut

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % 4:
            raise ValueError(f"width is {self.width}; it must be a multiple of heads ({self.heads}) and of 4")
        if min(self.depth, self.patch, self.text_depth, self.max_words) < 1:
            raise ValueError("depth, patch, text_depth and max_words start at 1")
