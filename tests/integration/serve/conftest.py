"""The service that the tests of this folder share. A file that serves something else has a `served` of its own, and
under `make test` a process of its own. `served_model` is (model, store, folder of its files).
"""

from __future__ import annotations

import pytest

from tests.integration.serve.served import save_model, serving


@pytest.fixture(scope="package")
def served_model(tmp_path_factory):
    folder = save_model(tmp_path_factory.mktemp("served") / "tiny")
    return str(folder), "", folder


@pytest.fixture(scope="package")
def served(served_model):
    with serving(*served_model) as found:
        yield found
