"""A run, a model and a registered version, written and taken away again, to see whether MLflow takes what a run will
bring.
"""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

from components.registry.tracking import Tracker

NAME = "pixsem-doctor"


def try_tracking(tracker: Tracker) -> str:
    """Write and register; return what was done. What was made is deleted, as MLflow deletes: `mlflow gc` frees its
    bytes.

    Raises `TrackingError`, and ValueError where something does not come back as it was written.
    """
    client = tracker.client
    run = tracker.start_run(NAME, {"pixsem.doctor": "true"}, {})
    name = f"{NAME}-{secrets.token_hex(4)}"
    try:
        tracker.log_metrics(run, {"checked": 1.0})
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.txt"
            path.write_text("none")
            model_id = tracker.log_model(run, NAME, {}, folder)
        logged = tracker.attempt(lambda: client.get_logged_model(model_id))
        tracker.attempt(lambda: client.create_registered_model(name))
        try:
            made = tracker.attempt(
                lambda: client.create_model_version(name, logged.artifact_location, run, model_id=model_id)
            )
            tracker.attempt(lambda: client.set_registered_model_alias(name, "tried", made.version))
            found = tracker.attempt(lambda: client.get_model_version_by_alias(name, "tried"))
        finally:
            tracker.attempt(lambda: client.delete_registered_model(name))
        tracker.attempt(lambda: client.delete_logged_model(model_id))
        metrics = tracker.attempt(lambda: client.get_run(run)).data.metrics
        if metrics.get("checked") != 1.0 or str(found.version) != str(made.version):
            raise ValueError(f"MLflow does not give back what it was given: {metrics}, version {found.version}")
    finally:
        tracker.attempt(lambda: client.delete_run(run))
    return "wrote a run, logged a model, registered and found its version, and deleted them"
