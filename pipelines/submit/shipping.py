"""What a submitted job takes along: pixsem's own code and configuration, the user's presets, pinned packages, named
variables.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.job import ENVIRONMENT
from pipelines.versions import COMMIT_FILE, git_commit

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("pipelines", "components", "conf")
FILES = ("pyproject.toml", "constraints.txt")
CONFIG_DIR = "config_dir"  # the user's, in the job's folder
NEVER = ("__pycache__", ".git", ".venv", "venv", "node_modules", ".mypy_cache", ".ruff_cache", ".pytest_cache")
EXTRAS = {"s3": "s3", "gs": "gcs"}  # of pixsem's, by the store's protocol
INSTALLERS = ("pip", "setuptools", "wheel")  # every environment's own
MB = 2**20
MAX_MB = 50  # Ray keeps the package in the memory of the cluster's head
STOP_SECONDS = 30  # that ending takes after training has saved


def pack(folder: Path, config_dir: Path | None, store: str, variables: Mapping[str, str]) -> None:
    """Copy what the job needs into an empty folder: the code, and the user's presets as `config_dir/`.

    `store` is left out where it is a folder inside of those. Raises `UserError` where all is more than `MAX_MB`.
    """
    for name in PACKAGES:
        _copy(ROOT / name, folder / name, store)
    for name in FILES:
        if (ROOT / name).is_file():
            shutil.copyfile(ROOT / name, folder / name)
    if config_dir is not None:
        _copy(config_dir, folder / CONFIG_DIR, store)
    (folder / COMMIT_FILE).write_text(git_commit())
    if variables:
        with open(os.open(folder / ENVIRONMENT, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            json.dump(dict(variables), handle)
    _check_size(folder)


def _copy(source: Path, target: Path, store: str) -> None:
    kept_out = Path(store).resolve() if "://" not in store else None

    def unwanted(folder: str, names: list[str]) -> list[str]:
        return [
            name
            for name in names
            if name in NEVER
            or Path(folder, name).resolve() == kept_out
            or Path(folder, name, "pyvenv.cfg").is_file()  # a virtual environment, whatever its name
        ]

    shutil.copytree(source, target, ignore=unwanted)


def _check_size(folder: Path) -> None:
    sizes = {p: p.stat().st_size for p in folder.rglob("*") if p.is_file()}
    total = sum(sizes.values())
    if total > MAX_MB * MB:
        largest = sorted(sizes, key=lambda p: -sizes[p])[:3]
        named = ", ".join(f"{p.relative_to(folder)} ({sizes[p] / MB:.0f} MB)" for p in largest)
        raise UserError(
            f"the job would take {total / MB:.0f} MB along, and may take {MAX_MB}. The largest: {named}. "
            "--config-dir is for presets and sources; data belongs into the store or where every node can read it."
        )


def named_variables(names: list[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of these names; `UserError` where one is not set, or where a value was given for a name."""
    for name in names:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise UserError(
                f"--env {name.partition('=')[0]}...: give the name of a variable alone. Its value is taken from "
                "your environment, so that it stands in no command line."
            )
        if name not in environ:
            raise UserError(f"--env {name}: it is not set here. Set it, or leave it out.")
    return {name: environ[name] for name in names}


def pinned_packages(constraints: Path, store: str) -> list[str]:
    """Return `name==version` of every package that pixsem needs for this store, directly or not, as a constraints file
    pins them.

    Ray is left out: it is the cluster's own. Raises `UserError` where the file is not there or leaves a package open.
    """
    if not constraints.is_file():
        raise UserError(
            f"there is no {constraints}, which says what the cluster is to install. Name yours with "
            "--constraints, or give --no-install where the cluster's image has pixsem's packages."
        )
    pins: dict[str, str] = {}
    for line in constraints.read_text().splitlines():
        name, _, version = line.partition("#")[0].strip().partition("==")
        if version:
            pins[_canonical(name)] = f"{name}=={version}"
    extras = frozenset(EXTRAS[kind] for kind in EXTRAS if store.startswith(f"{kind}://"))
    needed = sorted(set(_closure("pixsem", extras)) - {"pixsem", "ray", *INSTALLERS})
    open_ones = [name for name in needed if name not in pins]
    if open_ones:
        raise UserError(
            f"{constraints} pins no version of {', '.join(open_ones)}. Add them: the cluster installs nothing "
            "that is not pinned."
        )
    return [pins[name] for name in needed]


def _closure(distribution: str, extras: frozenset[str]) -> Iterator[str]:
    """Yield a distribution and all it needs here, by canonical name."""
    from packaging.requirements import Requirement

    waiting = [(distribution, extras)]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        yield name
        try:
            found = requires(name) or []
        except PackageNotFoundError:
            raise UserError(
                f"{name}, which pixsem needs for this store, is not installed here, so what it needs itself is "
                f"not known. Install it (pip install {name}), or give --no-install where the cluster's image has "
                "pixsem's packages."
            ) from None
        for text in found:
            requirement = Requirement(text)
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in extras or {""}):
                waiting.append((_canonical(requirement.name), frozenset(requirement.extras)))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def runtime_environment(folder: Path, packages: list[str], grace_seconds: float) -> dict[str, Any]:
    """Return Ray's description of where the job works: the packed folder, and packages (none: the image has them)."""
    found: dict[str, Any] = {
        "working_dir": str(folder),
        "worker_process_setup_hook": "pipelines.job.load_environment",
        # Ray kills a job three seconds after it was asked to stop, unless told to wait: training saves first.
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(math.ceil(grace_seconds) + STOP_SECONDS)},
    }
    return found | ({"pip": {"packages": packages, "pip_check": False}} if packages else {})
