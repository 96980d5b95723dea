"""Shell scripts parse, pass shellcheck, and say what is missing before they do anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.infra.manifests import INFRA

pytestmark = pytest.mark.unit

SCRIPTS = sorted([*INFRA.rglob("*.sh"), *INFRA.rglob("*.sbatch")])
SERVE = INFRA / "mlflow" / "serve.sh"
SBATCH = INFRA / "slurm" / "pixsem.sbatch"


def linter(name: str) -> str:
    # The package puts it beside the interpreter, which need not be on the PATH.
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed; its package has it for Linux on x86_64 alone")
    return found


def test_there_are_scripts():
    assert {path.name for path in SCRIPTS} == {"create-secrets.sh", "pixsem.sbatch", "serve.sh"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_parses(path):
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert os.access(path, os.X_OK)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path):
    done = subprocess.run([linter("shellcheck"), str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_hadolint_finds_nothing_in_the_dockerfile():
    done = subprocess.run([linter("hadolint"), str(INFRA / "docker" / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def run(script: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    return subprocess.run([str(script), *args], env=known | environment, capture_output=True, text=True, timeout=60)


WHOLE = {
    "PGHOST": "127.0.0.1",
    "PGDATABASE": "mlflow",
    "PGUSER": "mlflow",
    "PGPASSWORD": "x",
    "MLFLOW_AUTH_ADMIN_USERNAME": "admin",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "long-enough-to-be-taken",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "x",
    "MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket/mlflow",
}


@pytest.mark.parametrize("name", WHOLE)
def test_the_mlflow_server_does_not_start_without_a_setting(name):
    done = run(SERVE, **{**WHOLE, name: ""})
    assert done.returncode == 2 and f"{name} is not set" in done.stderr


def test_the_mlflow_server_is_not_opened_to_the_network_by_half():
    done = run(SERVE, **WHOLE, MLFLOW_HOST="0.0.0.0")
    assert done.returncode == 2 and "set MLFLOW_SERVER_ALLOWED_HOSTS" in done.stderr


def test_a_password_mlflow_would_refuse_is_refused_at_once():
    done = run(SERVE, **{**WHOLE, "MLFLOW_AUTH_ADMIN_PASSWORD": "short"})
    assert done.returncode == 2 and "fewer than 12 characters" in done.stderr


def test_the_example_names_what_the_server_needs_and_holds_no_secret():
    lines = (INFRA / "mlflow" / "server.env.example").read_text().splitlines()
    settings = dict(line.lstrip("#").split("=", 1) for line in lines if "=" in line and not line.startswith("# "))
    assert set(WHOLE) <= set(settings)
    assert not [
        n for n, value in settings.items() if value and any(w in n for w in ("PASSWORD", "SECRET", "ACCESS_KEY"))
    ]


def test_the_sbatch_script_is_for_slurm_alone():
    done = run(SBATCH, "run")
    assert done.returncode == 2 and "not in a Slurm job" in done.stderr


def test_the_sbatch_script_wants_a_command(tmp_path):
    done = run(SBATCH, SLURM_JOB_ID="1", SLURM_SUBMIT_DIR=str(tmp_path))
    assert done.returncode == 2 and "no pixsem command" in done.stderr


def test_the_sbatch_script_says_which_tool_is_missing(tmp_path):
    (tmp_path / "bin").mkdir()
    for name in ("bash", "hostname", "env"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    done = run(SBATCH, "run", SLURM_JOB_ID="1", SLURM_SUBMIT_DIR=str(tmp_path), PATH=str(tmp_path / "bin"))
    assert done.returncode == 2 and "srun is not on the PATH" in done.stderr


def test_the_sbatch_script_refuses_an_environment_that_is_not_there(tmp_path):
    environment = {"SLURM_JOB_ID": "1", "SLURM_SUBMIT_DIR": str(tmp_path), "PIXSEM_VENV": "/nowhere"}
    done = run(SBATCH, "run", **environment)
    assert done.returncode == 2 and "PIXSEM_VENV=/nowhere has no bin folder" in done.stderr
