"""Run records: `runs/<id>/` holds what was asked (`config.yaml`), what became of each stage (`run.json`), progress and
logs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipelines.errors import StoreError, UserError, nearest
from pipelines.store.files import Store
from pipelines.store.leases import is_live

# A stage's states: waiting, running, done, failed, skipped (an input failed), interrupted.
FINISHED = ("completed", "failed", "interrupted")


def now() -> str:
    """Return the time of day in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def milliseconds(moment: str) -> int:
    """Return a time of `now` as milliseconds since 1970."""
    return int(datetime.fromisoformat(moment).timestamp() * 1000)


@dataclass
class StageState:
    """What became of a stage in a run."""

    state: str = "waiting"
    fingerprint: str = ""
    cached: bool = False
    seconds: float = 0.0
    reason: str = ""
    error: str = ""
    log: str = ""
    mlflow_run: str = ""


@dataclass
class Run:
    """One run: its request and its state. `seconds` adds up over resumes."""

    id: str
    preset: str
    state: str = "running"
    created: str = ""
    finished: str = ""
    seconds: float = 0.0
    until: str | None = None
    force: list[str] = field(default_factory=list)
    stages: dict[str, StageState] = field(default_factory=dict)
    mlflow_run: str = ""
    attempts: int = 1
    asked: list[str] = field(default_factory=list)  # what `pixsem run` was given, to make the same configuration

    @property
    def path(self) -> str:
        """The run's folder in the store."""
        return f"runs/{self.id}"

    @property
    def lease(self) -> str:
        """The lease its driver holds while it lives."""
        return f"run-{self.id}"


def save_run(store: Store, run: Run) -> None:
    """Write the run's record whole."""
    store.write_json(f"{run.path}/run.json", asdict(run), durable=False)


def read_run(store: Store, run_id: str) -> Run:
    """Read a run's record. A run whose driver is gone is shown as interrupted, with its unfinished stages."""
    path = f"runs/{run_id}/run.json"
    value = store.read_json(path)
    try:
        run = Run(**{**value, "stages": {name: StageState(**state) for name, state in value["stages"].items()}})
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{store.path(path)} is no run record of pixsem: {error!r}.") from error
    if run.state == "running" and not is_live(store, run.lease):
        run.state = "interrupted"
        for state in run.stages.values():
            if state.state == "running":
                state.state = "interrupted"
    return run


def list_run_ids(store: Store) -> list[str]:
    """Return the ids of all runs, oldest first."""
    return [name for name in store.folders("runs") if store.exists(f"runs/{name}/run.json")]


def find_run(store: Store, run_id: str | None) -> Run:
    """Return a run by id, or the latest; `UserError` where there is none."""
    known = list_run_ids(store)
    if not known:
        raise UserError(f"no runs in store={store.url}. Start one with: pixsem run")
    if run_id is None:
        return read_run(store, known[-1])
    if run_id not in known:
        raise UserError(
            f"no run {run_id} in store={store.url}{nearest(run_id, known)} List them with: pixsem status --all"
        )
    return read_run(store, run_id)


def new_run(
    store: Store, preset: str, config_yaml: str, until: str | None, force: list[str], asked: Sequence[str] = ()
) -> Run:
    """Make a run's folder under a name of its own: ids sort by the time they were made."""
    while True:
        moment = datetime.now(UTC)
        run_id = f"{moment:%Y%m%d-%H%M%S}-{moment.microsecond // 1000:03d}"
        if store.create(f"runs/{run_id}/config.yaml", config_yaml.encode()):
            return Run(run_id, preset, created=now(), until=until, force=list(force), asked=list(asked))
        time.sleep(0.002)


def save_progress(store: Store, run_id: str, stage: str, value: dict[str, Any]) -> None:
    """Write how far a running stage is."""
    store.write_json(f"runs/{run_id}/progress/{stage}.json", value, durable=False)


def read_progress(store: Store, run_id: str, stage: str) -> dict[str, Any]:
    """Return how far a stage is; {} where it has not said."""
    try:
        return dict(store.read_json(f"runs/{run_id}/progress/{stage}.json"))
    except FileNotFoundError:
        return {}


def request_stop(store: Store, run_id: str) -> None:
    """Ask the training of a run to save and end."""
    store.write_bytes(f"runs/{run_id}/stop", b"", durable=False)


def stop_requested(store: Store, run_id: str) -> bool:
    """True where somebody asked."""
    return store.exists(f"runs/{run_id}/stop")


def clear_stop(store: Store, run_id: str) -> None:
    """Forget what an earlier attempt was asked."""
    store.remove_tree(f"runs/{run_id}/stop")


def progress_text(progress: dict[str, Any]) -> str:
    """Say rate and time left, as far as they are known: `31 samples/s, 0:12 left`."""
    parts = []
    if progress.get("rate"):
        parts.append(f"{progress['rate']:,.0f} samples/s")
    if progress.get("left") is not None:
        parts.append(f"{clock(progress['left'])} left")
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """Return seconds as h:mm:ss or m:ss."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
