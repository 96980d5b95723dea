"""Vision-language models answer about the pictures they are shown, in batches as alone, and never blind."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.vision_models import tiny_models

pytestmark = pytest.mark.unit
PROMPT = "describe this picture"


@pytest.fixture(scope="module")
def place():
    import torch

    from components.vision_models.loading import Place

    return Place(torch.device("cpu"))


@pytest.fixture(scope="module")
def model(tmp_path_factory, place):
    from components.vision_models.vision_language import VisionLanguage

    return VisionLanguage(str(tiny_models.llava(tmp_path_factory.mktemp("llava"))), None, place)


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (20 + 7 * n, 31, 3), dtype=np.uint8) for n in range(3)]


def test_a_batch_of_prompts_of_other_lengths_is_answered_as_each_alone(model, pictures):
    prompts = [PROMPT, "what is in this picture", "is this a red circle and a blue square"]
    alone = [model.answer([[p]], [q], 6)[0] for p, q in zip(pictures, prompts, strict=True)]
    assert model.answer([[p] for p in pictures], prompts, 6) == alone
    assert all(len(answer) <= 6 for (text,) in alone for answer in [text.split()])


def test_answers_follow_from_the_picture(model, pictures):
    assert len({str(model.answer([[p]], [PROMPT], 8)) for p in (pictures[0], 255 - pictures[0], pictures[2])}) > 1


def test_several_answers_are_drawn_from_the_seed_alone(model, pictures):
    first = model.answer([[p] for p in pictures], [PROMPT] * 3, 6, answers=2, temperature=1.0, seed=5)
    assert [len(answers) for answers in first] == [2, 2, 2]
    assert first == model.answer([[p] for p in pictures], [PROMPT] * 3, 6, answers=2, temperature=1.0, seed=5)
    assert first != model.answer([[p] for p in pictures], [PROMPT] * 3, 6, answers=2, temperature=1.0, seed=6)
    with pytest.raises(ValueError, match="temperature"):
        model.answer([[pictures[0]]], [PROMPT], 6, answers=2)


def test_two_pictures_are_shown_in_one_prompt(model, pictures):
    assert len(model.answer([[pictures[0], pictures[1]]], [PROMPT], 4)) == 1


def test_a_processor_that_leaves_pictures_out_is_refused(model, pictures, monkeypatch):
    monkeypatch.setattr(
        type(model._prompts.processor), "__call__", lambda self, images, **given: self.tokenizer(**given)
    )
    with pytest.raises(ValueError, match="would answer blind"):
        model.answer([[pictures[0]]], [PROMPT], 4)


def test_a_model_for_something_else_is_refused(place, tmp_path):
    from transformers import BlipImageProcessorPil, BlipProcessor

    from components.vision_models.vision_language import VisionLanguage

    BlipProcessor(BlipImageProcessorPil(), tiny_models.save_tokenizer(tmp_path / "blip")).save_pretrained(
        tmp_path / "blip"
    )
    (tmp_path / "blip" / "config.json").write_text('{"model_type": "blip"}')
    with pytest.raises(ValueError, match="answers no prompts"):
        VisionLanguage(str(tmp_path / "blip"), None, place)
    with pytest.raises(ValueError, match=r"cannot be loaded|takes no pictures"):
        VisionLanguage(str(tiny_models.classifier(tmp_path / "class", ["a", "b"])), None, place)
