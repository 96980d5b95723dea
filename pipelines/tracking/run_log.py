"""What a run tells MLflow: one run for it, one nested run for each stage, data sets by their manifests' digests."""

from __future__ import annotations

import fnmatch
import json
import time
from pathlib import Path

from components.registry.database import database_path, has_versions
from components.registry.mlflow_errors import without_credentials
from components.registry.tracking import Tracker, default_tracking_uri
from pipelines.config.compose import flatten, load_config, to_dict
from pipelines.config.schema import Config
from pipelines.errors import one_line
from pipelines.stage import fetched
from pipelines.store.artifacts import Artifact, Manifest, find_artifact
from pipelines.store.files import Store
from pipelines.store.runs import Run, list_run_ids, milliseconds, read_run, save_run
from pipelines.tracking.figures import measured
from pipelines.tracking.registering import Registrar, registration_path

# Files of artifacts that people look at; they are copied into MLflow, the rest is named by its digest.
PICTURES = ("*.png", "*.html")
CURVE_SECONDS = 5.0  # between readings of what training tells
STATUS = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED", "completed": "FINISHED"}


def tracking_uri(config: Config, store: Store, environ: dict[str, str]) -> str:
    """Return the tracking URI: configured, else MLFLOW_TRACKING_URI, else a sqlite database in the store."""
    return config.tracking.uri or default_tracking_uri(store.absolute_url, environ)


def artifact_root(store: Store) -> str:
    """Return where MLflow's own artifacts go. It unquotes paths, so one with a `%` is given quoted."""
    url = f"{store.absolute_url}/mlartifacts"
    return Path(url).as_uri() if store.is_local and any(c in url for c in "%?#") else url


def open_tracker(config: Config, store: Store, environ: dict[str, str]) -> Tracker:
    """Open the tracker of a configuration."""
    return Tracker(tracking_uri(config, store, environ), artifact_root(store), config.tracking.experiment)


class RunLog:
    """Writes a run to MLflow as it happens. Stage runs are nested in the run's own and tagged with fingerprints."""

    def __init__(self, tracker: Tracker, store: Store, config: Config, run: Run, past: bool = False) -> None:
        self.tracker = tracker
        self.store = store
        self.config = config
        self._start_ms = milliseconds(run.created) if past else None
        self._read_curves = 0.0
        self._written: dict[str, int] = {}  # points of each stage's curve that are in MLflow
        if run.mlflow_run:
            tracker.resume(run.mlflow_run)
        else:
            tags = {"pixsem.run": run.id, "pixsem.preset": run.preset, "pixsem.store": store.absolute_url}
            params = {key: str(value) for key, value in flatten(to_dict(config)).items()}
            run.mlflow_run = tracker.start_run(run.id, tags, params, self._start_ms)

    def stage_changed(self, run: Run, name: str, artifact: Artifact | None) -> None:
        """Write a stage's new state."""
        state = run.stages[name]
        if state.state == "running":
            if state.mlflow_run:
                self.tracker.resume(state.mlflow_run)
            else:
                state.mlflow_run = self._start(run, name)
        elif state.state == "done":
            assert artifact is not None
            # An attempt of this run that was killed after the commit made it and could not tell of it.
            told = not state.mlflow_run or artifact.manifest.run != run.id or self.tracker.is_finished(state.mlflow_run)
            state.mlflow_run = state.mlflow_run or self._start(run, name)
            if not state.cached or not told:
                self._log_curve(run, name)
            self._log_artifact(state.mlflow_run, artifact, state.cached and told)
            self.tracker.finish(state.mlflow_run, "FINISHED", None, self._start_ms)
        elif state.state in STATUS and state.mlflow_run:
            self.tracker.finish(state.mlflow_run, STATUS[state.state], state.error or None)

    def tick(self, run: Run) -> None:
        """Write what training has told since the last reading, every few seconds."""
        if time.monotonic() - self._read_curves < CURVE_SECONDS:
            return
        self._read_curves = time.monotonic()
        for name, state in run.stages.items():
            if state.state == "running" and state.mlflow_run:
                self._log_curve(run, name)

    def _log_curve(self, run: Run, name: str) -> None:
        """Write the points of a stage's curve that are not in MLflow yet."""
        path = f"runs/{run.id}/curves/{name}.jsonl"
        if not self.store.exists(path):
            return
        lines = self.store.read_bytes(path).decode().splitlines()
        points = [json.loads(line) for line in lines[self._written.get(name, 0) :]]
        self._written[name] = len(lines)
        figures = [(p.pop("step"), p.pop("time"), {f"train.{k}": v for k, v in p.items()}) for p in points]
        self.tracker.log_curve(run.stages[name].mlflow_run, figures)

    def finish(self, run: Run, error: BaseException | None) -> None:
        """Close the run's own MLflow run as what it ended as."""
        end = milliseconds(run.finished) if self._start_ms is not None and run.finished else None
        self.tracker.finish(run.mlflow_run, STATUS[run.state], one_line(error) if error else None, end)

    def _judge(self, mlflow_run: str, manifest: Manifest) -> None:
        """Log an evaluation's figures on the model that was judged, with the held-out data it was judged on."""
        registrar = Registrar(self.tracker, self.store)
        model = registrar.logged_tokenizer(mlflow_run, manifest.inputs["train_tokenizer"])
        self.tracker.log_model_metrics(mlflow_run, model, manifest.metrics, "index", manifest.inputs["index"]["digest"])

    def _start(self, run: Run, name: str) -> str:
        state = run.stages[name]
        tags = {"pixsem.run": run.id, "pixsem.store": self.store.absolute_url, "pixsem.stage": name}
        tags |= {"pixsem.fingerprint": state.fingerprint, "pixsem.cached": str(state.cached).lower()}
        return self.tracker.start_stage(run.mlflow_run, name, tags, {}, self._start_ms)

    def _log_artifact(self, mlflow_run: str, artifact: Artifact, cached: bool) -> None:
        manifest = artifact.manifest
        for name, entry in manifest.inputs.items():
            uri = self.store.path(f"artifacts/{name}/{entry['fingerprint']}")
            self.tracker.log_dataset(mlflow_run, name, entry["digest"], uri, "input", {})
        uri = self.store.path(artifact.path)
        self.tracker.log_dataset(mlflow_run, manifest.stage, manifest.digest, uri, "output", manifest.counts)
        if cached:
            return
        self.tracker.log_metrics(mlflow_run, {"counts": manifest.counts, **measured(manifest.metrics)})
        if manifest.stage == "evaluate_tokenizer":
            self._judge(mlflow_run, manifest)
        for path in artifact.files():
            if any(fnmatch.fnmatch(path, pattern) for pattern in PICTURES) and "/shards/" not in path:
                with fetched(self.store, path) as local:
                    self.tracker.log_artifact(mlflow_run, str(local), "")


def register_versions(log: RunLog, run: Run, artifact: Artifact) -> None:
    """Make the registered versions of a run's `register` artifact. Doing it again changes nothing."""
    Registrar(log.tracker, log.store).register(run.stages["register"].mlflow_run, artifact, log.config)


def is_registered(config: Config, store: Store, fingerprint: str, environ: dict[str, str]) -> bool:
    """True where the registry still has the versions that a `register` artifact was made into. Somebody may have
    deleted them there, or named another registry.
    """
    path = registration_path(fingerprint)
    if not store.exists(path):
        return False
    made, uri = store.read_json(path), tracking_uri(config, store, environ)
    if made["tracking"] != without_credentials(uri):
        return False
    versions = [(model["name"], str(model["version"])) for model in made["models"]]
    database = database_path(uri)
    if database is not None:
        return has_versions(database, versions)
    registry = Registrar(open_tracker(config, store, environ), store).registry
    found = {(version.name, str(version.version)) for name in registry.names() for version in registry.versions(name)}
    return found.issuperset(versions)


def settle_runs(store: Store, tracker: Tracker, current: str | None) -> None:
    """Bring MLflow up to date with runs whose driver could not, or did not need to, write there.

    Killed drivers leave runs that MLflow shows as running: they are closed. Runs in which everything was cached were
    not written at all, since loading MLflow takes longer than such a run: they are written now, at their own times.
    """
    for run_id in list_run_ids(store):
        if run_id == current or store.exists(f"runs/{run_id}/settled"):
            continue
        run = read_run(store, run_id)
        if run.state == "running":
            continue
        close_open(store, tracker, run)
        if not run.mlflow_run:
            _log_afterwards(store, tracker, run)
        store.write_bytes(f"runs/{run_id}/settled", b"", durable=False)


def close_open(store: Store, tracker: Tracker, run: Run) -> None:
    """End what MLflow shows as running of a run that nobody drives, as what it ended as.

    They are looked up by tag: a driver may be killed before it has written down an id.
    """
    ends = {run.mlflow_run: run.state} | {state.mlflow_run: state.state for state in run.stages.values()}
    for mlflow_run, tags in tracker.open_runs("pixsem.run", run.id).items():
        if tags.get("pixsem.store", store.absolute_url) == store.absolute_url:  # a server may hold another store's, too
            tracker.finish(mlflow_run, STATUS.get(ends.get(mlflow_run, ""), "KILLED"), None)


def _log_afterwards(store: Store, tracker: Tracker, run: Run) -> None:
    path = f"{run.path}/config.yaml"
    config = load_config(store.read_bytes(path).decode(), store.path(path))
    log = RunLog(tracker, store, config, run, past=True)
    for name, state in run.stages.items():
        artifact = find_artifact(store, name, state.fingerprint) if state.state == "done" else None
        if artifact is not None:
            log.stage_changed(run, name, artifact)
            if name == "register":
                register_versions(log, run, artifact)
    log.finish(run, None)
    save_run(store, run)
