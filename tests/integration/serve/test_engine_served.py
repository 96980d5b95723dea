"""The engine behind Ray Serve, through its handle: pictures of all who wait, who leaves, and a moved alias."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.integration


def test_it_says_what_it_serves(served):
    told = served.engine.describe.remote().result()
    print(told)
