"""The service that the tests of a file share. A file that serves something else has a `served_model` of its own:
(model, store, folder of its files).
"""

from __future__ import annotations

import pytest

from tests.integration.serve.served import save_model, serving


@pytest.fixture(scope="module")
def served_model(tmp_path_factory):
    folder = save_model(tmp_path_factory.mktemp("served") / "tiny")
    return str(folder), "", folder


@pytest.fixture(scope="module")
def served(served_model):
    with serving(*served_model) as found:
        yield found
