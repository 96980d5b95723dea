"""FID's Inception v3 features, from the TorchScript file of 2015's weights.

TorchScript is a program: it can read and write files. So bytes of a known sha256 are opened, or a file that the user
names himself. The bytes that were hashed are the ones that are opened.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

LARGEST = 2**29  # bytes; the published file has 96 MB


def load_inception(
    path: str | Path, device: str | torch.device = "cpu", sha256: str | None = None
) -> tuple[Callable[[Tensor], Tensor], str]:
    """Return a function from pictures uint8 `[B, 3, H, W]` to features float `[B, D]` (Inception's D is 2048), and the
    file's sha256. The file resizes pictures itself.

    With `sha256` no other file is opened. Raises ValueError for a missing, damaged or other file.
    """
    try:
        if (size := Path(path).stat().st_size) > LARGEST:
            raise ValueError(f"{path} has {size:,} bytes; a file of Inception's weights has at most {LARGEST:,}")
        data = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256:
        raise ValueError(f"{path} is not the published file: its sha256 is {digest}, not {sha256}. Fetch it again.")
    try:
        model = torch.jit.load(io.BytesIO(data), map_location=device).eval()
        probe = model(torch.zeros(1, 3, 32, 32, dtype=torch.uint8, device=device), return_features=True)
        if not isinstance(probe, Tensor) or probe.ndim != 2 or len(probe) != 1:
            raise ValueError("one picture does not give one row of features")
    except (RuntimeError, ValueError, TypeError) as error:
        said = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path} is no TorchScript file that gives Inception's features for model(pictures, return_features=True): "
            f"{said}. Give inception-2015-12-05.pt."
        ) from error

    @torch.no_grad()
    def features(pictures: Tensor) -> Tensor:
        return model(pictures, return_features=True).float()

    return features, digest
