"""Pictures made for evaluation, by a real pipeline with small random weights."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.config.compose import compose_config
from pipelines.stages.generator import sample_sets as generated
from pipelines.stages.generator.sample_sets import Maker, timing
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
    made("prompts", PROMPTS[:2])
    made("prompts", PROMPTS[:3], guidance=1.0)
    made("edits", PROMPTS[:3], np.zeros((3, 32, 32, 3), np.uint8))
    assert made.seconds == [] and timing(made.seconds, 3) == {}
    made("prompts", PROMPTS)
    told = timing(made.seconds, 3)
    assert told["seconds_per_image"] > 0 and told["seconds_per_image_batch"] == 3


def test_a_generator_that_learned_nothing_is_noise_through_the_decoder(monkeypatch):
    made = maker(monkeypatch, 2)
    pictures = made.noise([1, 2, 1])
    assert pictures.shape == (3, 32, 32, 3) and pictures.dtype == np.uint8
    assert (
        np.abs(pictures[0].astype(int) - pictures[2]).max() <= 1 < np.abs(pictures[0].astype(int) - pictures[1]).max()
    )
