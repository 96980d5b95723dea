"""Encoders are known by their configuration: its defaults are the library's, and an odd one is refused in words."""

from __future__ import annotations

import json

import pytest
import transformers

from components.tokenizer.supported_models import FAMILIES, PICTURE_SIDE
from pipelines.config.compose import compose_config
from pipelines.preflight import problems

pytestmark = pytest.mark.unit


def test_defaults_of_encoders_are_those_of_transformers():
    for family in FAMILIES.values():
        config = getattr(transformers, family.config)()
        assert (config.patch_size, config.image_size) == (family.patch, PICTURE_SIDE)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model_type": "dinov2", "patch_size": [14, 14]}, "patch_size is [14, 14]"),
        ({"model_type": "dinov2", "patch_size": 0}, "patch_size is 0"),
        ({"model_type": "dinov2", "patch_size": 14, "image_size": "large"}, "image_size is 'large'"),
        ({"model_type": "dinov2", "patch_size": 14, "image_size": 100}, "The nearest is encoder.size=98"),
        ({"model_type": "siglip2_vision_model", "num_patches": 256}, "are not supported"),
        ({"vision_config": None}, "is no configuration"),
    ],
)
def test_an_encoder_of_any_odd_configuration_is_refused_in_words_before_anything_runs(tmp_path, values, words):
    (tmp_path / "config.json").write_text(json.dumps(values))
    found = problems(compose_config(["preset=tiny", f"encoder.path={tmp_path}"]), ["train_encoder"])
    assert any(words in problem for problem in found)
