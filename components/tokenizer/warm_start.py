"""A warm start for small budgets: the semantic latent in its own first channels, linear patch PCA in the others.

In a few minutes a fresh pixel path stays far below linear PCA, so it starts from it. The S-VAE's latent is turned to
its principal directions, the first of which keep their channels; E_s and D_s are rewritten to match, so that what they
have learned stays. Not of the paper; `pixel_channels: 0` is the paper's own start.
"""

from __future__ import annotations

import torch
from torch import Tensor

from components.tokenizer.blocks import patchify, to_tokens
from components.tokenizer.vae import SHARP, PixelSemanticVAE


def principal(values: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean `[D]`, leading directions `[count, D]` and their standard deviations of rows `[M, D]`, in float64."""
    rows = values.double()
    mean = rows.mean(0)
    covariance = (rows - mean).T @ (rows - mean) / (rows.shape[0] - 1)
    strengths, directions = torch.linalg.eigh(covariance)
    order = torch.arange(rows.shape[1] - 1, rows.shape[1] - 1 - count, -1)
    directions = directions[:, order].T
    signs = directions.gather(1, directions.abs().argmax(1, keepdim=True)).sign()  # eigh leaves the sign open
    return mean, directions * signs, strengths[order].clamp_min(1e-12).sqrt()


@torch.no_grad()
def warm_start(model: PixelSemanticVAE, images: Tensor, pixel_channels: int) -> None:
    """Rewrite a PS-VAE that holds an S-VAE's weights, by pictures `[M, 3, H, W]` in -1..1 (a few thousand)."""
    assert model.patch_skip is not None and model.semantic_kind == "transformer"
    kept = model.channels - pixel_channels
    patch = images.shape[-1] // model.grid

    model.patch_skip.weight.zero_()
    model.patch_skip.bias.zero_()
    # Semantic channels: turned to their principal directions, in units of their deviation.
    encode, decode = model.semantic_encoder.project, model.semantic_decoder.project
    latents = torch.cat([to_tokens(model.moments(part, model.encoder(part))[0]) for part in images.split(256)])
    mean, turn, spread = principal(latents.reshape(-1, model.channels), kept)
    into = turn / spread[:, None]  # [kept, C]
    weight, bias = encode.weight.double(), encode.bias.double()
    means, mean_bias = weight[: model.channels], bias[: model.channels]
    encode.weight.zero_()
    encode.bias.zero_()
    encode.weight[:kept] = (into @ means).float()
    encode.bias[:kept] = (into @ (mean_bias - mean)).float()
    encode.bias[model.channels :] = SHARP
    back = (turn * spread[:, None]).T  # [C, kept]
    old, old_bias = decode.weight.double(), decode.bias.double()
    decode.weight.zero_()
    decode.weight[:, :kept] = (old @ back).float()
    decode.bias.copy_((old_bias + old @ mean).float())

    # Pixel channels: linear PCA of patches, in units of their deviation's square root (half-whitened).
    patches = patchify(images, patch).reshape(-1, 3 * patch * patch)
    centre, directions, strengths = principal(patches, pixel_channels)
    scale = strengths.sqrt()[:, None]
    model.patch_skip.weight[kept:] = (directions / scale).float()
    model.patch_skip.bias[kept:] = -(directions @ centre / scale[:, 0]).float()
    linear = model.pixel_decoder.linear
    linear.weight.zero_()
    linear.weight[:, kept:] = (directions * scale).T.float()
    linear.bias.copy_(centre.float())
