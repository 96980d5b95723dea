"""Writing runs to MLflow, explicitly: no active run, no global state, no network beyond the tracking server.

Only the parts of MLflow that speak to its stores are imported: its top level pulls in every flavour.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

MAX_PARAM = 6000  # characters of a parameter's value that MLflow keeps
BATCH = 100  # parameters per request
ATTEMPTS = 6  # tries while another process holds the database's lock
PARENT = "mlflow.parentRunId"
Result = TypeVar("Result")


class TrackingError(ValueError):
    """MLflow cannot be written to; the text says why and what to do."""


def default_tracking_uri(store_url: str, environ: Mapping[str, str]) -> str:
    """Return MLFLOW_TRACKING_URI where set, else a sqlite database in a local store.

    Raises ValueError for a remote store: a database cannot live in an object store.
    """
    given = environ.get("MLFLOW_TRACKING_URI")
    if given:
        return given
    if "://" in store_url:
        raise ValueError(
            f"store={store_url} is remote, and a database cannot live there: "
            "set tracking.uri or MLFLOW_TRACKING_URI to an MLflow server, or to sqlite:////a/local/path/mlflow.db"
        )
    return f"sqlite:///{Path(store_url).absolute()}/mlflow.db"


class Tracker:
    """Runs of one experiment. Every method may raise `TrackingError`."""

    def __init__(self, tracking_uri: str, artifact_root: str, experiment: str) -> None:
        # MLflow reports usage over the network unless told not to.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("DO_NOT_TRACK", "true")
        self.uri = tracking_uri
        self._experiment = self._try(lambda: self._open(artifact_root, experiment))

    def _open(self, artifact_root: str, name: str) -> str:
        if self.uri.startswith("sqlite:///"):
            Path(self.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        from mlflow.tracking.client import MlflowClient

        self._client = MlflowClient(self.uri)
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        location = None if self.uri.startswith("http") else artifact_root
        return str(self._client.create_experiment(name, artifact_location=location))

    def start_run(
        self, name: str, tags: Mapping[str, str], params: Mapping[str, str], start_ms: int | None = None
    ) -> str:
        """Start a run and return its id. Parameters longer than MLflow keeps are cut, and end in an ellipsis.

        `start_ms`, in milliseconds since 1970, is for a run that is written down afterwards.
        """
        return self._start(name, dict(tags), params, start_ms)

    def start_stage(
        self, parent_id: str, name: str, tags: Mapping[str, str], params: Mapping[str, str], start_ms: int | None = None
    ) -> str:
        """Start a run nested in another and return its id."""
        return self._start(name, {**tags, PARENT: parent_id}, params, start_ms)

    def _start(self, name: str, tags: dict[str, str], params: Mapping[str, str], start_ms: int | None) -> str:
        from mlflow.entities import Param

        def start() -> str:
            run = self._client.create_run(self._experiment, start_ms, tags, name)
            listed = [Param(key, _cut(value)) for key, value in params.items()]
            for first in range(0, len(listed), BATCH):
                self._client.log_batch(run.info.run_id, params=listed[first : first + BATCH])
            return str(run.info.run_id)

        return self._try(start)

    def resume(self, run_id: str) -> None:
        """Set a run that ended back to running."""
        self._try(lambda: self._client.update_run(run_id, status="RUNNING"))

    def log_metrics(self, run_id: str, values: Mapping[str, Any]) -> None:
        """Log the numbers of a nested dict under dotted names; what is no number is left out."""
        from mlflow.entities import Metric

        moment = int(time.time() * 1000)
        metrics = [Metric(name, float(value), moment, 0) for name, value in _numbers(values)]
        if metrics:
            self._try(lambda: self._client.log_batch(run_id, metrics=metrics))

    def log_dataset(
        self, run_id: str, name: str, digest: str, uri: str, context: str, profile: Mapping[str, Any]
    ) -> None:
        """Log a data set by its digest. MLflow keeps 36 characters of a digest; the whole one stands in the profile."""
        import json

        from mlflow.entities import Dataset, DatasetInput, InputTag

        described = json.dumps({"digest": digest, **profile}, sort_keys=True)
        source = json.dumps({"uri": uri})
        dataset = Dataset(name=name, digest=digest[:36], source_type="local", source=source, profile=described)
        tagged = [InputTag("mlflow.data.context", context)]
        self._try(lambda: self._client.log_inputs(run_id, [DatasetInput(dataset, tagged)]))

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str) -> None:
        """Copy a local file into the run's artifacts."""
        self._try(lambda: self._client.log_artifact(run_id, local_path, artifact_path or None))

    def finish(self, run_id: str, status: str, error: str | None, end_ms: int | None = None) -> None:
        """End a run as FINISHED, FAILED or KILLED, with its error as a tag."""

        def end() -> None:
            if error:
                self._client.set_tag(run_id, "pixsem.error", error[:5000])
            self._client.set_terminated(run_id, status, end_ms)

        self._try(end)

    def close_dead(self, run_ids: list[str]) -> None:
        """End those of the runs as KILLED that are still shown as running."""

        def close() -> None:
            for run_id in run_ids:
                if self._client.get_run(run_id).info.status == "RUNNING":
                    self._client.set_terminated(run_id, "KILLED")

        self._try(close)

    def _try(self, action: Callable[[], Result]) -> Result:
        """Run an action; wait while the database is locked by another process, and put other errors in words."""
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        for attempt in range(ATTEMPTS):
            try:
                return action()
            except (MlflowException, SQLAlchemyError, OSError) as error:
                if "database is locked" in str(error) and attempt < ATTEMPTS - 1:
                    time.sleep(0.2 * 2**attempt)
                    continue
                raise TrackingError(f"MLflow at {_safe(self.uri)} {_why(error)}") from error
        raise AssertionError("the last attempt returns or raises")


def _why(error: Exception) -> str:
    text = " ".join(str(error).split())
    low = text.lower()
    if "not a database" in low or "malformed" in low:
        return "is no readable database: it is damaged. Move it away, and a new one is made."
    if "out-of-date database schema" in low or "can't locate revision" in low:
        return "has the schema of another MLflow version. Upgrade it with `mlflow db upgrade`, or use the MLflow that made it."
    if "max retries exceeded" in low or "connection" in low or "refused" in low:
        return "does not answer. Start the server, or set tracking.uri to another."
    return f"failed: {text[:400]}"


def _safe(uri: str) -> str:
    """Return an address without the credentials in it."""
    scheme, mark, rest = uri.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}" if mark else uri


def _cut(value: str) -> str:
    return value if len(value) <= MAX_PARAM else value[: MAX_PARAM - 1] + "…"


def _numbers(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((f"{prefix}{key}", float(value)))
    return found
