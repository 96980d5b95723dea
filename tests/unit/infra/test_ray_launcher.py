"""Files of Ray's cluster launcher: as Ray itself reads them, closed but for ssh, and the token never in them."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.unit.infra.manifests import INFRA

pytestmark = pytest.mark.unit

FILES = sorted((INFRA / "ray").glob("*.yaml"))


def as_ray_reads_it(config: dict) -> dict:
    from ray.autoscaler._private.util import prepare_config, validate_config

    whole = prepare_config(config)  # merged with Ray's own defaults of the provider
    validate_config(whole)
    return whole


def load(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


def test_there_is_one_for_each_way():
    assert [path.stem for path in FILES] == ["aws", "gcp", "on-premise"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_ray_takes_the_file(path):
    whole = as_ray_reads_it(load(path))
    assert whole["head_node_type"] in whole["available_node_types"]


def test_ray_refuses_what_is_misspelt():
    with pytest.raises(jsonschema.ValidationError):
        as_ray_reads_it({**load(INFRA / "ray" / "aws.yaml"), "idle_timeout": 3})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_is_installed_over_what_is_pinned(path):
    whole = as_ray_reads_it(load(path))
    commands = [c for name in ("setup_commands", "head_setup_commands", "worker_setup_commands") for c in whole[name]]
    assert not [command for command in commands if "install" in command]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_ray_wants_its_token_and_shows_its_page_on_127_0_0_1_alone(path):
    config = load(path)
    assert any(target.endswith("/.ray/auth_token") for target in config["file_mounts"])
    starts = [
        c for name in ("head_start_ray_commands", "worker_start_ray_commands") for c in config[name] if " start " in c
    ]
    assert len(starts) == 2 and "--dashboard-host=127.0.0.1" in starts[0]
    everywhere = " ".join(config.get("docker", {}).get("run_options", []))
    assert all("RAY_AUTH_MODE=token" in f"{everywhere} {command}" for command in starts)


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_a_node_type_has_gpus_and_starts_with_none(name):
    types = load(INFRA / "ray" / f"{name}.yaml")["available_node_types"]
    assert types["gpu"]["resources"]["GPU"] == 8 and types["gpu"]["min_workers"] == 0
    assert types["head"]["resources"] == {"CPU": 0}
