"""Effect of an edit: what is preserved outside its mask, and what remains inside."""

from __future__ import annotations

import numpy as np


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
