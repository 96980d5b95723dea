"""Runs of the real command line in processes of their own, each with a store of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

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


class Pixsem:
    """The command line on one store."""

    patience = 240.0  # seconds a command may take

    def __init__(self, folder: Path, template: Path | None = None) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        self.environment["PIXSEM_TEST_FOLDER"] = str(folder)  # inherited by every process of a run
        for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "PIXSEM_STORE", "OMP_NUM_THREADS"):
            self.environment.pop(name, None)

    def __call__(
        self, *args: str, code: int | None = 0, timeout: float | None = None
    ) -> subprocess.CompletedProcess[str]:
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


def wait_for(condition, seconds: float = 120.0) -> None:
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


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Pixsem:
    """A store in which one small run was completed. Tests read it; those that change something copy it."""
    pixsem = Pixsem(tmp_path_factory.mktemp("finished"))
    pixsem("run", *SMALL)
    return pixsem


@pytest.fixture
def copy(finished, tmp_path) -> Pixsem:
    """A copy of the finished store, to be changed."""
    import shutil

    shutil.copytree(finished.store, tmp_path / "store")
    return Pixsem(tmp_path)


@pytest.fixture
def fresh(finished, tmp_path) -> Pixsem:
    """An empty store, with a made MLflow database, which takes long to make."""
    import shutil

    (tmp_path / "store").mkdir()
    shutil.copy(finished.store / "mlflow.db", tmp_path / "store" / "mlflow.db")
    return Pixsem(tmp_path)


TRAINED = [
    "preset=tiny", "source.count=80", "source.samples_per_shard=10", "tokenizer.training.sample_every=3",
    "tokenizer.losses.gan=0.5", "tokenizer.losses.gan_start=0.5", "tokenizer.losses.perceptual=0.1",
]  # fmt: skip


@pytest.fixture(scope="session")
def trained(finished, tmp_path_factory) -> Pixsem:
    """A store in which the whole pipeline ran to registered versions, its data half taken from `finished`."""
    import shutil

    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(finished.store, folder / "store")
    pixsem = Pixsem(folder)
    pixsem("run", *TRAINED)
    return pixsem


def artifact(pixsem: Pixsem, stage: str) -> Path:
    """The folder of a stage's only artifact."""
    (path,) = pixsem.store.glob(f"artifacts/{stage}/*")
    return path
