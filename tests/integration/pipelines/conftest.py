"""Runs of the real command line in processes of their own, each with a store of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

import pytest

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-c", "from pipelines.cli.main import main; main()"]
SMALL = [
    "preset=tiny",
    "source.count=80",
    "source.samples_per_shard=10",
    "--until",
    "synthesize_edits",
]  # the data half


# Commands that start no other process. They run in this one, which has imported what they need already.
HERE = (
    "config", "edit", "gc", "generate", "lineage", "models", "plan", "promote", "report", "rollback", "stages",
    "status", "toy", "verify",
)  # fmt: skip


class Pixsem:
    """The command line on one store."""

    patience = 500.0  # seconds a command may take where others take the cores
    all_apart = False  # every command in a process of its own

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        self.environment["PIXSEM_TEST_FOLDER"] = str(folder)  # inherited by every process of a run
        for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "PIXSEM_STORE", "OMP_NUM_THREADS"):
            self.environment.pop(name, None)

    def __call__(
        self, *args: str, code: int | None = 0, timeout: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        if not self.all_apart and (args[0] in HERE or "--dry-run" in args):
            done = self.here(*args)
        else:
            done = subprocess.run(
                [*COMMAND, *args],
                cwd=self.folder,
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=timeout or self.patience,
            )
        assert code is None or done.returncode == code, (
            f"{args} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        )
        return done

    def here(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run a command in this process, in the folder and environment that its own would have."""
        from pipelines.cli.main import main

        code, out, err = 0, io.StringIO(), io.StringIO()
        with contextlib.ExitStack() as there:
            there.enter_context(contextlib.chdir(self.folder))
            there.enter_context(patch.dict(os.environ, self.environment, clear=True))
            there.enter_context(patch.object(sys, "argv", ["pixsem", *args]))
            there.enter_context(contextlib.redirect_stdout(out))
            there.enter_context(contextlib.redirect_stderr(err))
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
        return subprocess.CompletedProcess(list(args), code, out.getvalue(), err.getvalue())

    def json(self, *args: str, code: int | None = 0, timeout: float | None = None):
        return json.loads(self(*args, "--json", code=code, timeout=timeout).stdout)

    def start(self, *args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *args], cwd=self.folder, env=self.environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def digests(self) -> dict[str, str]:
        """Return {stage/fingerprint: content digest} of every committed artifact."""
        found = {}
        for path in sorted(self.store.glob("artifacts/*/*/manifest.json")):
            manifest = json.loads(path.read_text())
            found[f"{manifest['stage']}/{manifest['fingerprint']}"] = manifest["digest"]
        return found


def wait_for(condition, seconds: float = 400.0) -> None:
    """Wait until a condition holds; fail when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def processes(needle: str) -> list[int]:
    """Return the processes whose command line or environment names something."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            text = path.joinpath("cmdline").read_bytes() + path.joinpath("environ").read_bytes()
        except OSError:
            continue
        if needle.encode() in text and int(path.name) != os.getpid():
            found.append(int(path.name))
    return found


def workers(pixsem: Pixsem, title: str) -> list[int]:
    """Return the Ray workers of a run that do what their title says."""
    found = []
    for pid in processes(str(pixsem.folder)):
        try:
            doing = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if doing.startswith(title.encode()):
            found.append(pid)
    return found


def kill(pids: list[int]) -> None:
    """Kill processes with no chance to tidy up."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def empty_store(folder: Path, database: Path) -> Pixsem:
    """Return an empty store, with a made MLflow database, which takes long to make."""
    store = folder / "store"
    store.mkdir(parents=True)
    shutil.copy(database, store / "mlflow.db")
    with contextlib.closing(sqlite3.connect(store / "mlflow.db")) as copied, copied:
        moved = "update experiments set artifact_location = replace(artifact_location, ?, ?)"
        copied.execute(moved, (str(database.parent / "artifacts"), str(store / "mlartifacts")))
    return Pixsem(folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory, empty_mlflow) -> Pixsem:
    """A store in which one small run was completed. Tests read it; those that change something copy it."""
    pixsem = empty_store(tmp_path_factory.mktemp("finished"), empty_mlflow)
    pixsem("run", *SMALL)
    return pixsem


@pytest.fixture
def copy(finished, tmp_path) -> Pixsem:
    """A copy of the finished store, to be changed."""
    shutil.copytree(finished.store, tmp_path / "store")
    return Pixsem(tmp_path)


@pytest.fixture
def fresh(empty_mlflow, tmp_path) -> Pixsem:
    """An empty store."""
    return empty_store(tmp_path, empty_mlflow)


TRAINED = [
    "preset=tiny", "source.count=80", "source.samples_per_shard=10", "tokenizer.training.sample_every=3",
    "tokenizer.losses.gan=0.5", "tokenizer.losses.gan_start=0.5", "tokenizer.losses.perceptual=0.1",
]  # fmt: skip


@pytest.fixture(scope="session")
def trained(empty_mlflow, tmp_path_factory) -> Pixsem:
    """A store in which the whole pipeline ran to registered versions, in one run."""
    pixsem = empty_store(tmp_path_factory.mktemp("trained"), empty_mlflow)
    pixsem("run", *TRAINED)
    return pixsem


def artifact(pixsem: Pixsem, stage: str) -> Path:
    """The folder of a stage's only artifact."""
    (path,) = pixsem.store.glob(f"artifacts/{stage}/*")
    return path
