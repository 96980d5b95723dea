"""Models by name or folder: `models:/NAME@ALIAS` and `models:/NAME/VERSION` of a store's registry, or what a stage or
`save_pretrained` wrote.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError

if TYPE_CHECKING:
    from components.generator.pipeline import PixelSemanticPipeline

SCHEME = "models:/"


def load_pipeline(name: str | Path, store: str = "./store", device: str | None = None) -> PixelSemanticPipeline:
    """Return a diffusers pipeline that makes pictures from prompts and edits pictures by instructions.

    `name` is `models:/pixsem-generator@champion`, `models:/pixsem-generator/1`, or a folder with `model_index.json` (or
    a `register` artifact, which holds one). `store` is where the registry lies, unless MLFLOW_TRACKING_URI names a
    server. `device` None: a GPU where there is one. Raises `ValueError`, in words, where there is no such model.
    """
    from pipelines.serving import open_pipeline

    with tempfile.TemporaryDirectory() as scratch:
        pipeline = open_pipeline(str(_folder(name, store, "pipeline", "model_index.json", scratch)))
    return pipeline if device is None else pipeline.to(device)


def load_tokenizer(name: str | Path, store: str = "./store", device: str | None = None) -> Any:
    """Return a latent space: `encode(x).latent_dist`, `decode(z).sample`, `features(x)`, `decode_features(z)`; pictures
    are `[B, 3, S, S]` in -1..1.

    `name` is `models:/pixsem-tokenizer@champion`, `models:/pixsem-tokenizer/1`, or a folder with its `config.json` (or
    a `train_tokenizer` artifact). Other arguments and errors as of `load_pipeline`.
    """
    from components.tokenizer.rivals import load_tokenizer as load
    from components.training.machine import best_device

    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = load(_folder(name, store, "model", "config.json", scratch))
    return tokenizer.to(device or best_device())


def _folder(name: str | Path, store: str, inner: str, marker: str, scratch: str) -> Path:
    """Return the local folder of a model."""
    if str(name).startswith(SCHEME):
        return download(str(name), store, scratch)
    folder = Path(name)
    if not folder.is_dir():
        raise UserError(f"{name} is neither a folder nor {SCHEME}NAME@ALIAS or {SCHEME}NAME/VERSION")
    return folder if (folder / marker).exists() or not (folder / inner / marker).exists() else folder / inner


def download(name: str, store: str, folder: str | Path) -> Path:
    """Put a registered version's files into a folder, and return the model's own folder below it."""
    import os

    from pipelines.config.compose import compose_config
    from pipelines.config.values import assign
    from pipelines.store.files import Store
    from pipelines.tracking.registering import Registrar
    from pipelines.tracking.run_log import open_tracker

    opened = Store(store)
    config = compose_config([assign("store", store)])
    registry = Registrar(open_tracker(config, opened, dict(os.environ)), opened).registry
    return registry.download(registry.find(name), folder)
