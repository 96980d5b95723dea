"""What tests of several rooms share."""

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several processes share the cores: with a team of threads each they would wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Where tests run in several processes, those of a file stay together, and so do those on the stores that take long to make, first."""

    def group(item) -> str:
        return "stores" if {"finished", "trained"} & set(item.fixturenames) else str(item.path)

    items.sort(key=lambda item: group(item) != "stores")
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory) -> Path:
    """An empty MLflow database: making one takes seconds, so it is made once."""
    from components.registry.tracking import Tracker

    folder = tmp_path_factory.mktemp("mlflow")
    Tracker(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"), "pixsem")
    return folder / "mlflow.db"
