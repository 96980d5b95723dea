"""Malformed input never crashes or hangs a reader and takes bounded memory: the short version, and the full one by
name.
"""

from __future__ import annotations

import pytest

from tests.chaos.bad_input import MEMORY, fuzz, run
from tests.chaos.parsers import PARSERS

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("parser", PARSERS, ids=[parser.name for parser in PARSERS])
def test_good_bytes_are_read(parser, tmp_path):
    """Else the trials below would all end at the first check."""
    became = set()
    for data in parser.seeds():
        try:
            became.add(parser.read(data, tmp_path))
        except ValueError:
            continue
    assert "read" in became or parser.name == "tar"  # its tars hold a link, which is refused


def held(summary: dict) -> None:
    assert summary["crashes"] == [] and summary["wordless"] == 0
    assert "crashed" not in summary["bombs"].values()
    assert summary["bombs_mib"] < MEMORY


def test_malformed_inputs_and_bombs_are_refused_or_accounted_for(tmp_path):
    summary = run(300, tmp_path)
    assert summary["inputs"] >= 300
    held(summary)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_malformed_inputs(tmp_path):
    summary = run(10_000, tmp_path, number=1)
    assert summary["inputs"] >= 10_000
    held(summary)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("parser", [parser.name for parser in PARSERS])
def test_a_fuzzer_that_sees_the_code_finds_no_crash(parser):
    found = fuzz(parser, 1000)
    assert found["died"] == "" and found["inputs"] >= 1000
