"""Versions in infra/ are those of constraints.txt and pyproject.toml, so that no cluster runs another pixsem, Ray or
Python than was tested.
"""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.unit.infra.manifests import INFRA, ROOT, containers, manifests, of_kind

pytestmark = pytest.mark.unit

CONSTRAINTS = (ROOT / "constraints.txt").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pinned(name: str) -> str:
    return re.search(rf"^{re.escape(name)}==(\S+)$", CONSTRAINTS, re.MULTILINE).group(1)


def infra_files() -> list:
    names = ("*.yaml", "*.sbatch", "*.sh", "*.md", "Dockerfile", "*.example")
    return [path for name in names for path in INFRA.rglob(name)]


def test_kuberay_is_told_the_ray_that_is_in_the_image():
    for manifest in of_kind("RayCluster"):
        assert manifest.value["spec"]["rayVersion"] == pinned("ray")


@pytest.mark.parametrize("name", ["ray", "mlflow", "torch", "deepspeed"])
def test_no_file_names_another_version(name):
    assert pinned(name)
    for path in infra_files():
        for version in re.findall(rf"\b{name}[=: v]{{1,3}}(\d+\.\d+(?:\.\d+)?)\b", path.read_text(), re.IGNORECASE):
            assert pinned(name).startswith(version), f"{path.relative_to(ROOT)} speaks of {name} {version}"


def test_the_image_has_the_python_that_the_versions_were_resolved_on():
    image = re.search(r"^ARG PYTHON_IMAGE=python:(\d+\.\d+)\.\d+-", (INFRA / "docker" / "Dockerfile").read_text(), re.M)
    assert f"as resolved together on Python {image.group(1)}." in CONSTRAINTS.splitlines()[0]
    lowest, highest = re.fullmatch(r">=(\S+),<(\S+)", PROJECT["requires-python"]).groups()
    assert number(lowest) <= number(image.group(1)) < number(highest)


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def test_images_of_pixsem_have_its_version():
    mentioned = [m for path in infra_files() for m in re.findall(r"pixsem:(\d[^\s\"`]*)", path.read_text())]
    assert mentioned
    assert {tag.rpartition("-")[0] for tag in mentioned} == {PROJECT["version"]}
    assert {tag.rpartition("-")[2] for tag in mentioned} == {"cpu", "cuda"}
    gpu = [c for m in of_kind("RayCluster") for c in containers(m)]
    assert {container["image"].rpartition("-")[2] for container in gpu} == {"cuda"}


def test_postgres_is_the_same_everywhere():
    text = (INFRA / "mlflow" / "compose.yaml").read_text()
    images = {c["image"] for m in manifests() for c in containers(m) if c["image"].startswith("postgres:")}
    assert images == {re.search(r"image: (postgres:\S+)", text).group(1)}
