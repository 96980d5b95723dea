"""What must hold of a store once a hurt run was resumed: read from the files and the database themselves, not through
pixsem.

Each check returns what is wrong, in words; nothing where all is in order.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path


def artifact_digests(store: Path) -> dict[str, str]:
    """Return {stage/fingerprint: content digest} of every committed artifact."""
    found = {}
    for path in sorted(store.glob("artifacts/*/*/manifest.json")):
        manifest = json.loads(path.read_text())
        found[f"{manifest['stage']}/{manifest['fingerprint']}"] = manifest["digest"]
    return found


def missing(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Committed artifacts of `before` that are gone or have other content."""
    return sorted(name for name, digest in before.items() if after.get(name) != digest)


def lease_problems(store: Path) -> list[str]:
    """Leases that nobody gave back."""
    return [f"lease {path.stem} was left" for path in sorted(store.glob("leases/*.json"))]


def run_problems(store: Path, run_id: str) -> list[str]:
    """A run that is not completed, by its own record."""
    record = json.loads((store / "runs" / run_id / "run.json").read_text())
    open_ones = [f"stage {name} is {s['state']}" for name, s in record["stages"].items() if s["state"] != "done"]
    return [] if record["state"] == "completed" and not open_ones else [f"run is {record['state']}", *open_ones]


def mlflow_problems(store: Path, run_id: str) -> list[str]:
    """MLflow runs that do not tell the truth about a completed run and about those before it."""
    found = []
    with closing(sqlite3.connect(store / "mlflow.db")) as database:
        for name, status in database.execute("select name, status from runs"):
            if status == "RUNNING":
                found.append(f"MLflow shows {name} as RUNNING")
        states = [s for (s,) in database.execute("select status from runs where name = ?", (run_id,))]
        if states.count("FINISHED") != 1 or set(states) - {"FINISHED", "KILLED"}:
            found.append(f"MLflow has the completed run as {states}")
        record = json.loads((store / "runs" / run_id / "run.json").read_text())
        for name, state in record["stages"].items():
            row = database.execute("select status from runs where run_uuid = ?", (state["mlflow_run"],)).fetchone()
            if row != ("FINISHED",):
                found.append(f"MLflow has the done stage {name} as {row}")
            manifest = json.loads((store / f"artifacts/{name}/{state['fingerprint']}/manifest.json").read_text())
            counted = database.execute(
                "select count(*) from latest_metrics where run_uuid = ?", (state["mlflow_run"],)
            ).fetchone()[0]
            if manifest["run"] == run_id and not counted:
                found.append(f"MLflow has no figures of stage {name}, which this run made")
    return found


def registry_problems(store: Path, wanted: set[str]) -> list[str]:
    """Half versions: without weights, without a judgement, made twice, or not there. `wanted` are the digests to be
    registered.
    """
    found = []
    with closing(sqlite3.connect(store / "mlflow.db")) as database:
        tags: dict[tuple[str, int], dict[str, str]] = {}
        for name, version, key, value in database.execute("select name, version, key, value from model_version_tags"):
            tags.setdefault((name, version), {})[key] = value
        named = set(database.execute("select name, version from registered_model_aliases"))
        digests = []
        for name, version, status, source in database.execute(
            "select name, version, status, source from model_versions"
        ):
            where, its = f"{name} version {version}", tags.get((name, version), {})
            digests.append(its.get("pixsem.digest", ""))
            if status != "READY" or not list(Path(source.removeprefix("file://")).rglob("*.safetensors")):
                found.append(f"{where} is {status}, its weights at {source}")
            if (name, version) not in named and "pixsem.refused" not in its:
                found.append(f"{where} was neither given an alias nor refused")
            if "pixsem.evaluation" not in its:
                found.append(f"{where} says of no evaluation")
    if sorted(digests) != sorted(wanted):
        found.append(f"registered are {sorted(digests)} where {sorted(wanted)} were made")
    return found
