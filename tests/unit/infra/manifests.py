"""The Kubernetes manifests as Python values, and the pod templates in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
INFRA = ROOT / "infra"
FOLDER = INFRA / "kubernetes"


@dataclass(frozen=True)
class Manifest:
    path: Path
    value: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.value["kind"])

    def __str__(self) -> str:
        return f"{self.path.parent.name}-{self.kind}-{self.value.get('metadata', {}).get('name', '')}"


def manifests() -> list[Manifest]:
    """Return every object of every file but kustomize's own."""
    files = [path for path in sorted(FOLDER.rglob("*.yaml")) if path.name != "kustomization.yaml"]
    return [Manifest(path, value) for path in files for value in yaml.safe_load_all(path.read_text())]


def of_kind(kind: str) -> list[Manifest]:
    found = [manifest for manifest in manifests() if manifest.kind == kind]
    assert found, f"there is no {kind}"
    return found


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping in a value, outermost first."""
    if isinstance(value, dict):
        yield value
        for child in value.values():
            yield from walk(child)
    elif isinstance(value, list):
        for child in value:
            yield from walk(child)


def pod_templates(manifest: Manifest) -> list[dict[str, Any]]:
    """Return the pod templates of an object: one of a Deployment, one for each group of a RayCluster."""
    return [mapping["template"] for mapping in walk(manifest.value) if "containers" in _spec(mapping.get("template"))]


def _spec(template: Any) -> dict[str, Any]:
    spec = template.get("spec") if isinstance(template, dict) else None
    return spec if isinstance(spec, dict) else {}


def containers(manifest: Manifest) -> list[dict[str, Any]]:
    return [container for template in pod_templates(manifest) for container in template["spec"]["containers"]]
