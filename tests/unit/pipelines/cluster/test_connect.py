"""Reaching a Ray cluster: a wrong address is told at once, not after Ray's minutes."""

from __future__ import annotations

import socket
import time

import pytest

from pipelines.cluster import connect as connecting
from pipelines.cluster.connect import check_sockets, connect
from pipelines.config.schema import ClusterSection
from pipelines.errors import UserError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "no-such-host.invalid:6379"])
def test_an_address_at_which_nobody_answers_is_refused_at_once(address):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and not listened at
        named = address.format(port=nobody.getsockname()[1])
        started = time.monotonic()
        with pytest.raises(UserError, match=r"Ray cannot be reached.*port 6379"):
            connect(ClusterSection(address=named, num_cpus=None))
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_temporary_folder_too_long_for_sockets_is_refused_with_the_variable_that_helps(name):
    with pytest.raises(UserError, match=rf"^{name}=.*Set RAY_TMPDIR"):
        check_sockets({name: "/scratch/" + "slurm/" * 10})
    check_sockets({name: "/scratch/job"})
    check_sockets({"TMPDIR": "/scratch/" + "slurm/" * 10, "RAY_TMPDIR": "/tmp"})
    check_sockets({})


def test_a_user_without_a_home_gets_a_token_that_lives_as_long_as_the_local_ray(monkeypatch, tmp_path):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/proc")
    assert not connecting._can_keep_token()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert connecting._can_keep_token()
