"""Gates say which figure fell short, and by how much."""

import pytest

from components.registry.gates import Gate, check_gates

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("gate", "value", "champion", "words"),
    [
        (Gate("x", limit=0.5), 0.6, None, ""),
        (Gate("x", limit=0.5), 0.4, None, "x is 0.4, 0.1 below the limit 0.5"),
        (Gate("x", limit=0.5, higher_is_better=False), 0.7, None, "x is 0.7, 0.2 above the limit 0.5"),
        (Gate("x", max_drop=0.05), 0.5, 0.54, ""),
        (Gate("x", max_drop=0.05), 0.5, 0.6, "worse than the champion's 0.6 by 0.1; 0.05 is allowed"),
        (Gate("x", max_drop=0.05, higher_is_better=False), 0.6, 0.5, "worse than the champion's 0.5 by 0.1"),
        (Gate("x", max_drop=0.05), 0.5, None, ""),
        (Gate("x", limit=0.1), None, None, "x was not measured"),
    ],
)
def test_a_gate_passes_or_says_by_how_much_it_was_missed(gate, value, champion, words):
    (verdict,) = check_gates(
        [gate], {} if value is None else {"x": value}, None if champion is None else {"x": champion}
    )
    assert verdict.passed == (not words)
    assert words in verdict.words


def test_a_gate_on_what_the_data_cannot_have_is_skipped_and_says_why():
    missing, held = check_gates([Gate("x", limit=0.5), Gate("y", limit=0.5)], {"y": 0.4}, None, {"x": "only z have it"})
    assert (missing.passed, missing.skipped) == (True, True)
    assert missing.words == "the gate on x was skipped: only z have it"
    assert (held.passed, held.skipped) == (False, False)


def test_a_gate_that_asks_for_nothing_is_refused():
    with pytest.raises(ValueError, match="set its limit or max_drop"):
        Gate("x")
    with pytest.raises(ValueError, match="not negative"):
        Gate("x", max_drop=-1)
