"""Models by name or folder: `models:/NAME@ALIAS` and `models:/NAME/VERSION` of a store's registry, or what a stage or
`save_pretrained` wrote.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.generator.pipeline import PixelSemanticPipeline


def load_pipeline(name: str | Path, store: str = "./store", device: str | None = None) -> PixelSemanticPipeline:
    """Return a diffusers pipeline that makes pictures from prompts and edits pictures by instructions.

    `name` is `models:/pixsem-generator@champion`, `models:/pixsem-generator/1`, or a folder with `model_index.json` (or
    a `register` artifact, which holds one). `store` is where the registry lies, unless MLFLOW_TRACKING_URI names a
    server. `device` None: a GPU where there is one. Raises `ValueError`, in words, where there is no such model.
    """
    from pipelines.serving import open_pipeline
    from pipelines.tracking.open_version import open_version

    pipeline = open_pipeline(str(open_version(str(name), store).folder))
    return pipeline if device is None else pipeline.to(device)


def load_tokenizer(name: str | Path, store: str = "./store", device: str | None = None) -> Any:
    """Return a latent space: `encode(x).latent_dist`, `decode(z).sample`, `features(x)`, `decode_features(z)`; pictures
    are `[B, 3, S, S]` in -1..1.

    `name` is `models:/pixsem-tokenizer@champion`, `models:/pixsem-tokenizer/1`, or a folder with its `config.json` (or
    a `train_tokenizer` artifact). Other arguments and errors as of `load_pipeline`.
    """
    from components.tokenizer.rivals import load_tokenizer as load
    from components.training.machine import best_device
    from pipelines.tracking.open_version import open_version

    tokenizer = load(open_version(str(name), store, "model", "config.json").folder)
    return tokenizer.to(device or best_device())
