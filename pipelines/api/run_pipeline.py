"""Running the pipeline from Python: what `pixsem run` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RunResult:
    """How a run ended, as `pixsem report --json` says it."""

    id: str
    state: str  # completed or failed
    store: str
    metrics: dict[str, Any] = field(default_factory=dict)
    models: list[dict[str, Any]] = field(default_factory=list)  # registered versions
    stages: list[dict[str, Any]] = field(default_factory=list)  # with state, counts, path of the artifact, error


def run(
    *overrides: str,
    until: str | None = None,
    force: Sequence[str] = (),
    config_dir: str | None = None,
    quiet: bool = False,
) -> RunResult:
    """Run the pipeline with `key=value` overrides, as `pixsem run`; cached stages are taken from the store.

    Raises `ValueError`, in words, for a configuration that cannot run. A stage that fails ends in `state` "failed",
    with its error in `stages`.
    """
    from pipelines.config.compose import compose_config
    from pipelines.preflight import refuse_problems
    from pipelines.store.files import Store
    from pipelines.workflow.launch import run_new, stages_of
    from pipelines.workflow.report import report

    config = compose_config(list(overrides), config_dir)
    refuse_problems(config, stages_of(config, until))
    store = Store(config.store)
    value = report(store, run_new(store, config, until, list(force), quiet))
    return RunResult(value["run"], value["state"], config.store, value["metrics"], value["models"], value["stages"])
