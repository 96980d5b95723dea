"""LPIPS with VGG16 (Zhang et al. 2018, version 0.1), from the weight files that everybody has.

A folder holds torchvision's VGG16 (`vgg16-397923af.pth`), and may hold the linear heads of the wheel `lpips`
(`vgg.pth`); torchmetrics ships the same heads. Either may be safetensors. torchvision itself is not needed.
"""

from __future__ import annotations

import hashlib
import pickle  # for its error alone # nosec B403
import re
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from components.tokenizer.supported_models import LPIPS_HEADS, LPIPS_NETWORK, lpips_files

SLICES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
LARGEST = 2**30  # bytes of a weight file; torchvision's has 553 MB
SMALLEST = 16  # pixels a side: four poolings leave one


class Lpips(nn.Module):
    """Learned distance of pictures `[B, 3, H, W]` in -1..1: the mean over the batch."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.taps: list[int] = []
        inner = 3
        for number, widths in enumerate(SLICES):
            if number:
                layers.append(nn.MaxPool2d(2))
            for width in widths:
                layers += [nn.Conv2d(inner, width, 3, padding=1), nn.ReLU()]
                inner = width
            self.taps.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)
        self.heads = nn.ParameterList([nn.Parameter(torch.zeros(1, widths[-1], 1, 1)) for widths in SLICES])
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def load(cls, folder: str | Path, heads: str | Path | None = None) -> Lpips:
        """Load the files of a folder, or `heads` where it has none. ValueError names what is missing or damaged."""
        network, own = lpips_files(folder)
        own = own or (None if heads is None else Path(heads))
        if network is None or own is None:
            what, names = ("VGG16", LPIPS_NETWORK) if network is None else ("linear heads", LPIPS_HEADS)
            raise ValueError(f"{folder} holds no {what} for LPIPS. Put one of these files there: {', '.join(names)}.")
        return cls.of_files(network, own)

    @classmethod
    def of_files(cls, network: Path, heads: Path) -> Lpips:
        """Load VGG16 and the linear heads, each a `.pth` of tensors alone or a safetensors file. ValueError says which
        file is damaged, or of another model.
        """
        model, path = cls(), network
        try:
            values = _tensors(path)
            model.features.load_state_dict({k[9:]: v for k, v in values.items() if k.startswith("features.")})
            path = heads
            values = _tensors(path)
            for number, head in enumerate(model.heads):
                if (given := values[f"lin{number}.model.1.weight"]).shape != head.shape:
                    raise ValueError(f"lin{number} has the shape {list(given.shape)}, not {list(head.shape)}")
                head.data.copy_(given)
        except (KeyError, ValueError, RuntimeError) as error:
            said = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:300]
            raise ValueError(
                f"{path} cannot be read as LPIPS' {'VGG16' if path == network else 'heads'}: {said}. Fetch it again."
            ) from error
        return model.requires_grad_(False).eval()

    def _maps(self, pictures: Tensor) -> list[Tensor]:
        hidden = (pictures - self.shift) / self.scale
        maps = []
        for number, layer in enumerate(self.features):
            hidden = layer(hidden)
            if number in self.taps:
                # Inside the root, as torchmetrics has it: outside, features that are all 0 have a gradient of NaN.
                maps.append(hidden / (hidden.square().sum(1, keepdim=True) + 1e-8).sqrt())
        return maps

    def distances(self, pictures: Tensor, target: Tensor, at_once: int = 8) -> Tensor:
        """Return the distance of each picture to its target, `[B]`, of both `[B, 3, H, W]` in -1..1, sides of 16 or
        more. `at_once` pictures are in memory together.
        """
        if pictures.shape != target.shape or min(pictures.shape[-2:]) < SMALLEST:
            raise ValueError(
                f"LPIPS compares pictures of one shape with sides of {SMALLEST} pixels or more, and got "
                f"{list(pictures.shape)} and {list(target.shape)}"
            )
        pairs = zip(pictures.float().split(at_once), target.float().split(at_once), strict=True)
        return torch.cat([self._distances(part, wanted) for part, wanted in pairs])

    def _distances(self, pictures: Tensor, target: Tensor) -> Tensor:
        found, wanted = self._maps(pictures), self._maps(target)
        parts = [
            F.conv2d((a - b).square(), h).mean((1, 2, 3)) for a, b, h in zip(found, wanted, self.heads, strict=True)
        ]
        return torch.stack(parts).sum(0)

    def forward(self, pictures: Tensor, target: Tensor) -> Tensor:
        """Return the mean distance."""
        return self._distances(pictures.float(), target.float()).mean()


def _tensors(path: Path) -> Mapping[str, Tensor]:
    """Read a file of tensors; nothing in it can run. ValueError for one that is none, or not what its name promises."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it has {path.stat().st_size:,} bytes; the limit is {LARGEST:,}")
        if path.suffix == ".safetensors":
            return load_file(path)
        named = re.search(r"-([0-9a-f]{8})$", path.stem)  # torch.hub's names end with the start of their sha256
        if named:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if not digest.startswith(named[1]):
                raise ValueError(f"its sha256 starts with {digest[:8]}, and its name says {named[1]}")
        values = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        raise ValueError(" ".join(str(error).split())[:200] or type(error).__name__) from error
    if not isinstance(values, dict) or not all(isinstance(value, Tensor) for value in values.values()):
        raise ValueError("it holds no tensors by name")
    return values
