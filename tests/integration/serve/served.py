"""A tiny model behind the real service: Ray, Serve, Engine and Front in processes of their own, on a free port."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.serve.limits import Limits
from pipelines.serve.start import deploy, front, started
from tests.ports import free_port
from tests.unit.generator.worlds import pipeline

CARD = "---\nlibrary_name: diffusers\n---\n\n# A tiny model\n\n![Pictures](samples.png)\n"
EXAMPLES = {"prompts": ["a red circle on the left", "a red circle"], "instructions": ["make it blue"]}
NUMBERS = itertools.count(1)


@dataclass
class Served:
    """A service that answers: `url` of HTTP, `engine` the handle of the model's deployment, `model_folder` its files
    (32 x 32 pixels, 3 steps, texts of a few words).
    """

    url: str
    engine: Any
    limits: Limits
    model_folder: Path

    @contextmanager
    def front(self, api_key: str = "", webhook_secret: str = "", **limits: Any) -> Iterator[str]:
        """Start one more HTTP side before the same engine, with a key, a secret or other limits; yield its url."""
        from ray import serve

        name = f"front-{next(NUMBERS)}"
        changed = replace(self.limits, **limits)
        deploy(front(self.engine, changed, api_key, webhook_secret), name, f"/{name}")
        try:
            yield f"{self.url}/{name}"
        finally:
            serve.delete(name)


def save_model(folder: Path, seed: int = 0) -> Path:
    """Write a tiny pipeline with random weights, its card and examples; other weights for another seed."""
    import torch

    made = pipeline()
    torch.manual_seed(seed)
    with torch.no_grad():
        next(made.transformer.parameters()).add_(seed * 0.1)
    made.save_pretrained(folder)
    made("a red circle", num_inference_steps=1).images[0].save(folder / "samples.png")
    (folder / "README.md").write_text(CARD)
    (folder / "examples.json").write_text(json.dumps(EXAMPLES))
    return folder


@contextmanager
def serving(model: str, store: str, folder: Path, **limits: Any) -> Iterator[Served]:
    """Start the service; it ends with the block, and all its processes with it."""
    asked = Limits(**{"port": free_port(), "cpus": 1, "poll_s": 0.5, "stop_s": 5.0, **limits})
    with started(model, store, asked) as running:
        yield Served(running.url, running.engine, asked, folder)
