"""Whether trainings that ask for float8 products can have them, as far as this machine tells."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter

from pipelines.cluster.resources import training_resources
from pipelines.config.schema import Config
from pipelines.config.trainings import TRAININGS
from pipelines.preflight.asked_models import lacks


def check_float8(config: Config, stage: str) -> Iterator[str]:
    """Check a training stage: the package, and that it runs on GPUs. Which GPUs, each node says when asked."""
    key = f"{TRAININGS[stage]}.float8"
    if not attrgetter(key)(config):
        return
    if lacks("torchao"):
        yield f"{key} needs the package torchao. Install it on every node with: pip install 'pixsem[fp8]'"
    if not training_resources(config, stage).gpus:
        yield (
            f"{key} is for GPUs that multiply in float8, and execution.training.{stage}.gpus is 0. "
            f"Set it to 1, or {key}=false."
        )
