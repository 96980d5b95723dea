"""The grid of pictures that a generator's training leaves."""

from __future__ import annotations

import pytest

from pipelines.stages.generator.generator_setup import GRID, columns

pytestmark = pytest.mark.unit


def test_a_grid_has_as_many_captions_as_edits_however_few_are_held_out():
    """Five captions beside nine edits once ended the editor's training: rows of a grid are of one length."""
    assert columns([5, 9]) == 5 and columns([9, 3]) == 3
    assert columns([40, 90]) == GRID and columns([0, 4]) == 4 and columns([0, 90]) == GRID
