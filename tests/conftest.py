"""What tests of several rooms share."""

import gc
import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several processes share the cores: with a team of threads each they would wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

gc.set_threshold(20_000)  # imports of torch and its like make millions of objects, and nothing of them ever ends


def pytest_collection_finish():
    """What was imported is not looked through again."""
    gc.freeze()


HERE = "tests/integration/pipelines/test_"
# Files that read a store which takes long to make (tests/integration/pipelines/conftest.py). `trained` has models.
ON_TRAINED = ("tests/chaos/", *(f"{HERE}{name}.py" for name in ("front_page", "generator_stages", "tokenizer_stages")))
ON_FINISHED = tuple(
    f"{HERE}{name}.py"
    for name in (
        "any_stage", "command_line", "comparison", "durability", "nodes", "report_page", "submit", "training",
        "two_drivers",
    )
)  # fmt: skip


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Where tests run in several processes, those of a file stay together, and so do those on each of the stores that
    take long to make, first.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByStore(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.split("::")[0]
            if path.startswith(ON_TRAINED):
                return "trained"
            if path.startswith("tests/integration/serve/"):
                return "served"
            return "finished" if path.startswith(ON_FINISHED) else path

    config.option.loadscopereorder = False
    return ByStore(config, log)


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory) -> Path:
    """An empty MLflow database: making one takes seconds, so it is made once."""
    from components.registry.tracking import Tracker

    folder = tmp_path_factory.mktemp("mlflow")
    Tracker(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"), "pixsem")
    return folder / "mlflow.db"
