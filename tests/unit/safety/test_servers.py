"""Servers listen on this machine alone unless told otherwise."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import pytest

from components.registry.ui import serve_ui
from pipelines.cli.store_commands import ui

ASK = """
import os, ray
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
address = ray.get_runtime_context().gcs_address
print(address, flush=True)
input()
ray.shutdown()
"""
JOIN = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False); print('joined')"


@pytest.mark.unit
def test_mlflows_page_is_on_127_0_0_1_by_default():
    for function in (serve_ui, ui):
        host = inspect.signature(function).parameters["host"].default
        assert getattr(host, "default", host) == "127.0.0.1"


@pytest.mark.slow
@pytest.mark.integration
def test_a_local_ray_lets_nobody_in_without_its_token(tmp_path):
    """Ray's own ports are on every interface; it makes a token for each user's clusters, and asks for it."""
    known = {**os.environ, "HOME": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"}
    known.pop("RAY_AUTH_MODE", None)
    with subprocess.Popen(
        [sys.executable, "-c", ASK], env=known, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as cluster:
        assert cluster.stdin is not None and cluster.stdout is not None
        address = cluster.stdout.readline().strip()
        stranger = {
            **known,
            "RAY_AUTH_MODE": "disabled",
            "HOME": str(tmp_path / "stranger"),
            "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
        }
        joined = subprocess.run(
            [sys.executable, "-c", JOIN, address], env=stranger, capture_output=True, text=True, timeout=200
        )
        friend = subprocess.run(
            [sys.executable, "-c", JOIN, address],
            env={**known, "RAY_AUTH_MODE": "token"},
            capture_output=True,
            text=True,
            timeout=200,
        )
        cluster.communicate("\n")
    assert "joined" in friend.stdout, friend.stderr[-1500:]
    assert joined.returncode != 0 and "joined" not in joined.stdout
