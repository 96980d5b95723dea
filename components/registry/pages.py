"""Addresses inside MLflow's page, relative to where it is served. Standard library only."""

from __future__ import annotations

from urllib.parse import quote, urlencode

# Without it the page opens on agents and traces, and leaves the registry out of its menu.
VIEW = "?workflowType=machine_learning"


def models_page() -> str:
    """The list of registered models. MLflow drops what follows its address."""
    return "#/models"


def model_page(name: str) -> str:
    """One registered model: its versions."""
    return f"#/models/{quote(name, safe='')}{VIEW}"


def version_page(name: str, version: str) -> str:
    """One registered version."""
    return f"#/models/{quote(name, safe='')}/versions/{version}{VIEW}"


def run_page(experiment: str, run_id: str) -> str:
    """One run."""
    return f"#/experiments/{experiment}/runs/{run_id}{VIEW}"


def version_file(name: str, version: str, path: str) -> str:
    """A file of a registered version: a picture on its page."""
    return "model-versions/get-artifact?" + urlencode({"name": name, "version": version, "path": path})


def run_file(run_id: str, path: str) -> str:
    """A file of a run: a picture on its page."""
    return "get-artifact?" + urlencode({"run_uuid": run_id, "path": path})
