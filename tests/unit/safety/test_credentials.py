"""Credentials stay where they are: configurations refuse them, and what is printed or written leaves them out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.config.compose import compose_config
from pipelines.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-c", "from pipelines.cli.main import main; main()"]
SECRET = "hunter2secret"


def pixsem(folder: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    return subprocess.run(
        [*COMMAND, *args],
        cwd=folder,
        env={**known, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=280,
    )


def leaks(folder: Path, done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return every place below a folder, and in the output, where the secret stands."""
    found = [str(p) for p in folder.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]
    return found + (["the output"] if SECRET in done.stdout + done.stderr else [])


@pytest.mark.unit
@pytest.mark.parametrize(
    "setting", [f"tracking.uri=http://user:{SECRET}@127.0.0.1:1", f"store=sftp://user:{SECRET}@host/x"]
)
def test_a_configuration_with_a_password_is_refused_without_repeating_it(setting):
    with pytest.raises(UserError, match=r"holds a user or password.*MLFLOW_TRACKING_PASSWORD") as refused:
        compose_config(["preset=tiny", setting])
    assert SECRET not in str(refused.value)


@pytest.mark.unit
@pytest.mark.parametrize("address", ["hf://datasets/org/name?token={}", "https://host/x.parquet?X-Amz-Signature={}"])
def test_an_address_with_a_token_is_refused_without_repeating_it(address):
    with pytest.raises(UserError, match="holds the parameter") as refused:
        compose_config(["preset=tiny", "source=parquet", f"source.path={address.format(SECRET)}"])
    assert SECRET not in str(refused.value)


@pytest.mark.integration
def test_a_password_in_the_environments_address_is_in_no_message_and_no_file(tmp_path):
    done = pixsem(
        tmp_path, "run", "preset=tiny", "--until", "ingest", MLFLOW_TRACKING_URI=f"http://user:{SECRET}@127.0.0.1:1"
    )
    assert done.returncode == 2 and "MLflow at http://127.0.0.1:1 does not answer" in done.stderr
    assert list(tmp_path.glob("store/runs/*/config.yaml")) and leaks(tmp_path, done) == []


@pytest.mark.slow
@pytest.mark.integration
def test_secrets_of_the_environment_are_in_no_log_manifest_or_database(tmp_path):
    names = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN")
    done = pixsem(
        tmp_path, "run", "preset=tiny", "source.count=20", "source.samples_per_shard=10", "--until", "curate",
        **dict.fromkeys(names, SECRET),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "store" / "mlflow.db").exists() and leaks(tmp_path, done) == []
