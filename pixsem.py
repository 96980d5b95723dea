"""pixsem's public names: `from pixsem import load_pipeline`. Each is imported when it is used first, so `import pixsem`
costs nothing.

After `import pixsem`, diffusers' own `DiffusionPipeline.from_pretrained(folder)` opens a pipeline's folder too.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.generator.pipeline import PixelSemanticPipeline
    from components.tokenizer.vae import PixelSemanticVAE
    from pipelines.api.latent_dataset import LatentDataset
    from pipelines.api.load_models import load_pipeline, load_tokenizer
    from pipelines.api.run_pipeline import run

__all__ = ["LatentDataset", "PixelSemanticPipeline", "PixelSemanticVAE", "load_pipeline", "load_tokenizer", "run"]
_PLACES = {
    "PixelSemanticVAE": "components.tokenizer.vae",
    "PixelSemanticPipeline": "pipelines.api.classes",
    "load_tokenizer": "pipelines.api.load_models",
    "load_pipeline": "pipelines.api.load_models",
    "LatentDataset": "pipelines.api.latent_dataset",
    "run": "pipelines.api.run_pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'pixsem' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def _extend(diffusers: ModuleType) -> None:
    """Let diffusers find our pipeline's class under its name, imported when it is asked for."""
    kind = type(diffusers)
    found = property(lambda _: __getattr__("PixelSemanticPipeline"))
    diffusers.__class__ = type(kind.__name__, (kind,), {"PixelSemanticPipeline": found})


class _AfterDiffusers(importlib.abc.MetaPathFinder):
    """Waits for the import of diffusers, which takes seconds and is not ours to start."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return diffusers' own spec, with a loader that extends the module once it is there."""
        if fullname != "diffusers":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _extend(sys.modules["diffusers"])  # it puts another module in its own place

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if "diffusers" in sys.modules:
    _extend(sys.modules["diffusers"])
else:
    sys.meta_path.insert(0, _AfterDiffusers())
