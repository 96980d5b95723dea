"""Writing runs to MLflow, explicitly: no active run, no global state, no network beyond the tracking server.

MLflow is imported when a tracker is opened, never before: it takes about 2.5 s. What a run consists of is the caller's.
"""

from __future__ import annotations

import logging
import numbers
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from components.registry.database import database_path, database_uri, prepare_database
from components.registry.mlflow_errors import TrackingError, tracking_error

__all__ = ["Tracker", "TrackingError", "default_tracking_uri"]

MAX_PARAM = 6000  # characters of a parameter's value that MLflow keeps
MAX_ERROR = 5000  # characters of an error kept as a tag
BATCH = 100  # parameters per request
METRIC_BATCH = 1000  # metrics per request
ATTEMPTS = 6  # tries while another process holds the database's lock; each waits 20 s inside sqlite where it can
PARENT = "mlflow.parentRunId"
ERROR = "pixsem.error"
ENDS = ("FINISHED", "FAILED", "KILLED")
# MLflow reports usage over the network, and prints addresses and progress bars into our output, unless told not to.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
Result = TypeVar("Result")


def default_tracking_uri(store_url: str, environ: Mapping[str, str]) -> str:
    """Return MLFLOW_TRACKING_URI where set, else a sqlite database in a local store.

    Raises ValueError for a remote store: a database cannot live in an object store.
    """
    given = environ.get("MLFLOW_TRACKING_URI")
    if given:
        return given
    local = store_url.removeprefix("file://")
    if "://" in local:
        raise ValueError(
            f"store={store_url} is remote, and a database cannot live there: set tracking.uri or MLFLOW_TRACKING_URI "
            "to an MLflow server, or to sqlite:////a/local/path/mlflow.db"
        )
    return database_uri(Path(local) / "mlflow.db")


class Tracker:
    """Runs of one experiment. Every method may raise `TrackingError`."""

    def __init__(self, tracking_uri: str, artifact_root: str, experiment: str) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        self.uri = tracking_uri
        self._open(artifact_root)
        self._experiment = self._experiment_id(experiment, artifact_root)

    def _open(self, artifact_root: str) -> None:
        path = database_path(self.uri)
        from mlflow.tracking.client import MlflowClient

        # Every database error comes back as a TrackingError; MLflow would print its traceback as well.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        if path is not None:
            self._try(lambda: prepare_database(path, artifact_root))
        elif self.uri.startswith(("http://", "https://")):
            self._try(self._knock)
        self._client = self._try(lambda: MlflowClient(self.uri))

    @property
    def client(self) -> Any:
        """MLflow's client, for the registry beside it; requests go through `attempt`."""
        return self._client

    def attempt(self, action: Callable[[], Result]) -> Result:
        """Run one request of the client's; errors come back as `TrackingError`."""
        return self._try(action)

    def _knock(self) -> None:
        """Ask once whether the server is there: later calls try again for four minutes, too long to learn of a typo."""
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        http_request(
            get_default_host_creds(self.uri), "/health", "GET", max_retries=1, timeout=20, raise_on_status=False
        )

    def _experiment_id(self, name: str, artifact_root: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self._try(lambda: self._client.get_experiment_by_name(name))
        if found is not None:
            return str(found.experiment_id)
        location = None if self.uri.startswith("http") else artifact_root

        def create() -> str:
            try:
                return str(self._client.create_experiment(name, artifact_location=location))
            except MlflowException as error:
                other = self._client.get_experiment_by_name(name)
                if error.error_code != "RESOURCE_ALREADY_EXISTS" or other is None:
                    raise
                return str(other.experiment_id)  # another driver made it in between

        return self._try(create)

    def start_run(
        self, name: str, tags: Mapping[str, str], params: Mapping[str, Any], start_ms: int | None = None
    ) -> str:
        """Start a run and return its id. Nested parameters get dotted names; what MLflow would not keep is cut, and
        ends in an ellipsis.

        `start_ms`, in milliseconds since 1970, is for a run that is written down afterwards.
        """
        return self._start(name, dict(tags), params, start_ms)

    def start_stage(
        self, parent_id: str, name: str, tags: Mapping[str, str], params: Mapping[str, Any], start_ms: int | None = None
    ) -> str:
        """Start a run nested in another and return its id."""
        return self._start(name, {**tags, PARENT: parent_id}, params, start_ms)

    def _start(self, name: str, tags: dict[str, str], params: Mapping[str, Any], start_ms: int | None) -> str:
        from mlflow.entities import Param

        # Each request is tried on its own: trying both again would leave a second run behind.
        run = self._try(lambda: self._client.create_run(self._experiment, start_ms, tags, name))
        listed = [Param(key, _cut(str(value))) for key, value in _flat(params)]
        for first in range(0, len(listed), BATCH):
            batch = listed[first : first + BATCH]
            self._try(lambda batch=batch: self._client.log_batch(run.info.run_id, params=batch))  # type: ignore[misc]
        return str(run.info.run_id)

    def find_run(self, tag: str, value: str) -> str | None:
        """Return the id of the newest run of the experiment with a tag of this value, or None."""
        if "'" in value:
            raise ValueError(f"{tag}={value}: runs cannot be looked up by a text with an apostrophe in it")
        text = f"tags.`{tag}` = '{value}'"
        order = ["attributes.start_time DESC"]
        found = self._try(lambda: self._client.search_runs([self._experiment], text, max_results=1, order_by=order))
        return str(found[0].info.run_id) if found else None

    def resume(self, run_id: str) -> None:
        """Set a run that ended back to running; the error it ended with is taken off."""
        self._try(lambda: self._client.update_run(run_id, status="RUNNING"))
        if ERROR in self._try(lambda: self._client.get_run(run_id)).data.tags:
            self._try(lambda: self._client.delete_tag(run_id, ERROR))

    def log_metrics(self, run_id: str, values: Mapping[str, Any]) -> None:
        """Log the numbers of a nested dict under dotted names; what is no number is left out."""
        self.log_curve(run_id, [(0, time.time(), values)])

    def log_curve(self, run_id: str, points: Sequence[tuple[int, float, Mapping[str, Any]]]) -> None:
        """Log (step, time in seconds, values) points; values as in `log_metrics`."""
        from mlflow.entities import Metric

        metrics = [
            Metric(name, float(value), int(moment * 1000), step)
            for step, moment, values in points
            for name, value in _flat(values)
            if _is_number(value)
        ]
        for first in range(0, len(metrics), METRIC_BATCH):
            batch = metrics[first : first + METRIC_BATCH]
            self._try(lambda batch=batch: self._client.log_batch(run_id, metrics=batch))  # type: ignore[misc]

    def find_model(self, tag: str, value: str) -> str | None:
        """Return the id of the experiment's logged model with a tag of this value, or None.

        A model whose maker was killed before its files were whole is passed over: it never becomes ready.
        """
        text = f"tags.`{tag}` = '{value}'"
        found = self._try(lambda: self._client.search_logged_models([self._experiment], filter_string=text))
        return next((str(model.model_id) for model in found if str(model.status) == "READY"), None)

    def log_model(self, run_id: str, name: str, tags: Mapping[str, str], folder: str | Path) -> str:
        """Log a folder of weights and configuration as a model that a run made; return its id."""
        model = self._try(
            lambda: self._client.create_logged_model(self._experiment, name, source_run_id=run_id, tags=dict(tags))
        )
        model_id = str(model.model_id)
        self._try(lambda: self._client.log_model_artifacts(model_id, str(folder)))
        self._try(lambda: self._client.finalize_logged_model(model_id, "READY"))
        return model_id

    def log_model_metrics(
        self, run_id: str, model_id: str, values: Mapping[str, Any], dataset: str, digest: str
    ) -> None:
        """Log numbers of a nested dict to a model and the data set they were measured on (its digest as `log_dataset`
        keeps it).
        """
        from mlflow.entities import Metric

        moment = int(time.time() * 1000)
        metrics = [
            Metric(name, float(value), moment, 0, model_id=model_id, dataset_name=dataset, dataset_digest=digest[:36])
            for name, value in _flat(values)
            if _is_number(value)
        ]
        for first in range(0, len(metrics), METRIC_BATCH):
            batch = metrics[first : first + METRIC_BATCH]
            self._try(lambda batch=batch: self._client.log_batch(run_id, metrics=batch))  # type: ignore[misc]

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
        assert status in ENDS, status
        if error:
            self._try(lambda: self._client.set_tag(run_id, ERROR, error[:MAX_ERROR]))
        self._try(lambda: self._client.set_terminated(run_id, status, end_ms))

    def open_runs(self, tag: str, value: str) -> dict[str, dict[str, str]]:
        """Return {id: tags} of up to 1,000 runs of the experiment that are shown as running and have a tag of this
        value.
        """
        text = f"attributes.status = 'RUNNING' and tags.`{tag}` = '{value}'"
        found = self._try(lambda: self._client.search_runs([self._experiment], text))
        return {str(run.info.run_id): dict(run.data.tags) for run in found}

    def is_finished(self, run_id: str) -> bool:
        """True where a run is shown as ended well."""
        return bool(self._try(lambda: self._client.get_run(run_id)).info.status == "FINISHED")

    def _try(self, action: Callable[[], Result]) -> Result:
        """Run one request; wait while the database is locked by another process, and put other errors in words."""
        import sqlite3

        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        for attempt in range(ATTEMPTS):
            try:
                return action()
            except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ModuleNotFoundError) as error:
                if "database is locked" in str(error) and attempt < ATTEMPTS - 1:
                    time.sleep(0.2 * 2**attempt)
                    continue
                raise tracking_error(self.uri, error) from error
        raise AssertionError("the last attempt returns or raises")


def _cut(value: str) -> str:
    return value if len(value) <= MAX_PARAM else value[: MAX_PARAM - 1] + "…"


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return found


def _is_number(value: Any) -> bool:
    # numpy's scalars are Real too, numpy's and Python's truth values are not meant.
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
