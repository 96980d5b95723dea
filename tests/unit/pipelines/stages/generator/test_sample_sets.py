"""Pictures made for evaluation, by a real pipeline with small random weights."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.config.compose import compose_config
from pipelines.stages.generator import sample_sets as generated
from pipelines.stages.generator.sample_sets import Maker
from tests.unit.generator.worlds import pipeline

pytestmark = pytest.mark.unit
PROMPTS = ["a red circle", "it blue", "a red circle", "on the left"]


def maker(monkeypatch, batch: int, seed: int = 0) -> Maker:
    monkeypatch.setattr(generated, "load_pipeline", lambda *_: pipeline())
    config = compose_config(["preset=tiny", f"evaluate_generator.batch={batch}"])
    return Maker(None, config, {"train_editor": None}, None, seed)  # type: ignore[arg-type]


def test_a_picture_follows_from_its_prompt_and_seed_whatever_is_made_beside_it(monkeypatch):
    made = maker(monkeypatch, 2)("prompts", PROMPTS)
    assert made.shape == (4, 32, 32, 3) and made.dtype == np.uint8
    alone = maker(monkeypatch, 4)("prompts", PROMPTS[1:2])
    assert np.abs(made[1].astype(int) - alone[0]).max() <= 1
    assert np.abs(made[0].astype(int) - made[2]).max() > 8, "a prompt that comes twice has other noise"
    for other in (maker(monkeypatch, 2, seed=1)("prompts", PROMPTS), maker(monkeypatch, 2)("others", PROMPTS)):
        assert np.abs(made.astype(int) - other).max() > 8


def test_only_whole_batches_of_text_to_image_are_timed(monkeypatch):
    made = maker(monkeypatch, 3)
    assert made.timing() == {}
    made("prompts", PROMPTS[:2])
    made("prompts", PROMPTS[:3], guidance=1.0)
    made("edits", PROMPTS[:3], np.zeros((3, 32, 32, 3), np.uint8))
    assert made.timing() == {}
    made("prompts", PROMPTS)
    assert made.timing()["seconds_per_image"] > 0 and made.timing()["seconds_per_image_batch"] == 3
    assert made.made == 12
