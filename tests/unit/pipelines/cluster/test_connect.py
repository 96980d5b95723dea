"""Reaching a Ray cluster: a wrong address is told at once, not after Ray's minutes."""

from __future__ import annotations

import socket
import time

import pytest

from pipelines.cluster.connect import connect
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
