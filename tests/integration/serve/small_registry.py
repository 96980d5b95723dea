"""A store's registry with versions of a tiny model, as `register` makes them."""

from __future__ import annotations

import shutil
from pathlib import Path

from components.registry.model_versions import Registry
from components.registry.named_versions import Version
from components.registry.tracking import Tracker, default_tracking_uri
from pipelines.serving import GENERATOR_COLUMNS
from tests.integration.serve.served import save_model

NAME = "pixsem-generator"
CHAMPION = f"models:/{NAME}@champion"


class SmallRegistry:
    """Versions of one store. `empty` is an MLflow database without any."""

    def __init__(self, store: Path, empty: Path) -> None:
        store.mkdir(parents=True)
        shutil.copyfile(empty, store / "mlflow.db")
        self.store = store
        self.registry = Registry(Tracker(default_tracking_uri(str(store), {}), str(store / "artifacts"), "pixsem"))
        self.run = self.registry._tracker.start_run("tiny models", {}, {})

    def add(self, seed: int) -> Version:
        """Register the tiny model with the weights of a seed."""
        folder, digest = save_model(self.store / f"pipeline-{seed}", seed), f"digest-{seed}"
        logged = self.registry.log_model(
            self.run, NAME, {"pixsem.digest": digest}, folder, "pipelines.serving:load_generator", GENERATOR_COLUMNS
        )
        return self.registry.register(NAME, logged, self.run, {"pixsem.digest": digest})

    def promote(self, version: Version) -> None:
        self.registry.give(version, "champion")

    def damage(self, version: Version) -> None:
        """Cut a version's weights short."""
        path = next(Path(version.source).rglob("transformer/*.safetensors"))
        path.write_bytes(path.read_bytes()[:1000])
