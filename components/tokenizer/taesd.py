"""TAESD's newer tiny autoencoders (TAEF2 for FLUX.2): diffusers' `AutoencoderTiny` blocks, three of them with a
normalised 1x1 branch.

diffusers has no such block, so its weights are read here, from the author's own two files.
"""

from __future__ import annotations

import pickle  # for its error alone # nosec B403
from pathlib import Path
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput, DecoderTiny, EncoderTiny
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

WIDTH = 64


class PooledBlock(nn.Module):
    """A block of diffusers after a residual 1x1 branch with group norm: `[B, 64, H, W]` to the same shape."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.conv, self.fuse = block.conv, block.fuse
        self.pool = nn.Sequential(
            nn.Conv2d(WIDTH, 4 * WIDTH, 1, bias=False),
            nn.GroupNorm(4, 4 * WIDTH),
            nn.ReLU(),
            nn.Conv2d(4 * WIDTH, WIDTH, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape."""
        x = x + self.pool(x)
        return self.fuse(self.conv(x) + x)


class AutoencoderTaesd(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Stride 8; pictures `[B, 3, H, W]` in -1..1, latents `[B, latent_channels, H / 8, W / 8]`."""

    encoder: Any
    decoder: Any

    @register_to_config
    def __init__(self, latent_channels: int = 32) -> None:
        super().__init__()
        widths = (WIDTH,) * 4
        self.encoder = EncoderTiny(3, latent_channels, (1, 3, 3, 3), widths, "relu")
        self.decoder = DecoderTiny(latent_channels, 3, (3, 3, 3, 1), widths, 2, "relu", "nearest")
        for layers, places in ((self.encoder.layers, (11, 12, 13)), (self.decoder.layers, (2, 3, 4))):
            for place in places:
                layers[place] = PooledBlock(layers[place])

    def encode(self, x: Tensor) -> AutoencoderTinyOutput:
        """Return the latents of pictures."""
        return AutoencoderTinyOutput(latents=self.encoder(x))

    def decode(self, z: Tensor) -> DecoderOutput:
        """Return the pictures of latents."""
        return DecoderOutput(sample=self.decoder(z))


def load_taesd(folder: str | Path) -> AutoencoderTaesd:
    """Read `*_encoder.pth` and `*_decoder.pth` of a folder (tensors only). ValueError where they are not TAESD's."""
    encoders, decoders = sorted(Path(folder).glob("*_encoder.pth")), sorted(Path(folder).glob("*_decoder.pth"))
    if not decoders or not encoders:
        raise ValueError(f"{folder} holds no pair of *_encoder.pth and *_decoder.pth.")
    decoder = decoders[0]
    encoder = decoder.with_name(decoder.name.replace("_decoder", "_encoder"))
    try:
        values = [torch.load(path, map_location="cpu", weights_only=True) for path in (encoder, decoder)]
        model = AutoencoderTaesd(values[0]["14.weight"].shape[0])
        model.encoder.layers.load_state_dict({name: value.float() for name, value in values[0].items()})
        # The author's decoder counts its clamp as a first layer.
        shifted = {f"{int(k.split('.', 1)[0]) - 1}.{k.split('.', 1)[1]}": v.float() for k, v in values[1].items()}
        model.decoder.layers.load_state_dict(shifted)
    except (OSError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"{decoder} and its encoder are no tiny autoencoder known here: {str(error).splitlines()[0]}"
        ) from error
    return model.eval()
