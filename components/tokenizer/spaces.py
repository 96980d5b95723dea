"""What each latent space is: one table. Standard library only, for the configuration.

A new space is an entry here, a YAML that names it, and, where its model is none of those that are there, a file with
the model and its builder. The model satisfies `components.tokenizer.latent_space.LatentSpace`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class Switches:
    """What a training does and does not do (paper section 2)."""

    semantic: bool  # L_s on the output of D_s, against the frozen encoder
    train_encoder: bool  # pixel gradients reach the encoder, and L_s holds its own features
    detach_pixels: bool  # the pixel decoder alone learns from pixels
    kl: bool
    train_bottleneck: bool = True  # E_s and D_s


class Semantic(Enum):
    """What a space takes from `train_semantic`."""

    NOTHING = "nothing"  # the stage does not run
    WEIGHTS = "weights"  # its weights, as a start
    MODEL = "model"  # its model, whose training goes on


@dataclass(frozen=True)
class Space:
    """One latent space.

    `build` is `module:function`; it returns a new `LatentSpace` of `components.tokenizer.latent_space.Parts` and is
    imported only when the model is made.
    """

    summary: str
    build: str
    training: Switches | None  # of train_tokenizer; None: the model is finished, and only its statistics are measured
    semantic: Semantic = Semantic.NOTHING
    of_encoder: bool = (
        True  # the latent is made of the encoder's features; it keeps the encoder, and its grid is the encoder's
    )
    halves: bool = False  # without features: its convolutions halve the picture down to the encoder's grid
    bottleneck: bool = True  # features become `channels`; False: the latent is the features themselves
    holds_features: bool = True  # features can be read back from the latent
    patch_pca: bool = False  # its pixel path may start from linear patch PCA (`pixel_channels`)


_OF_FEATURES = "components.tokenizer.vae:build"
# Stage 1, the S-VAE: the frozen encoder's features through the bottleneck; its pixel decoder reads the detached latent.
STAGE_ONE = Switches(semantic=True, train_encoder=False, detach_pixels=True, kl=True)

SPACES: dict[str, Space] = {
    "ps_vae": Space(
        "semantics and pixels: stage 2 on the S-VAE, the encoder tuned",
        build=_OF_FEATURES,
        training=Switches(semantic=True, train_encoder=True, detach_pixels=False, kl=True),
        semantic=Semantic.WEIGHTS,
        patch_pca=True,
    ),
    "s_vae": Space(
        "semantics alone: stage 1",
        build=_OF_FEATURES,
        # Its pixel decoder goes on, so that it has had as many steps as the other spaces' decoders.
        training=Switches(semantic=False, train_encoder=False, detach_pixels=True, kl=False, train_bottleneck=False),
        semantic=Semantic.MODEL,
    ),
    "p_vae": Space(
        "pixels alone: the same architecture without the semantic loss",
        build=_OF_FEATURES,
        training=Switches(semantic=False, train_encoder=True, detach_pixels=False, kl=True),
        holds_features=False,
        patch_pca=True,
    ),
    "rae": Space(
        "the frozen encoder's raw features",
        build=_OF_FEATURES,
        training=Switches(semantic=False, train_encoder=False, detach_pixels=True, kl=False),
        bottleneck=False,
    ),
    "rae_hd": Space(
        "raw features, the encoder tuned for pixels",
        build=_OF_FEATURES,
        training=Switches(semantic=True, train_encoder=True, detach_pixels=False, kl=False),
        bottleneck=False,
    ),
    "kl_vae": Space(
        "latent diffusion's convolutional VAE, from scratch",
        build="components.tokenizer.rivals:build_kl_vae",
        training=Switches(semantic=False, train_encoder=False, detach_pixels=False, kl=True),
        of_encoder=False,
        halves=True,
        holds_features=False,
    ),
    "pretrained": Space(
        "a pretrained diffusers autoencoder (`tokenizer.model.pretrained`)",
        build="components.tokenizer.rivals:build_pretrained",
        training=None,
        of_encoder=False,
        holds_features=False,
    ),
}
SEMANTIC_SPACE = "s_vae"  # what train_semantic makes


def find_space(name: str) -> Space:
    """Return a space by its name. ValueError, with the nearest name, where there is none."""
    if name not in SPACES:
        near = difflib.get_close_matches(name, SPACES, 1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"there is no latent space {name!r}{meant}. Spaces: {', '.join(SPACES)}")
    return SPACES[name]
