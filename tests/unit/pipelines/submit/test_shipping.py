"""What a submitted job takes along: runnable code and presets, pinned packages, variables that nothing logs; never the
store.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.job import ENVIRONMENT
from pipelines.submit.jobs import shared_store
from pipelines.submit.shipping import MAX_MB, ROOT, named_variables, pack, pinned_packages, runtime_environment

pytestmark = pytest.mark.unit


@pytest.fixture
def mine(tmp_path) -> Path:
    """A user's folder of presets, with what must not be sent beside them."""
    folder = tmp_path / "mine"
    (folder / "preset").mkdir(parents=True)
    (folder / "preset" / "mine.yaml").write_text("# @package _global_\ndefaults: [demo]\nseed: 77\n")
    for inside in (
        ".git/config",
        "store/artifacts/big",
        "env/pyvenv.cfg",
        "env/lib/package.py",
        "preset/__pycache__/x.pyc",
    ):
        (folder / inside).parent.mkdir(parents=True, exist_ok=True)
        (folder / inside).write_text("not to be sent")
    return folder


@pytest.fixture
def package(tmp_path) -> Path:
    folder = tmp_path / "package"
    folder.mkdir()
    return folder


def test_the_package_holds_the_code_and_the_presets_and_runs_by_itself(mine, package):
    pack(package, mine, str(mine / "store"), {})
    sent = {p.relative_to(package).as_posix() for p in package.rglob("*") if p.is_file()}
    assert {
        "pyproject.toml",
        "constraints.txt",
        "pipelines/cli/main.py",
        "components/data/ingest_rows.py",
        "conf/config.yaml",
        ".commit",
    } <= sent
    assert {name for name in sent if name.startswith("config_dir/")} == {"config_dir/preset/mine.yaml"}
    assert {name.split("/")[0] for name in sent} == {
        "pipelines",
        "components",
        "conf",
        "config_dir",
        "pyproject.toml",
        "constraints.txt",
        ".commit",
    }
    assert not [name for name in sent if name.endswith(".pyc")]
    code = (
        "import pipelines, sys; sys.argv[0] = pipelines.__file__; from pipelines.versions import git_commit; "
        "print(pipelines.__file__, git_commit())"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    where = subprocess.run(
        [sys.executable, "-c", code], cwd=package, env=environment, capture_output=True, text=True, timeout=60
    )
    assert where.stdout.split() == [str(package / "pipelines" / "__init__.py"), (package / ".commit").read_text()]
    config = subprocess.run(
        [sys.executable, "-m", "pipelines.job", "config", "preset=mine", "--config-dir", "config_dir", "--json"],
        cwd=package, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert json.loads(config.stdout)["seed"] == 77, config.stderr


def test_what_is_too_large_is_refused_with_its_largest_files(mine, package):
    (mine / "pictures.tar").write_bytes(b"\0" * (MAX_MB + 1) * 2**20)
    with pytest.raises(
        UserError, match=rf"may take {MAX_MB}\. The largest: config_dir/pictures\.tar \({MAX_MB + 1} MB\)"
    ):
        pack(package, mine, "s3://bucket/path", {})


def test_values_of_variables_are_in_a_file_for_the_owner_alone_and_in_no_runtime_environment(package):
    variables = named_variables(["PIXSEM_SECRET"], {"PIXSEM_SECRET": "open sesame", "OTHER": "x"})
    pack(package, None, "s3://bucket/path", variables)
    assert stat.S_IMODE((package / ENVIRONMENT).stat().st_mode) == 0o600
    holding = [p.name for p in package.rglob("*") if p.is_file() and b"open sesame" in p.read_bytes()]
    assert holding == [ENVIRONMENT]
    assert "open sesame" not in json.dumps(runtime_environment(package, ["numpy==2"], 60.0))
    code = (
        "from pipelines.job import load_environment; load_environment(); import os; print(os.environ['PIXSEM_SECRET'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=package, capture_output=True, text=True, timeout=60)
    assert done.stdout == "open sesame\n", done.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [("TOKEN=abc", r"--env TOKEN\.\.\.: give the name"), ("UNSET", "it is not set here"), ("a b", "give the name")],
)
def test_a_variable_is_named_and_set_here_and_its_value_never_said(name, words):
    with pytest.raises(UserError, match=words) as caught:
        named_variables([name], {"TOKEN": "abc"})
    assert "abc" not in str(caught.value)


def test_the_job_is_given_time_to_save_and_no_packages_where_the_image_has_them(package):
    found = runtime_environment(package, [], 60.0)
    assert found["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "90"}
    assert "pip" not in found
    assert runtime_environment(package, ["numpy==2"], 60.0)["pip"]["packages"] == ["numpy==2"]


def test_all_that_pixsem_needs_is_pinned_but_ray_which_is_the_clusters(tmp_path):
    packages = pinned_packages(ROOT / "constraints.txt", "/shared/store")
    names = {p.partition("==")[0].lower() for p in packages}
    assert {"torch", "deepspeed", "numpy", "pyyaml", "omegaconf"} <= names  # omegaconf: only hydra needs it
    assert not names & {"ray", "pixsem", "pytest", "mypy", "s3fs", "setuptools"}
    pins = set((ROOT / "constraints.txt").read_text().split())
    assert set(packages) <= pins
    short = tmp_path / "constraints.txt"
    short.write_text("\n".join(p for p in packages if not p.startswith(("numpy==", "torch=="))))
    with pytest.raises(UserError, match=r"pins no version of numpy, torch\."):
        pinned_packages(short, "/shared/store")
    with pytest.raises(UserError, match="--no-install"):
        pinned_packages(tmp_path / "none.txt", "/shared/store")


def test_a_store_of_this_machine_is_refused_unless_it_is_said_to_be_shared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for store in ("./store", "store", "file://store", "~/store"):
        with pytest.raises(UserError, match="is a folder of this machine"):
            shared_store(store, is_shared=False)
    assert shared_store("./store", is_shared=True) == str(tmp_path / "store")
    assert shared_store("~/store", is_shared=True) == str(Path.home() / "store")
    for store in ("/shared/store", "s3://bucket/path", "gs://bucket/path", "file:///shared/store"):
        assert shared_store(store, is_shared=False) == store
    with pytest.raises(UserError, match="lives in one process"):
        shared_store("memory://store", is_shared=True)
