"""Rival spaces behind the same interface: a diffusers autoencoder, pretrained or trained from scratch, and its
statistics.

`load_tokenizer` opens whatever space a folder holds.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from safetensors import SafetensorError
from torch import Tensor

from components.tokenizer.blocks import norm_groups
from components.tokenizer.latent_space import LatentSpace, Parts
from components.tokenizer.spaces import find_space
from components.tokenizer.standardised import Scaling, StandardisedLatents
from components.tokenizer.supported_models import AUTOENCODERS, POSTERIOR, UNIT_RANGE
from components.tokenizer.taesd import AutoencoderTaesd, load_taesd
from components.tokenizer.vae import EXACT, SHARP


class AutoencoderSpace(StandardisedLatents, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A diffusers autoencoder with standardised latents: `encode(x).latent_dist`, `decode(z).sample`.

    Pictures are `[B, 3, S, S]` in -1..1 whatever the model itself takes; it has no features. Made around a model by
    `of`; its class and configuration are kept, so that the whole is saved and loaded as any model of diffusers.
    """

    has_features = False
    bottleneck = True
    reads = "latent"
    model: Any

    @register_to_config
    def __init__(
        self, kind: str, settings: dict[str, Any], image_size: int, space: str, scaling: Scaling | None = None
    ) -> None:
        super().__init__()
        self.model = autoencoder_class(kind).from_config(settings)
        self.image_size, self.space = image_size, space
        self.unit_range, self.returned = kind in UNIT_RANGE, AUTOENCODERS[kind]
        with torch.no_grad():
            shape = self.moments(torch.zeros(1, 3, image_size, image_size), None)[0].shape
        self.channels, self.grid = shape[1], shape[2]
        self.register_statistics(self.channels, scaling)

    @classmethod
    def of(cls, model: Any, image_size: int, space: str) -> AutoencoderSpace:
        """Return the space of a model, with its weights. ValueError for a class that is not supported."""
        made = cls(type(model).__name__, dict(model.config), image_size, space)
        made.model.load_state_dict(model.state_dict())
        return made

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of a latent."""
        return self.channels, self.grid, self.grid

    @property
    def pixel_decoder(self) -> Any:
        """Where the GAN's gradient is measured: the model's own decoder."""
        return _LastLayer(self.model.decoder.conv_out.weight)

    def set_scaling(self, mean: Tensor, std: Tensor) -> None:
        """Standardise latents by these statistics of the raw latent, `[C]` each."""
        self.register_to_config(scaling=self.keep_statistics(mean, std))

    def moments(self, images: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the raw posterior's mean and log-variance; a point where the model's latent is one."""
        encoded = self.model.encode((images + 1) / 2 if self.unit_range else images)
        latent = encoded[self.returned]
        if self.returned == POSTERIOR:
            return latent.mean, latent.logvar
        return latent, torch.full_like(latent, EXACT)

    def features_of(self, raw: Tensor) -> None:
        """There are none."""

    def pixels_of(self, raw: Tensor) -> Tensor:
        """Return the picture of a raw latent."""
        sample = self.model.decode(raw).sample
        return sample * 2 - 1 if self.unit_range else sample

    def encode(self, x: Tensor) -> AutoencoderKLOutput:
        """Return the posterior over the standardised latent of pictures."""
        return AutoencoderKLOutput(latent_dist=self.standardised(*self.moments(x, None)))

    def decode(self, z: Tensor) -> DecoderOutput:
        """Return pictures of standardised latents."""
        return DecoderOutput(sample=self.pixels_of(self.raw(z)))

    def features(self, x: Tensor) -> None:
        """There are none."""

    def decode_features(self, z: Tensor) -> None:
        """There are none."""


class _LastLayer:
    def __init__(self, weight: Tensor) -> None:
        self.last_layer = weight


def autoencoder_class(kind: str) -> Any:
    """Return the class of that name. ValueError for one that is not supported."""
    import diffusers

    if kind not in AUTOENCODERS:
        raise ValueError(
            f"{kind or 'a model of unknown class'} is not supported as a latent space. Supported: "
            f"{', '.join(AUTOENCODERS)}."
        )
    return AutoencoderTaesd if kind == "AutoencoderTaesd" else getattr(diffusers, kind)


def load_autoencoder(path: str) -> Any:
    """Load a diffusers autoencoder from a hub id or a folder (safetensors), or TAESD's own pair of files. ValueError
    where there is none.
    """
    import diffusers

    if Path(path).is_dir() and not (Path(path) / "config.json").exists():
        return load_taesd(path)
    try:
        config = diffusers.AutoencoderKL.load_config(path)
        return without_path(
            autoencoder_class(config.get("_class_name", "")).from_pretrained(path, use_safetensors=True)
        )
    except OSError as error:
        raise ValueError(f"no autoencoder can be loaded from {path!r}: {str(error).splitlines()[0]}") from error


def empty_autoencoder(path: str) -> Any:
    """Return a diffusers autoencoder of a folder's configuration, its weights not loaded; TAESD's files are read, as
    they have none.

    ValueError where there is none: no hub is asked.
    """
    import diffusers

    if Path(path).is_dir() and not (Path(path) / "config.json").exists():
        return load_taesd(path)
    try:
        config = diffusers.AutoencoderKL.load_config(path, local_files_only=True)
    except OSError as error:
        raise ValueError(
            f"the shapes of tokenizer.model.pretrained={path} are not known: it is no folder here, and nothing of "
            "it is in the hub's cache. Give a folder with its config.json."
        ) from error
    return autoencoder_class(config.get("_class_name", "")).from_config(config)


def fresh_kl_vae(channels: int, image_size: int, grid: int, width: int, depth: int) -> Any:
    """A new diffusers `AutoencoderKL` with latent diffusion's shape (random weights from torch's global generator).

    Its posterior starts sharp, as the warm start's does; latent diffusion's own start is noise of deviation 1, for far
    more steps.
    """
    import math

    from diffusers import AutoencoderKL

    levels = int(math.log2(image_size // grid)) + 1
    if grid * 2 ** (levels - 1) != image_size:
        raise ValueError(f"a KL-VAE halves the picture: {image_size} over a grid of {grid} is no power of two.")
    multiples = ([1, 1, 2, 2, 4] + [4] * levels)[:levels]
    model: Any = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(width * m for m in multiples),
        layers_per_block=depth,
        latent_channels=channels,
        norm_num_groups=norm_groups(width),
        sample_size=image_size,
    )
    with torch.no_grad():
        model.quant_conv.weight[channels:] = 0
        model.quant_conv.bias[channels:] = SHARP
    return model


def build_kl_vae(parts: Parts) -> LatentSpace:
    """Return a new convolutional VAE on the encoder's grid."""
    decoder, size = parts.pixel_decoder, parts.image_size
    model = fresh_kl_vae(parts.options.channels, size, parts.encoder.grid, decoder.width, decoder.depth)
    return AutoencoderSpace.of(model, size, parts.space)


def build_pretrained(parts: Parts) -> LatentSpace:
    """Return the space of a pretrained autoencoder."""
    load = load_autoencoder if parts.load else empty_autoencoder
    return AutoencoderSpace.of(load(str(parts.options.pretrained)), parts.image_size, parts.space)


def without_path(model: Any) -> Any:
    """Return a loaded diffusers model that forgot the path it came from: saved again, its bytes are the same wherever
    it lay.
    """
    model.register_to_config(_name_or_path="")
    return model


def load_tokenizer(folder: str | Path) -> Any:
    """Open a tokenizer's folder: a `LatentSpace`, of the class that its config names in the module of its space.

    ValueError where it holds none.
    """
    folder = Path(folder)
    if not (folder / "config.json").exists():
        raise ValueError(f"{folder} holds no tokenizer: there is no config.json.")
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        module = importlib.import_module(find_space(config.get("space", "ps_vae")).build.partition(":")[0])
        found: Any = getattr(module, config["_class_name"])
        return without_path(found.from_pretrained(folder, use_safetensors=True).eval())
    except (AttributeError, OSError, KeyError, TypeError, RuntimeError, SafetensorError, ValueError) as error:
        raise ValueError(f"the tokenizer in {folder} cannot be loaded: {str(error).splitlines()[0]}") from error
