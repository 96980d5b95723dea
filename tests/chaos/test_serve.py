"""A small part of the trials of the service (`python -m tests.chaos.serve_trials`)."""

from __future__ import annotations

import pytest

from tests.chaos.serve_trials import trials
from tests.integration.serve.served import save_model, serving

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_every_request_is_answered_while_copies_are_killed(tmp_path):
    model = save_model(tmp_path / "tiny")
    with serving(str(model), "", model) as served:
        outcome = trials(served, requests=90, kills=2, seed=1)
    assert not outcome.problems, "\n".join(outcome.lines())
    assert sum(outcome.killed.values()) == 2
