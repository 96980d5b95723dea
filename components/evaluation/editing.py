"""Effect of an edit: what is preserved outside its mask, what remains inside, and how features move to the target."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from components.evaluation.features import check_pairs, unit_rows

SAME = 1e-6  # features of unit length this close are of pictures that an encoder cannot tell apart


def outside_psnr(made: np.ndarray, source: np.ndarray, mask: np.ndarray) -> float | None:
    """Return the PSNR in dB of the pixels outside a mask, bool [S, S], of pictures uint8 [S, S, 3]; None where the mask
    is the whole picture.

    Capped at 60 dB, where 8-bit pictures are the same but for rounding.
    """
    if mask.all():
        return None
    difference = (made.astype(np.float64) - source.astype(np.float64))[~mask]
    error = float(np.square(difference).mean())
    return 60.0 if error == 0 else min(60.0, float(10 * np.log10(255.0**2 / error)))


def inside_residue(made: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Return the mean absolute difference, 0-255, inside a mask: what is left of a removed object. ValueError for an
    empty mask.
    """
    if not mask.any():
        raise ValueError("the mask holds no pixel: there is nothing inside it to compare")
    return float(np.abs(made.astype(np.float64) - target.astype(np.float64))[mask].mean())


def object_trace(made: np.ndarray, source: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Return how much of a removed object is still there: the share of its own difference from what is behind it, by
    projection inside a mask.

    1 is the object as it was, 0 none of it, below 0 its negative; a colour that is off everywhere alike, or noise,
    hardly counts, which `inside_residue` does count. ValueError where source and target are the same inside the mask.
    """
    behind = target.astype(np.float64)[mask]
    whole = source.astype(np.float64)[mask] - behind
    if not whole.any():
        raise ValueError("source and target are the same inside the mask: there was no object")
    left = made.astype(np.float64)[mask] - behind
    return float((left * whole).sum() / np.square(whole).sum())


@torch.no_grad()
def feature_similarity(made: Tensor, target: Tensor) -> list[float]:
    """Return the cosine of each made picture's features with its target's, from [N, D] of both, -1 to 1.

    Raises ValueError for wrong shapes, NaN and rows of zeros.
    """
    rows = {"made": unit_rows("made features", made), "target": unit_rows("target features", target)}
    check_pairs(**rows)
    return (rows["made"] * rows["target"]).sum(1).clamp(-1, 1).tolist()


@torch.no_grad()
def nearer_to_target(source: Tensor, made: Tensor, target: Tensor) -> list[bool | None]:
    """Return for each edit whether its result is nearer to the target than to the source, by cosine; [N, D] each.

    A copy of the source is never nearer. None where source and target are too alike for the features to tell apart.
    Raises ValueError for wrong shapes, NaN and rows of zeros.
    """
    rows = _triple(source, made, target)
    to_source = (rows["made"] - rows["source"]).norm(dim=1)
    to_target = (rows["made"] - rows["target"]).norm(dim=1)
    told = (rows["target"] - rows["source"]).norm(dim=1) > SAME
    return [bool(near) if tells else None for near, tells in zip(to_target < to_source - SAME, told, strict=True)]


@torch.no_grad()
def direction(source: Tensor, made: Tensor, target: Tensor) -> list[float | None]:
    """Return for each edit the cosine of its change with the wanted change, in features [N, D] of unit length.

    1 moves exactly from source to target, 0 not at all (a copy of the source) or elsewhere, -1 away. None where source
    and target are too alike for the features to tell apart. Raises ValueError for wrong shapes, NaN and rows of zeros.
    """
    rows = _triple(source, made, target)
    done, wanted = rows["made"] - rows["source"], rows["target"] - rows["source"]
    lengths, told = done.norm(dim=1), wanted.norm(dim=1)
    cosines = (done * wanted).sum(1) / (lengths * told).clamp_min(1e-300)
    cosines = torch.where(lengths > SAME, cosines.clamp(-1, 1), 0.0)
    return [float(cosine) if length > SAME else None for cosine, length in zip(cosines, told, strict=True)]


def _triple(source: Tensor, made: Tensor, target: Tensor) -> dict[str, Tensor]:
    rows = {
        name: unit_rows(f"{name} features", values)
        for name, values in (("source", source), ("made", made), ("target", target))
    }
    check_pairs(**rows)
    return rows
