"""What tests of several rooms share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory) -> Path:
    """An empty MLflow database: making one takes seconds, so it is made once."""
    from components.registry.tracking import Tracker

    folder = tmp_path_factory.mktemp("mlflow")
    Tracker(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"), "pixsem")
    return folder / "mlflow.db"
