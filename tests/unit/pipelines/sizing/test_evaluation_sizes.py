"""How many pictures a plan says that evaluate_generator makes, by the source's world."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipelines.config.compose import compose_config
from pipelines.sizing.inference import pictures_made
from pipelines.sizing.models import Models

pytestmark = pytest.mark.unit
FLOW = SimpleNamespace(pictures=100, train=80)  # 16 held-out pictures are compared by preset=tiny


@pytest.mark.parametrize(
    ("overrides", "made"),
    [
        # 6 categories: 2 prompts, 2 unseen, 1 at another guidance scale, 1 at each of 4 snapshots; 2 edits of 5 kinds.
        ([], (16 + 6 * 9, 10)),
        (["source.scene.held_out=[]"], (16 + 6 * 7, 10)),
        # Drawings alone: 1 category, 8 factors. With compositions: 6 categories and 9 kinds of edits more.
        (["source=pictures"], (16 + 9, 2 * 8)),
        (["source=pictures_tiny"], (16 + 6 * 9, 2 * (8 + 9))),
        # Captions alone, and no other guidance scale where nothing is judged.
        (["source=folder", "source.path=photos"], (16 + 6, 2)),
    ],
)
def test_the_pictures_of_an_evaluation_are_counted_by_what_the_world_asks_for(overrides, made):
    config = compose_config(["preset=tiny", *overrides])
    assert pictures_made(config, FLOW, Models(config, ("a red circle",), None)) == made
